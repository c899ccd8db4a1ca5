package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"

	"cequence.cloud/saml-operator/internal/administration"
)

// Internal is the handler for the internal port: health, metrics, what is served,
// and the administration API. All but the last hold no secrets, but are nobody's business
// outside.
type Internal struct {
	gateway  *Gateway
	metrics  http.Handler
	draining atomic.Bool
}

// Internal returns the handler of the internal port.
func (g *Gateway) Internal() *Internal { return &Internal{gateway: g, metrics: g.metrics.Handler()} }

// Drain makes Ready fail from now on, so that no new requests are sent here.
func (i *Internal) Drain() { i.draining.Store(true) }

// Ready returns why no new requests should be sent here, or nil.
func (i *Internal) Ready() error {
	if err := i.gateway.Ready(); err != nil {
		return err
	}
	if i.draining.Load() {
		return errors.New("shutting down")
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (i *Internal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.gateway.admin != nil && strings.HasPrefix(r.URL.Path, administration.Prefix) {
		i.gateway.admin.ServeHTTP(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	switch r.URL.Path {
	case "/healthz":
		writeText(w, "ok")
	case "/readyz":
		if err := i.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		writeText(w, "ok")
	case "/metrics":
		i.metrics.ServeHTTP(w, r)
	case "/tenants":
		body, err := json.Marshal(i.gateway.Tenants())
		if err != nil {
			http.Error(w, "encode tenants", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n')) // the client may be gone
	default:
		http.NotFound(w, r)
	}
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text + "\n")) // the client may be gone
}
