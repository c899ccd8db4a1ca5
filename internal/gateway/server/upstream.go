package server

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/upstreams"
)

// maxTenantConnections bounds the idle connections to all tenants' applications
// together.
const maxTenantConnections = 1024

// nowhere is where a request goes that came without its tenant's application.
var nowhere = &url.URL{Scheme: "http", Host: "invalid.", Path: "/"} // [RFC 6761 6.4]

// upstreamOf is the application of the tenant that a request visits, which is
// the gateway's unless it has one of its own.
func upstreamOf(r *http.Request, gateways *url.URL) *url.URL {
	if v, ok := r.Context().Value(visitKey{}).(visit); ok && v.upstream != nil {
		return v.upstream
	}
	return gateways
}

// newTenantProxy returns the way to tenants' own applications, each of which is
// in the visit that a request carries. They share their connections, and the
// address of each is checked when it is dialled.
func newTenantProxy(allowed upstreams.Allowed, timeout time.Duration, log *slog.Logger, fail failure) *httputil.ReverseProxy {
	return newProxy(nowhere, newTransport(allowed.Dialer(dialTimeout), maxTenantConnections, timeout), log, fail)
}
