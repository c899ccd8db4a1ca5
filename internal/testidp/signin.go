package testidp

import (
	"bytes"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"slices"

	"github.com/crewjam/saml"
)

const (
	// maxFormBytes bounds what a browser may post.
	maxFormBytes = 1 << 20
	// maxPendingRequests bounds the requests whose user did not sign in yet.
	// The oldest gives way.
	maxPendingRequests = 1000
)

//go:embed pages.html
var pagesFS embed.FS

var errSignInOver = refuse(codeNoMessage, "This sign-in is over. Start again at the application.")

var pages = template.Must(template.ParseFS(pagesFS, "pages.html"))

func (p *IDP) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metadata", p.serveMetadata)
	mux.HandleFunc("GET /sso", p.serveSSO)
	mux.HandleFunc("POST /sso", p.serveSSO)
	mux.HandleFunc("POST /signin", p.serveSignIn)
	mux.HandleFunc("GET /{directory}/federationmetadata/2007-06/federationmetadata.xml", p.serveFederationMetadata)
	mux.HandleFunc("GET /{directory}/saml2/{application}", p.serveInstanceSSO)
	mux.HandleFunc("GET /slo", p.serveSLO)
	return mux
}

// signInPage is the data of the sign-in form. The request waits at the IdP, the
// form has its handle only.
type signInPage struct {
	Action   string
	Request  string
	Service  string
	UserName string
	Error    string
}

// postPage is the data of the form that takes a response to the ACS.
type postPage struct {
	ACSURL       string
	SAMLResponse string
	RelayState   string
}

// serveSSO answers an AuthnRequest. The IdP keeps no session, so every request
// asks for the password, and ForceAuthn has nothing to add.
func (p *IDP) serveSSO(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	request, err := p.receive(r)
	if err != nil {
		showRefusal(w, err)
		return
	}
	if request.passive {
		p.respond(w, request, ResponseOptions{Status: noPassive()})
		return
	}
	p.mu.Lock()
	handle := p.pending.add(request)
	p.mu.Unlock()
	show(w, http.StatusOK, "signin", signInPage{
		Action: p.url("/signin"), Request: handle, Service: request.serviceProvider,
		UserName: r.URL.Query().Get("login_hint"),
	})
}

func (p *IDP) serveSignIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		showRefusal(w, refuse(codeUnsupported, "The form cannot be read."))
		return
	}
	handle, name := r.PostForm.Get("request"), r.PostForm.Get("username")
	p.mu.Lock()
	request, ok := p.pending.byHandle[handle]
	p.mu.Unlock()
	if !ok {
		showRefusal(w, errSignInOver)
		return
	}
	if u, err := p.user(name); err != nil || !sameText(u.Password, r.PostForm.Get("password")) {
		show(w, http.StatusOK, "signin", signInPage{
			Action: p.url("/signin"), Request: handle, Service: request.serviceProvider, UserName: name,
			Error: codePassword + ": The user name or password is wrong.",
		})
		return
	}
	p.mu.Lock()
	taken := p.pending.remove(handle)
	if taken {
		p.counts.SignIns++
	}
	p.mu.Unlock()
	if !taken {
		showRefusal(w, errSignInOver)
		return
	}
	p.respond(w, request, ResponseOptions{UserName: name})
}

// respond sends the browser to the ACS with a response to the request.
func (p *IDP) respond(w http.ResponseWriter, request pendingRequest, o ResponseOptions) {
	sp, _ := p.serviceProvider(request.serviceProvider)
	o.Audience = audience(request.serviceProvider)
	o.ACSURL = request.acsURL
	o.InResponseTo = request.id
	o.NameIDFormat = request.nameIDFormat
	o.EncryptionCertificate = sp.EncryptionCertificate
	xml, err := p.IssueResponse(o)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	show(w, http.StatusOK, "post", postPage{
		ACSURL: request.acsURL, RelayState: request.relayState,
		SAMLResponse: base64.StdEncoding.EncodeToString(xml),
	})
}

func noPassive() *saml.Status {
	return &saml.Status{
		StatusCode: saml.StatusCode{
			Value:      saml.StatusResponder,
			StatusCode: &saml.StatusCode{Value: saml.StatusNoPassive},
		},
		StatusMessage: &saml.StatusMessage{
			Value: codeNotSignedIn + ": A silent sign-in request was sent but no user is signed in.",
		},
	}
}

func showRefusal(w http.ResponseWriter, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{code: codeUnsupported, message: err.Error()}
	}
	show(w, http.StatusBadRequest, "error", struct{ Code, Message string }{r.code, r.message})
}

func show(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
}

func sameText(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// pendingRequests keeps the newest requests by an unguessable handle. Its
// zero value is empty; the IDP's lock guards it.
type pendingRequests struct {
	byHandle map[string]pendingRequest
	order    []string
}

func (s *pendingRequests) add(request pendingRequest) string {
	if s.byHandle == nil {
		s.byHandle = map[string]pendingRequest{}
	}
	if len(s.order) == maxPendingRequests {
		s.remove(s.order[0])
	}
	handle := randomID()
	s.byHandle[handle] = request
	s.order = append(s.order, handle)
	return handle
}

// remove reports whether the handle was there: one sign-in, one response.
func (s *pendingRequests) remove(handle string) bool {
	i := slices.Index(s.order, handle)
	if i < 0 {
		return false
	}
	s.order = slices.Delete(s.order, i, i+1)
	delete(s.byHandle, handle)
	return true
}
