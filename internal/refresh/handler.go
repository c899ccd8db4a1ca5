package refresh

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Options of a Handler. All are required.
type Options struct {
	// Authenticate returns whose a token is; its error is ErrUnauthenticated
	// unless that could not be found out.
	Authenticate func(ctx context.Context, token string) (user string, err error)
	// User is who may ask.
	User string
	// Refresh makes a tenant's fetch due and does not wait for it; its error is
	// ErrUnknownTenant unless that could not be done.
	Refresh func(ctx context.Context, tenant string) error
	// Now is the clock of the limits.
	Now func() time.Time
	Log *slog.Logger
}

// Handler is the operator's side. It answers 202 when it has taken a refresh
// up, 401 or 403 to anybody but the user, 404 for a tenant that there is not,
// and 429 with Retry-After above the limits. It reads no body. A new Handler
// knows of no refreshes of before.
type Handler struct {
	Options
	bucket *bucket
	turns  *turns
	mux    *http.ServeMux
}

// NewHandler returns a Handler.
func NewHandler(o Options) *Handler {
	h := &Handler{Options: o, bucket: newBucket(o.Now), turns: newTurns(o.Now), mux: http.NewServeMux()}
	h.mux.HandleFunc("POST "+pathPrefix+"{tenant}", h.refresh)
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

func (h *Handler) refresh(w http.ResponseWriter, r *http.Request) {
	// First of all, since looking at a token is a call of the API server.
	if wait := h.bucket.take(); wait > 0 {
		limited(w, wait)
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		unauthenticated(w)
		return
	}
	user, err := h.Authenticate(r.Context(), token)
	switch {
	case errors.Is(err, ErrUnauthenticated):
		unauthenticated(w)
		return
	case err != nil:
		h.Log.Error("the gateway's token cannot be checked", "error", err.Error())
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case user != h.User:
		h.Log.Warn("refresh refused", "user", user)
		w.WriteHeader(http.StatusForbidden)
		return
	}
	tenant := r.PathValue("tenant")
	if wait := h.turns.take(tenant); wait > 0 {
		limited(w, wait)
		return
	}
	if err := h.Refresh(r.Context(), tenant); err != nil {
		h.turns.giveBack(tenant)
		if errors.Is(err, ErrUnknownTenant) {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		h.Log.Error("refresh not taken up", "tenant", tenant, "error", err.Error())
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	h.Log.Info("refresh on demand of the gateway", "tenant", tenant)
	w.WriteHeader(http.StatusAccepted)
}

func unauthenticated(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	w.WriteHeader(http.StatusUnauthorized)
}

func limited(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	w.WriteHeader(http.StatusTooManyRequests)
}
