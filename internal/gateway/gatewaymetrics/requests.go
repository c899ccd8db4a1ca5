package gatewaymetrics

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cequence.cloud/saml-operator/internal/gateway/paths"
	"cequence.cloud/saml-operator/internal/gateway/scim"
)

// What a request is for.
const (
	classApplication = iota
	classSignIn
	classSignOut
	classForwardAuth
	classSCIM
	classOther
	classes
)

var classNames = [classes]string{"application", "sign_in", "sign_out", "forward_auth", "scim", "other"}

// How it ended. One that was cut off has no status that anybody has seen.
const aborted = 0

var codeNames = [...]string{"aborted", "1xx", "2xx", "3xx", "4xx", "5xx"}

// requests counts without a lock: each series is made at the beginning.
type requests struct {
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	counters [classes][len(codeNames)]prometheus.Counter
	observed [classes]prometheus.Observer
}

func newRequests() requests {
	r := requests{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "requests_total", Help: "Requests by what they are for and the class of the status. 1xx is a WebSocket, and aborted one that the client or the application has broken off.",
		}, []string{"class", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "request_duration_seconds", Help: "How long requests took until the end of the response, but for WebSockets, streams of events and what was broken off.",
			Buckets: []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60},
		}, []string{"class"}),
	}
	for class, name := range classNames {
		r.observed[class] = r.duration.WithLabelValues(name)
		for code, text := range codeNames {
			r.counters[class][code] = r.total.WithLabelValues(name, text)
		}
	}
	return r
}

// Requests returns a handler that does what next does, and counts it.
func (m *Metrics) Requests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun, class := time.Now(), classOf(r.URL.Path)
		c := &counted{ResponseWriter: w}
		done := false
		defer func() {
			code := aborted
			if done {
				code = c.code()
			}
			m.requests.counters[class][code].Inc()
			if code > 1 && !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
				m.requests.observed[class].Observe(time.Since(begun).Seconds())
			}
		}()
		next.ServeHTTP(c, r)
		done = true
	})
}

// classOf says what a path is for.
func classOf(path string) int {
	switch {
	case !paths.Own(path):
		return classApplication
	case path == "/saml/login", path == "/saml/acs":
		return classSignIn
	case path == "/saml/logout", path == "/saml/slo":
		return classSignOut
	case path == "/saml/auth", strings.HasPrefix(path, "/saml/auth/"):
		return classForwardAuth
	case scim.Path(path):
		return classSCIM
	}
	return classOther
}

// counted remembers the status of a response.
type counted struct {
	http.ResponseWriter
	status int
}

// code is the status' in codeNames.
func (c *counted) code() int {
	switch c.status {
	case http.StatusSwitchingProtocols:
		return 1
	case 0:
		return 2
	}
	return min(c.status/100, len(codeNames)-1)
}

// WriteHeader implements http.ResponseWriter.
func (c *counted) WriteHeader(status int) {
	if c.status < http.StatusOK {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Hijack is for http.ResponseController. Who takes a connection over writes the
// status by himself.
func (c *counted) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c.status = http.StatusSwitchingProtocols
	return http.NewResponseController(c.ResponseWriter).Hijack() //nolint:wrapcheck // the server's
}

// Unwrap is for http.ResponseController.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }
