package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"

	"cequence.cloud/saml-operator/internal/gateway/session"
)

// The headers by which the application learns who is there. GroupsHeader has
// the groups joined by commas; "%" and "," within a group are written "%25"
// and "%2C". RolesHeader has the roles likewise. GroupsIncompleteHeader is "true" when there are more, which the
// IdP has withheld, and absent otherwise. JWTHeader says all this under a
// signature.
const (
	UserHeader   = "X-Auth-Request-User"
	EmailHeader  = "X-Auth-Request-Email"
	GroupsHeader = "X-Auth-Request-Groups"
	RolesHeader  = "X-Auth-Request-Roles"
	TenantHeader = "X-Auth-Request-Tenant"
	JWTHeader    = "X-Auth-Request-Jwt"

	GroupsIncompleteHeader = "X-Auth-Request-Groups-Incomplete"
)

// reservedHeaders are ours to set: no client may send anything whose name,
// once its separators are made alike, begins so.
var reservedHeaders = []string{
	"x-auth-request-", "remote-user", "x-remote-",
	// Who asked whom for what, as proxies in front are known to say it.
	"x-forwarded-", "forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip",
	"true-client-ip", "cf-connecting-ip", "fastly-client-ip",
	"x-original-url", "x-original-uri", "x-original-host", "x-rewrite-url",
}

// visit is what the proxy has to know of a request that it lets through.
type visit struct {
	tenant string
	// host is the tenant's own, however the request spelled it.
	host string
	// upstream is the tenant's own application, nil if it has the gateway's.
	upstream *url.URL
	// signedIn: there is a session. Without one nothing is said of anybody.
	signedIn bool
	session  session.Session
	roles    []string
	// jwt is empty for none.
	jwt string
	// renewed: the response carries a session cookie.
	renewed bool
}

type visitKey struct{}

// errNoStatus: the application has answered by a status that is none of a final
// response. [RFC 9110 15]
var errNoStatus = errors.New("the application's answer has no status of HTTP")

// failure answers a request that could not be passed on.
type failure func(http.ResponseWriter, *http.Request, error)

// newProxy returns the way to the application. Every request must carry a
// visit in its context; one without is not passed on with any identity.
func newProxy(upstream *url.URL, way http.RoundTripper, log *slog.Logger, fail failure) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:  way,
		BufferPool: &buffers{},
		Rewrite: func(pr *httputil.ProxyRequest) {
			target := upstreamOf(pr.In, upstream)
			pr.SetURL(target)
			// The query is the application's: we decide nothing by it.
			pr.Out.URL.RawQuery = joinQuery(target.RawQuery, pr.In.URL.RawQuery)
			removeReserved(pr.Out.Header)
			removeReserved(pr.Out.Trailer)
			if p := passageOf(pr.In); p != nil {
				// Their values come with the end of the body.
				p.body.from, p.body.to = pr.In.Trailer, pr.Out.Trailer
			}
			RemoveOwnCookies(pr.Out.Header)
			removeUpgrade(pr.Out.Header)
			// What came in was removed, so that the client's address is all there is.
			pr.SetXForwarded()
			// A tenant is reached by https only, wherever TLS ends.
			pr.Out.Header.Set("X-Forwarded-Proto", "https")
			pr.Out.Header.Del("X-Forwarded-Host")
			if v, ok := pr.In.Context().Value(visitKey{}).(visit); ok {
				pr.Out.Host = v.host
				pr.Out.Header.Set("X-Forwarded-Host", v.host)
				setIdentity(pr.Out.Header, v)
			}
		},
		ModifyResponse: func(response *http.Response) error {
			if response.StatusCode < http.StatusOK && response.StatusCode != http.StatusSwitchingProtocols {
				return errNoStatus
			}
			dropOwnCookies(response.Header)
			if p := passageOf(response.Request); p != nil {
				p.receive(response)
			}
			if v, ok := response.Request.Context().Value(visitKey{}).(visit); ok && v.renewed {
				// A shared cache would hand the cookie to others.
				response.Header.Set("Cache-Control", "no-store")
			}
			return nil
		},
		ErrorHandler: fail,
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// buffers are those that bodies are copied with.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }

func withVisit(r *http.Request, v visit) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
}

func setIdentity(h http.Header, v visit) {
	if !v.signedIn {
		return
	}
	h.Set(UserHeader, v.session.StableID)
	h.Set(TenantHeader, v.tenant)
	if v.session.Email != "" {
		h.Set(EmailHeader, v.session.Email)
	}
	if len(v.session.Groups) > 0 {
		h.Set(GroupsHeader, join(v.session.Groups))
	}
	if len(v.roles) > 0 {
		h.Set(RolesHeader, join(v.roles))
	}
	if v.session.GroupsIncomplete {
		h.Set(GroupsIncompleteHeader, "true")
	}
	if v.jwt != "" {
		h.Set(JWTHeader, v.jwt)
	}
}

// identityOf returns every header of identity. One that says nothing is empty
// and not left out: who copies them puts it in the place of the client's.
func identityOf(v visit) http.Header {
	h := http.Header{}
	for _, name := range []string{UserHeader, EmailHeader, GroupsHeader, RolesHeader, TenantHeader, JWTHeader, GroupsIncompleteHeader} {
		h.Set(name, "")
	}
	setIdentity(h, v)
	return h
}

// escape keeps one value from looking like two.
var escape = strings.NewReplacer("%", "%25", ",", "%2C")

func join(values []string) string {
	escaped := slices.Clone(values)
	for i, value := range escaped {
		escaped[i] = escape.Replace(value)
	}
	return strings.Join(escaped, ",")
}

// removeReserved removes what only we may say.
func removeReserved(h http.Header) {
	for name := range h {
		if Reserved(name) {
			delete(h, name)
		}
	}
}

// Reserved says whether only we may send a header of this name. Applications
// often read headers by names in which "_" or "." have become "-", or the
// reverse.
func Reserved(name string) bool {
	plain := strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return '-'
	}, name)
	return slices.ContainsFunc(reservedHeaders, func(reserved string) bool { return strings.HasPrefix(plain, reserved) })
}

// RemoveOwnCookies takes our cookies out of a request and leaves the others as
// they were written: the application must not be able to lose or log a
// session.
func RemoveOwnCookies(h http.Header) {
	var kept []string
	for _, line := range h.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(pair, "=")
			if pair = strings.TrimSpace(pair); pair != "" && !session.IsOwnCookie(strings.TrimSpace(name)) {
				kept = append(kept, pair)
			}
		}
	}
	h.Del("Cookie")
	if len(kept) > 0 {
		h.Set("Cookie", strings.Join(kept, "; "))
	}
}

// removeUpgrade lets nothing but WebSockets out of HTTP/1.1: on a connection
// upgraded to HTTP/2 a user could send requests with headers that we never see.
func removeUpgrade(h http.Header) {
	if !strings.EqualFold(h.Get("Upgrade"), "websocket") {
		h.Del("Upgrade")
		h.Del("Connection")
	}
}

// dropOwnCookies takes cookies named like ours out of the application's
// response.
func dropOwnCookies(h http.Header) {
	cookies := slices.DeleteFunc(h.Values("Set-Cookie"), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return session.IsOwnCookie(strings.TrimSpace(name))
	})
	h.Del("Set-Cookie")
	for _, cookie := range cookies {
		h.Add("Set-Cookie", cookie)
	}
}

func joinQuery(upstream, own string) string {
	if upstream == "" || own == "" {
		return upstream + own
	}
	return upstream + "&" + own
}
