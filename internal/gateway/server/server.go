// Package server is the gateway as browsers see it: it finds the tenant by the
// Host header, signs users in and out, and passes the requests of those who
// are signed in to the application.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"cequence.cloud/saml-operator/internal/gateway/admission"
	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/authorization"
	"cequence.cloud/saml-operator/internal/gateway/forwarded"
	"cequence.cloud/saml-operator/internal/gateway/pages"
	"cequence.cloud/saml-operator/internal/gateway/pathrules"
	"cequence.cloud/saml-operator/internal/gateway/paths"
	"cequence.cloud/saml-operator/internal/gateway/scim"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/streams"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/gateway/upstreams"
	"cequence.cloud/saml-operator/internal/store"
)

// ownTimeout bounds reading a request to one of our own endpoints and writing
// its response; the application's may take as long as it likes.
const ownTimeout = 15 * time.Second

// Options of a Server; only Upstream, Refresh and Audit may be nil.
type Options struct {
	Tenants     *tenant.Registry
	Store       store.Store
	Codec       *session.Codec
	Revocations *session.Revocations
	// Upstream is the application. Without one, a page says who is signed in.
	Upstream *url.URL
	// TenantUpstreams are what tenants may have instead, which Tenants know too.
	TenantUpstreams upstreams.Allowed
	// Paths are the gateway owner's rules for parts of all applications; nil for
	// none.
	Paths *pathrules.Rules
	// UpstreamTimeout is how long the application may take until it begins to
	// answer; zero is no limit.
	UpstreamTimeout time.Duration
	// StallTimeout is how long a request to the application waits for a client
	// that sends nothing of a body, or takes nothing of a response; zero is no
	// limit.
	StallTimeout time.Duration
	// Application and Own bound the requests to the application and to our own
	// endpoints, apart from each other: a slow application keeps nobody from
	// signing in.
	Application, Own *admission.Gate
	// PerClient is how many requests to the application a client may have open
	// at once, if a trusted proxy names it; zero is no limit.
	PerClient int
	// PerTenant is how many requests to its own application a tenant may have open
	// at once; zero is no limit.
	PerTenant int
	// Covers says whether the certificate for one name is good for another host;
	// nil if TLS ends elsewhere.
	Covers func(name, host string) bool
	// Streams are the WebSockets and streams of events.
	Streams *streams.Set
	// Refresh asks for a tenant's metadata to be fetched, and does not wait for
	// that; what it brings comes to Tenants. Without it nobody can be asked.
	Refresh func(ctx context.Context, tenant string) error
	// TrustedProxies may say who the client is.
	TrustedProxies forwarded.Proxies
	ClockSkew      time.Duration
	Now            func() time.Time
	Log            *slog.Logger
	// Audit may be nil.
	Audit *audit.Log
	// Identity gives the application tokens; the zero value gives none.
	Identity Identity
}

// Server is an http.Handler for all tenants' hosts.
type Server struct {
	Options
	proxy       *httputil.ReverseProxy
	tenantProxy *httputil.ReverseProxy // to applications of tenants
	groups      *groupCache
	rollovers   *rollovers
	crossOrigin *http.CrossOriginProtection
	directory   *scim.Handler
	clients     *admission.Clients
	tenants     *admission.Clients // those with an application of their own
	busy        busyLog
}

// New returns a Server.
func New(o Options) *Server {
	s := &Server{
		Options: o, groups: newGroupCache(o.Store), crossOrigin: http.NewCrossOriginProtection(),
		rollovers: newRollovers(o.Tenants, o.Refresh, o.Log),
		clients:   admission.NewClients(o.PerClient),
		tenants:   admission.NewClients(o.PerTenant),
		directory: scim.New(scim.Options{Store: o.Store, Revocations: o.Revocations, Now: o.Now, Log: o.Log, Audit: o.Audit}),
	}
	if o.Upstream != nil {
		open := (&net.Dialer{Timeout: dialTimeout}).DialContext
		s.proxy = newProxy(o.Upstream, newTransport(open, 0, o.UpstreamTimeout), o.Log, s.notPassed)
	}
	s.tenantProxy = newTenantProxy(o.TenantUpstreams, o.UpstreamTimeout, o.Log, s.notPassed)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.recover(w, r)
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		// A length that came along is gone by now. A proxy in front that went by
		// it takes for the body what would be read here as somebody's next
		// request [RFC 9112 6.1, 11.2].
		w.Header().Set("Connection", "close")
	}

	address, plain := s.TrustedProxies.Client(r)
	if address != r.RemoteAddr {
		named := *r // a handler leaves the request that it was given as it is
		named.RemoteAddr = address
		r = &named
	}
	x := s.exchange(w, r)
	switch {
	case x == nil:
	case !httpguts.ValidHeaderFieldName(r.Method): // a token as well [RFC 9110 9.1]
		x.fail(problem{status: http.StatusBadRequest, code: "request_unreadable"})
	case x.misdirected():
		x.fail(problem{status: http.StatusMisdirectedRequest, code: "misdirected"})
	case plain:
		x.redirectToTLS()
	case paths.Own(r.URL.Path):
		if !x.Own.Enter(r.Context()) {
			x.full()
			return
		}
		defer x.Own.Leave()
		x.own()
	default:
		x.application()
	}
}

// Authorize decides on a request to the application that somebody else passes
// on, as if it had come here. If it may go on, it carries the headers that
// Authorize returns, and the response to it those of w. Otherwise w has the
// response.
func (s *Server) Authorize(w http.ResponseWriter, r *http.Request) (identity http.Header, ok bool) {
	defer s.recover(w, r)
	x := s.exchange(w, r)
	if x == nil {
		return nil, false
	}
	x.absolute = true
	if paths.Own(r.URL.Path) {
		secure(w.Header())
		x.fail(problem{status: http.StatusForbidden, code: "not_the_applications"})
		return nil, false
	}
	if x.tenant.Upstream != nil {
		// Who asks here passes the request on to another application, with the
		// identity of this tenant's user.
		secure(w.Header())
		x.fail(problem{status: http.StatusForbidden, code: "upstream_elsewhere"})
		return nil, false
	}
	v, ok := x.decide()
	if !ok {
		return nil, false
	}
	return identityOf(v), true
}

// exchange returns the exchange with a tenant, or answers that there is none and
// returns nil.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) *exchange {
	t := s.Tenants.ByHost(canonicalHost(r.Host))
	if t == nil {
		if !s.Tenants.Synced() {
			s.problem(w, r, problem{status: http.StatusServiceUnavailable, code: "starting"})
			return nil
		}
		s.problem(w, r, problem{status: http.StatusNotFound, code: "tenant_unknown"})
		return nil
	}
	return &exchange{Server: s, w: w, r: r, tenant: t, binding: bindingOf(t)}
}

// misdirected says whether the request came by a connection to another tenant,
// whose certificate is not good for this one: so no browser would have sent it.
// A name that is no tenant's is a proxy's for the gateway. [RFC 9110 15.5.20]
func (x *exchange) misdirected() bool {
	if x.Covers == nil || x.r.TLS == nil {
		return false
	}
	other := x.Tenants.ByHost(canonicalHost(x.r.TLS.ServerName))
	return other != nil && other != x.tenant && !x.Covers(other.Config.Host, x.tenant.Config.Host)
}

// redirectToTLS sends what came in by plain HTTP to the tenant's own host.
func (x *exchange) redirectToTLS() {
	secure(x.w.Header())
	target := url.URL{Scheme: "https", Host: x.host(), Path: x.r.URL.Path, RawPath: x.r.URL.RawPath, RawQuery: x.r.URL.RawQuery}
	x.w.Header().Set("Location", target.String())
	x.w.WriteHeader(http.StatusPermanentRedirect)
}

// exchange is one request to a tenant's host and its response.
type exchange struct {
	*Server
	w       http.ResponseWriter
	r       *http.Request
	tenant  *tenant.Tenant
	binding session.Binding
	// absolute: a redirect names the tenant's host, since another server's
	// answer carries it.
	absolute bool
}

func bindingOf(t *tenant.Tenant) session.Binding {
	return session.Binding{Tenant: t.Name(), Host: t.Config.Host, IDPEntityID: t.Config.IdentityProvider.EntityID}
}

// own serves the endpoints that are not the application's.
func (x *exchange) own() {
	controller := http.NewResponseController(x.w)
	deadline := time.Now().Add(ownTimeout)
	// Not every ResponseWriter has deadlines; the server's has.
	_ = controller.SetReadDeadline(deadline)
	_ = controller.SetWriteDeadline(deadline)
	secure(x.w.Header())

	if x.tenant.Config.Disabled && slices.Contains([]string{"/saml/login", "/saml/acs", testPath}, x.r.URL.Path) {
		x.disabled()
		return
	}
	if x.tenant.Config.Provisioning.SCIM != nil && scim.Path(x.r.URL.Path) {
		x.directory.Serve(x.w, x.r, x.tenant)
		return
	}
	switch x.r.URL.Path {
	case "/saml/metadata":
		x.allow(x.metadata, http.MethodGet, http.MethodHead)
	case "/saml/login":
		x.allow(x.login, http.MethodGet)
	case "/saml/acs":
		serve := x.acs
		if x.r.Method == http.MethodGet {
			serve = x.again
		}
		x.allow(serve, http.MethodGet, http.MethodPost)
	case "/saml/jwks":
		x.allow(x.jwks, http.MethodGet, http.MethodHead)
	case "/saml/session":
		x.allow(x.whoami, http.MethodGet, http.MethodHead)
	case "/saml/logout":
		x.allow(x.logout, http.MethodGet, http.MethodPost)
	case testPath:
		x.allow(x.test, http.MethodGet, http.MethodPost)
	case "/saml/slo":
		x.allow(x.slo, http.MethodGet, http.MethodPost)
	default:
		x.notFound()
	}
}

func (x *exchange) notFound() {
	x.fail(problem{status: http.StatusNotFound, code: "not_found"})
}

func (x *exchange) allow(serve func(), methods ...string) {
	if !slices.Contains(methods, x.r.Method) {
		x.w.Header().Set("Allow", strings.Join(methods, ", "))
		x.fail(problem{status: http.StatusMethodNotAllowed, code: "method_not_allowed"})
		return
	}
	serve()
}

func (x *exchange) metadata() {
	x.w.Header().Set("Content-Type", "application/samlmetadata+xml")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(x.tenant.Metadata)))
	_, _ = x.w.Write(x.tenant.Metadata) // the client may be gone
}

// application serves what is behind the gateway, to those who may have it.
func (x *exchange) application() {
	v, ok := x.decide()
	switch {
	case !ok:
	case x.tenant.UpstreamRefused != nil:
		secure(x.w.Header())
		x.fail(problem{status: http.StatusBadGateway, code: "upstream_not_allowed", cause: x.tenant.UpstreamRefused})
	case x.tenant.Upstream != nil:
		x.pass(x.tenantProxy, v)
	case x.proxy != nil:
		x.pass(x.proxy, v)
	case v.signedIn:
		secure(x.w.Header())
		x.page(pages.Page{Status: http.StatusOK, Text: "signed_in", Who: v.session.Label(), Link: "/saml/logout"})
	default:
		secure(x.w.Header())
		x.notFound()
	}
}

// decide is the one decision on requests to the application, whoever passes them
// on. It returns false if it has answered the request itself.
func (x *exchange) decide() (visit, bool) {
	if x.r.Method == http.MethodConnect || x.r.Method == http.MethodTrace {
		x.allow(nil, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions)
		return visit{}, false
	}
	if x.tenant.Config.Disabled {
		secure(x.w.Header())
		x.disabled()
		return visit{}, false
	}
	required, err := x.required()
	if err != nil {
		x.forbid(problem{status: http.StatusBadRequest, code: "path_ambiguous", cause: err.Error()})
		return visit{}, false
	}
	s, err := x.current()
	switch {
	case required.Public && (err != nil || s == nil):
		return visit{tenant: x.tenant.Name(), host: x.host(), upstream: x.tenant.Upstream}, true
	case err != nil:
		x.storeFailed("read session", err)
	case s == nil:
		x.challenge(signIn)
	case len(required.Roles) > 0 && !required.Satisfied(x.roles(*s)):
		x.lackRole(*s)
	case !x.fresh(*s, required):
		x.challenge(freshSignIn)
	default:
		return visit{tenant: x.tenant.Name(), host: x.host(), upstream: x.tenant.Upstream, signedIn: true,
			session: *s, roles: x.roles(*s), jwt: x.identityJWT(*s), renewed: x.renew(*s)}, true
	}
	return visit{}, false
}

// current returns the browser's session if it counts and the tenant's rules
// still let the user in, else nil: then a new sign-in brings what the IdP says
// by now, and tells the user more. Its error means that the store, which has the
// groups of few sessions, could not be read.
func (x *exchange) current() (*session.Session, error) {
	s, ok := x.valid()
	if !ok {
		return nil, nil
	}
	var err error
	s.Groups, err = x.groups.of(x.r.Context(), x.tenant.Name(), s)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if x.tenant.Authorization.Admit(authorization.Subject{Email: s.Email, Groups: s.Groups, GroupsIncomplete: s.GroupsIncomplete}) != nil {
		return nil, nil
	}
	return &s, nil
}

// roles are those of a current session, by the mapping of now.
func (x *exchange) roles(s session.Session) []string { return x.tenant.Authorization.Roles(s.Groups) }

// valid returns the browser's session, without groups that are in the store,
// and whether it counts, whatever the rules of entry say of the user. A tenant that tolerates incomplete groups no longer
// does not for sessions of before either.
func (x *exchange) valid() (session.Session, bool) {
	s, err := x.Codec.Open(x.binding, x.r)
	return s, err == nil && x.counts(s, x.Now())
}

// counts says whether a session of the tenant does at that time.
func (x *exchange) counts(s session.Session, now time.Time) bool {
	config := &x.tenant.Config
	return !config.Disabled && (!s.GroupsIncomplete || config.AttributeMapping.TolerateGroupOverage) &&
		session.Check(s, x.policy(), x.Revocations, now) == nil
}

// host is the tenant's, with the port at which users reach it.
func (x *exchange) host() string {
	u, err := url.Parse(x.tenant.Config.ServiceProvider.SignOnURL)
	if err != nil { // Validate: a URL on the host
		return x.tenant.Config.Host
	}
	return u.Host
}

func (x *exchange) policy() session.Policy {
	return session.Policy{
		MaxDuration: x.tenant.Config.Session.MaxDuration.Duration(),
		IdleTimeout: x.tenant.Config.Session.IdleTimeout.Duration(),
		NotBefore:   time.Unix(x.tenant.Config.Session.NotBefore, 0),
	}
}

// disabled answers for a tenant whose users are kept out.
func (x *exchange) disabled() {
	x.fail(problem{status: http.StatusForbidden, code: "tenant_disabled"})
}

// renew writes the cookie again if it is time to, and says whether it did.
func (x *exchange) renew(s session.Session) bool {
	now := x.Now()
	if !x.policy().NeedsRenewal(s, now) {
		return false
	}
	s.SeenAt = now
	if s.GroupsInStore {
		s.Groups = nil
	}
	cookie, err := x.Codec.Seal(x.binding, s)
	if err != nil {
		x.Log.Error("renew session", "tenant", x.tenant.Name(), "error", err.Error())
		return false
	}
	http.SetCookie(x.w, cookie)
	return true
}

// secure sets the headers that every response of our own has. The application
// decides for itself whether it, too, insists on TLS for a year. [RFC 6797]
func secure(h http.Header) {
	pages.Secure(h)
	h.Set("Strict-Transport-Security", "max-age=31536000")
}

// isNavigation says whether a person looks at the response. [Fetch Metadata 2.3]
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	mode := r.Header.Get("Sec-Fetch-Mode")
	return (mode == "" || mode == "navigate") && strings.Contains(strings.ToLower(r.Header.Get("Accept")), "text/html")
}

// canonicalHost returns the host of a Host header in the form in which tenants
// are registered, or nothing if it is not a plain host name.
func canonicalHost(host string) string {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return ""
		}
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// recover turns a panic into a page, but lets those pass that mean "cut the
// connection".
func (s *Server) recover(w http.ResponseWriter, r *http.Request) {
	switch cause := recover(); cause {
	case nil:
	case http.ErrAbortHandler:
		panic(cause)
	default:
		s.problem(w, r, problem{status: http.StatusInternalServerError, code: "panic", cause: cause})
	}
}

func (x *exchange) storeFailed(what string, err error) {
	if errors.Is(err, context.Canceled) && x.r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody is listening
	}
	x.fail(problem{status: http.StatusServiceUnavailable, code: "store_unavailable", cause: what + ": " + err.Error()})
}
