package server

import (
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/admission"
	"cequence.cloud/saml-operator/internal/gateway/pages"
)

// retryAfter is when those should come again for whom there is no place, in
// seconds.
const retryAfter = "2"

// busyLogInterval is how often the log says that there is no place.
const busyLogInterval = 10 * time.Second

// busyLog remembers when the log said so last, in Unix nanoseconds.
type busyLog struct{ last atomic.Int64 }

// due says whether it is time to say so again.
func (b *busyLog) due(now time.Time) bool {
	last := b.last.Load()
	return now.UnixNano()-last >= int64(busyLogInterval) && b.last.CompareAndSwap(last, now.UnixNano())
}

// full answers a request for which there is no place. It has no support ID:
// there may be very many.
func (x *exchange) full() {
	if x.r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody is listening
	}
	if x.busy.due(time.Now()) {
		x.Log.Warn("too many requests at once, some are refused", "tenant", x.tenant.Name(), "inside", x.Application.Inside(), "refused", x.Application.Refused()+x.Own.Refused()+x.clients.Refused()+x.tenants.Refused())
	}
	secure(x.w.Header())
	x.w.Header().Set("Retry-After", retryAfter)
	if !isNavigation(x.r) {
		writeJSON(x.w, http.StatusServiceUnavailable, map[string]string{"error": "busy"})
		return
	}
	x.page(pages.Page{Status: http.StatusServiceUnavailable, Text: "busy", Link: "/"})
}

// Clients are the bounds of each client.
func (s *Server) Clients() *admission.Clients { return s.clients }

// OwnApplications are the bounds of each tenant with an application of its own.
func (s *Server) OwnApplications() *admission.Clients { return s.tenants }

// client is who sends the request, if that can be believed: the peer of a
// connection may be a proxy that nobody has told us of.
func (x *exchange) client() (string, bool) {
	if x.PerClient <= 0 {
		return "", false
	}
	address, port, err := net.SplitHostPort(x.r.RemoteAddr)
	return address, err == nil && port == "0" // as a trusted proxy names it
}
