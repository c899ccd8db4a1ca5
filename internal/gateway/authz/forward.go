package authz

import (
	"net/http"
	"strings"

	"cequence.cloud/saml-operator/internal/gateway/forwarded"
)

// The endpoints of forward authentication. At the first a person without a
// session gets 401 with a Location, since nginx's auth_request knows no
// redirects; at the second the redirect itself.
const (
	Path         = "/saml/auth"
	RedirectPath = "/saml/auth/redirect"
)

// envoyPrefix is what Envoy's ext_authz over HTTP puts before the path that was
// asked for; method and Host are the original ones.
const envoyPrefix = "/saml/auth/envoy"

// The headers in which the server in front tells what was asked for.
const (
	methodHeader = "X-Forwarded-Method"
	hostHeader   = "X-Forwarded-Host"
	uriHeader    = "X-Forwarded-Uri"
)

// ForwardAuth serves forward authentication for peers whose addresses are in
// one of the networks, and leaves all else to next: nobody else's headers count.
func ForwardAuth(a Authorizer, peers forwarded.Proxies, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, envoy := strings.CutPrefix(r.RequestURI, envoyPrefix+"/")
		switch {
		case !peers.Trust(r.RemoteAddr):
			next.ServeHTTP(w, r)
		case envoy:
			forward(a, w, r, func(asked *http.Request) error { return original(asked, r.Method, r.Host, "/"+target) })
		case r.URL.Path == Path || r.URL.Path == RedirectPath:
			forward(a, w, r, byHeaders)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// byHeaders sets what was asked for by the headers, of which each must be there
// once: of two, one is the client's.
func byHeaders(asked *http.Request) error {
	method, host, uri := asked.Header.Values(methodHeader), asked.Header.Values(hostHeader), asked.Header.Values(uriHeader)
	if len(method) != 1 || len(host) != 1 || len(uri) != 1 {
		return errRequest
	}
	return original(asked, method[0], host[0], uri[0])
}

func forward(a Authorizer, w http.ResponseWriter, r *http.Request, restore func(asked *http.Request) error) {
	w.Header().Set("Cache-Control", "no-store")
	asked := r.Clone(r.Context())
	asked.Body = http.NoBody
	if err := restore(asked); err != nil {
		// Of all refusals nginx knows but 401 and 403.
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	answer := ask(a, asked)
	for name, values := range answer.header {
		w.Header()[name] = values
	}
	if answer.allowed {
		w.Header().Set("Cache-Control", "no-store")
		for name, values := range answer.identity {
			w.Header()[name] = values
		}
		w.WriteHeader(http.StatusOK)
		return
	}
	status := answer.status
	switch {
	case r.URL.Path != Path:
	case status == http.StatusFound:
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", "SAML")
	case status == http.StatusBadRequest: // as above
		status = http.StatusForbidden
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer.body) // the client may be gone
}
