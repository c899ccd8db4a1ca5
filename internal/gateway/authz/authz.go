// Package authz answers servers that pass requests to the application on
// themselves, and ask for each whether they may: by forward authentication
// (nginx, Traefik, Caddy) and by Envoy's ext_authz. The decision is the
// gateway's own; here is only what the two protocols make of it.
package authz

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Authorizer is server.Server: it decides on a request to the application as if
// the request had come to the gateway.
type Authorizer interface {
	Authorize(w http.ResponseWriter, r *http.Request) (identity http.Header, ok bool)
}

// answer is what Authorizer has decided; its zero value lets nobody in.
type answer struct {
	allowed bool
	// identity goes to the application.
	identity http.Header
	// header goes to the client; status and body as well, unless allowed.
	header http.Header
	status int
	body   []byte
}

// ask lets a decide on r. Nothing that it leaves open is a yes.
func ask(a Authorizer, r *http.Request) (decided answer) {
	no := answer{status: http.StatusForbidden, header: http.Header{"Cache-Control": {"no-store"}}}
	defer func() {
		if recover() != nil { // nobody is listening any more
			decided = no
		}
	}()
	w := &recorder{header: http.Header{}}
	identity, ok := a.Authorize(w, r)
	if ok && w.status == 0 && len(identity) > 0 {
		return answer{allowed: true, identity: identity, header: w.header}
	}
	if w.status < http.StatusMultipleChoices {
		return no
	}
	return answer{status: w.status, header: w.header, body: w.body}
}

// recorder keeps a response.
type recorder struct {
	header http.Header
	status int
	body   []byte
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, b...)
	return len(b), nil
}

// errRequest: what the server in front says of a request is no request.
var errRequest = errors.New("the original request cannot be read")

// original sets what was asked for, as the server in front tells.
func original(r *http.Request, method, host, target string) error {
	if !isToken(method) || host == "" || !httpguts.ValidHostHeader(host) || strings.ContainsAny(host, "/,@ ") {
		return errRequest
	}
	if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.ContainsAny(target, "#\\") {
		return errRequest
	}
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c == 0x7f {
			return errRequest
		}
	}
	u, err := url.ParseRequestURI(target)
	if err != nil || hasDotSegment(u.Path) {
		return errRequest
	}
	r.Method, r.Host, r.URL, r.RequestURI = method, host, u, target
	return nil
}

// hasDotSegment: the server in front, which may have taken the segments away to
// find its own way, and the application may disagree about what such a path is.
func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func isToken(s string) bool { return httpguts.ValidHeaderFieldName(s) }
