package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"

	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/pages"
)

// problem is a request that was not served. The page has a text and a support
// ID; everything else is for the log only.
type problem struct {
	status int
	// code is stable.
	code string
	// text names the page's text where code is not its name.
	text string
	// organization is the customer's name for people, if a tenant is known.
	organization string
	link         string
	// cause is an error's text, or what a panic carried.
	cause any
	// attributes are added to the log.
	attributes []any
	// audit is what the audit log says of it; nil for nothing.
	audit *audit.Entry
}

// problem logs p and writes its page.
func (s *Server) problem(w http.ResponseWriter, r *http.Request, p problem, attributes ...any) {
	supportID := pages.NewSupportID()
	s.logProblem(r, p, supportID, attributes...)
	secure(w.Header())
	pages.Write(w, r, pages.Page{Status: p.status, Organization: p.organization, Text: cmp.Or(p.text, p.code), Link: p.link, SupportID: supportID})
}

// logProblem logs p. The support ID is empty if the user sees no page.
func (s *Server) logProblem(r *http.Request, p problem, supportID string, attributes ...any) {
	attributes = append(attributes, "status", p.status, "code", p.code, "supportID", supportID,
		"method", r.Method, "path", bounded(r.URL.Path), "host", bounded(r.Host), "address", r.RemoteAddr)
	if p.cause != nil {
		attributes = append(attributes, "error", fmt.Sprint(p.cause))
	}
	attributes = append(attributes, p.attributes...)
	if p.audit != nil {
		p.audit.Outcome, p.audit.Code, p.audit.SupportID, p.audit.Address = audit.OutcomeRefused, p.code, supportID, r.RemoteAddr
		s.Audit.Record(*p.audit)
	}
	switch {
	case p.code == "panic":
		s.Log.Error("request failed", append(attributes, "stack", string(debug.Stack()))...)
	case p.status >= http.StatusInternalServerError:
		s.Log.Error("request failed", attributes...)
	default:
		s.Log.Info("request refused", attributes...)
	}
}

// fail is problem for a tenant's request.
func (x *exchange) fail(p problem) {
	x.tell(p, "tenant", x.tenant.Name())
}

// tell is problem in the name of the tenant.
func (x *exchange) tell(p problem, attributes ...any) {
	p.organization = x.tenant.Config.DisplayName
	x.problem(x.w, x.r, p, attributes...)
}

// page writes a page in the name of the tenant.
func (x *exchange) page(p pages.Page) {
	p.Organization = x.tenant.Config.DisplayName
	pages.Write(x.w, x.r, p)
}

// bounded keeps what a client sends from filling the log.
func bounded(s string) string {
	const limit = 256
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone
}
