// Package scim lets a customer's directory keep its users and groups, as Entra
// ID's provisioning service does: who leaves is out at once, not at the next
// sign-in. [RFC 7643] [RFC 7644]
//
// Groups are kept for administrators to see. Roles follow from the groups that
// a sign-in brings.
package scim

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	"github.com/elimity-com/scim/optional"
	"github.com/elimity-com/scim/schema"

	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/store"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

const (
	// prefix is what tenantconfig.SCIMPath has before the part that the library
	// reads.
	prefix = "/saml/scim"
	// maxBodyBytes bounds a request: a group with some ten thousand members.
	maxBodyBytes = 1 << 20
	// maxFilterBytes bounds a filter, which is parsed recursively.
	maxFilterBytes = 1 << 10
	// maxPage is how many resources one answer has at most.
	maxPage = 100
	// actor is who the audit log says it was.
	actor = "directory"
)

// Path says whether a path of a tenant's host is this package's.
func Path(path string) bool {
	return path == tenantconfig.SCIMPath || strings.HasPrefix(path, tenantconfig.SCIMPath+"/")
}

func init() {
	// Entra ID sends "False" for false.
	schema.SetAllowStringValues(true)
}

// Options of a Handler. All but Audit are required.
type Options struct {
	Store       store.Directory
	Revocations *session.Revocations
	Now         func() time.Time
	Log         *slog.Logger
	// Audit may be nil.
	Audit *audit.Log
}

// Handler serves all tenants that have SCIM. It may be used concurrently.
type Handler struct{ Options }

// New returns a Handler.
func New(o Options) *Handler { return &Handler{o} }

// call is a request that is allowed.
type call struct {
	*Handler
	tenant *tenant.Tenant
	r      *http.Request
}

// Serve answers a request to a tenant that has SCIM.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, t *tenant.Tenant) {
	if !authorized(r, t.Config.Provisioning.SCIM) {
		h.Log.Info("request refused", "code", "scim_token_invalid", "tenant", t.Name(), "address", r.RemoteAddr)
		h.Audit.Record(audit.Entry{Event: audit.EventProvisioning, Outcome: audit.OutcomeRefused, Code: "scim_token_invalid", Tenant: t.Name(), Address: r.RemoteAddr})
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+t.Config.Host+`"`)
		fail(w, http.StatusUnauthorized, "the bearer token is not one of this tenant")
		return
	}
	if len(r.URL.Query().Get("filter")) > maxFilterBytes {
		fail(w, http.StatusBadRequest, "the filter is too long")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	if r.Method == http.MethodPatch {
		if err := normalisePatch(r); err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	c := &call{Handler: h, tenant: t, r: r}
	server, err := scim.NewServer(&scim.ServerArgs{
		ServiceProviderConfig: &scim.ServiceProviderConfig{
			MaxResults: maxPage, SupportFiltering: true, SupportPatch: true,
			AuthenticationSchemes: []scim.AuthenticationScheme{{
				Type: scim.AuthenticationTypeOauthBearerToken, Name: "Bearer token", Description: "A token that the provider of the service gives out", Primary: true,
			}},
		},
		ResourceTypes: []scim.ResourceType{
			{ID: optional.NewString("User"), Name: "User", Endpoint: "/Users", Schema: userSchema,
				SchemaExtensions: []scim.SchemaExtension{{Schema: enterpriseSchema}}, Handler: users{c}},
			{ID: optional.NewString("Group"), Name: "Group", Endpoint: "/Groups", Schema: groupSchema, Handler: groups{c}},
		},
	}, scim.WithBaseURL(t.Config.ServiceProvider.SignOnURL+tenantconfig.SCIMPath))
	if err != nil {
		h.Log.Error("serve SCIM", "error", err.Error())
		fail(w, http.StatusInternalServerError, "")
		return
	}
	http.StripPrefix(prefix, server).ServeHTTP(w, r)
}

// authorized says whether a request has one of the tenant's tokens. Comparing
// hashes tells nothing about a token.
func authorized(r *http.Request, config *tenantconfig.SCIM) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || len(r.Header.Values("Authorization")) != 1 {
		return false
	}
	sum := sha256.Sum256([]byte(token))
	got, found := []byte(hex.EncodeToString(sum[:])), 0
	for _, want := range config.TokenSHA256 {
		found |= subtle.ConstantTimeCompare(got, []byte(want))
	}
	return found == 1
}

// fail answers as the library does. [RFC 7644 3.12]
func fail(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(scimerrors.ScimError{Status: status, Detail: detail})
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/scim+json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

// failed turns an error of the store into the client's. What the client is not
// to know is logged.
func (c *call) failed(what, id string, err error) error {
	if mine, ok := errors.AsType[scimerrors.ScimError](err); ok {
		return mine
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return scimerrors.ScimErrorResourceNotFound(id)
	case errors.Is(err, store.ErrTaken):
		taken := scimerrors.ScimErrorUniqueness
		taken.Detail = "Another user of this tenant has that userName, or signs in by that ID."
		return taken
	case errors.Is(err, store.ErrTooManyUsers):
		return scimerrors.ScimError{Status: http.StatusForbidden, Detail: "This tenant has as many users as it may have: ask the provider of the service."}
	case errors.Is(err, store.ErrNoMember):
		return invalid("A member is not the id of a user here. Groups cannot be members.")
	}
	c.Log.Error("SCIM request failed", "tenant", c.tenant.Name(), "what", what, "error", err.Error())
	return scimerrors.ScimError{Status: http.StatusInternalServerError, Detail: "This cannot be done at the moment. Try again."}
}

// invalid is a value that the client can mend.
func invalid(detail string) scimerrors.ScimError {
	e := scimerrors.ScimErrorInvalidValue
	e.Detail = detail
	return e
}

// done tells the audit log, and all replicas whose sessions have ended.
func (c *call) done(action, user string, ended map[string]time.Time) {
	c.Revocations.Add(ended, c.Now())
	c.Log.Info("provisioning", "outcome", "success", "action", action, "tenant", c.tenant.Name(), "user", user, "sessions", len(ended))
	c.Audit.Record(audit.Entry{Event: audit.EventProvisioning, Outcome: audit.OutcomeSuccess, Action: action, Actor: actor,
		Tenant: c.tenant.Name(), User: user, Sessions: len(ended), Address: c.r.RemoteAddr})
}
