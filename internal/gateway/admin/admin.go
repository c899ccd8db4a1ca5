// Package admin is the gateway's side of the administration API: who has a token
// of the cluster, and is allowed to by its RBAC, sees and disables users, and
// sees and ends sessions. Without a token nothing is told.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/store"
)

var (
	// ErrUnauthenticated says that a token is none, or not for this API.
	ErrUnauthenticated = errors.New("the token is not valid, or not for the audience " + administration.Audience)
	// ErrForbidden says that RBAC does not allow what was asked for.
	ErrForbidden = errors.New("not allowed")
	// errNotServed says that the gateway has no such tenant.
	errNotServed = errors.New("the gateway serves no tenant of this name; kubectl saml check says why")
)

const (
	maxBodyBytes = 4 << 10
	// maxConcurrent requests are answered at once: each costs calls of the API
	// server before it is known whose it is.
	maxConcurrent = 16
)

// Access is what a request wants to do.
type Access struct {
	// Verb is one of Kubernetes', Resource one of package administration's.
	Verb, Resource, Tenant string
}

// Options of a Handler. All but Audit are required.
type Options struct {
	Store       store.Store
	Revocations *session.Revocations
	// Authorize returns whose a token is if access is allowed. Its error is
	// ErrUnauthenticated or ErrForbidden, unless that could not be found out; with
	// the latter it still says whose.
	Authorize func(ctx context.Context, token string, access Access) (user string, err error)
	// TestLink returns the address at which a tenant's connection may be tested,
	// and until when, or false if no such tenant is served.
	TestLink func(tenant string) (link string, expires time.Time, ok bool)
	Now      func() time.Time
	Log      *slog.Logger
	// Audit may be nil.
	Audit *audit.Log
}

// Handler implements http.Handler.
type Handler struct {
	Options
	mux   *http.ServeMux
	slots chan struct{}
}

// New returns a Handler for the paths below administration.Prefix.
func New(o Options) *Handler {
	h := &Handler{Options: o, mux: http.NewServeMux(), slots: make(chan struct{}, maxConcurrent)}
	const users, sessions = administration.Prefix + "{tenant}/users", administration.Prefix + "{tenant}/sessions"
	for _, route := range []struct {
		pattern, verb, resource string
		serve                   func(*http.Request, call) (any, error)
	}{
		{"GET " + users, "list", administration.ResourceUsers, h.listUsers},
		{"GET " + users + "/{user}", "get", administration.ResourceUsers, h.getUser},
		{"PATCH " + users + "/{user}", "update", administration.ResourceUsers, h.patchUser},
		{"GET " + sessions, "list", administration.ResourceSessions, h.listSessions},
		{"DELETE " + sessions, "deletecollection", administration.ResourceSessions, h.endSessions},
		{"GET " + administration.Prefix + "{tenant}/audit", "list", administration.ResourceAudit, h.listAudit},
		{"POST " + administration.Prefix + "{tenant}/test", "create", administration.ResourceTest, h.makeTestLink},
		{"DELETE " + sessions + "/{session}", "delete", administration.ResourceSessions, h.endSessions},
	} {
		h.mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			h.serve(w, r, Access{Verb: route.verb, Resource: route.resource, Tenant: r.PathValue("tenant")}, route.serve)
		})
	}
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// call is a request that is allowed.
type call struct{ tenant, actor string }

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, access Access, do func(*http.Request, call) (any, error)) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusServiceUnavailable, administration.Problem{Error: "the gateway has too many requests of administrators under way; try again"})
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		h.fail(w, ErrUnauthenticated)
		return
	}
	actor, err := h.Authorize(r.Context(), token, access)
	if err != nil {
		if errors.Is(err, ErrForbidden) {
			h.Log.Warn("administration", "event", "administration", "outcome", "refused", "code", "forbidden",
				"actor", actor, "verb", access.Verb, "resource", access.Resource, "tenant", access.Tenant)
			h.Audit.Record(audit.Entry{Event: audit.EventAdministration, Outcome: audit.OutcomeRefused, Code: "forbidden",
				Action: access.Verb + " " + access.Resource, Tenant: access.Tenant, Actor: actor, Address: r.RemoteAddr})
			err = fmt.Errorf("%w: %s may not %s samltenants/%s of the tenant %q; an administrator of the cluster can allow it by RBAC",
				ErrForbidden, actor, access.Verb, access.Resource, access.Tenant)
		}
		h.fail(w, err)
		return
	}
	result, err := do(r, call{access.Tenant, actor})
	if err != nil {
		h.fail(w, err)
		return
	}
	answer(w, http.StatusOK, result)
}

// errBadRequest is what the caller can mend.
var errBadRequest = errors.New("bad request")

func (h *Handler) fail(w http.ResponseWriter, err error) {
	status, text := http.StatusServiceUnavailable, "the gateway cannot do that at the moment; its log says why"
	switch {
	case errors.Is(err, ErrUnauthenticated):
		w.Header().Set("WWW-Authenticate", "Bearer")
		status, text = http.StatusUnauthorized, err.Error()
	case errors.Is(err, ErrForbidden):
		status, text = http.StatusForbidden, err.Error()
	case errors.Is(err, store.ErrNotFound):
		status, text = http.StatusNotFound, "there is no such user at this tenant"
	case errors.Is(err, errNotServed):
		status, text = http.StatusNotFound, err.Error()
	case errors.Is(err, errBadRequest):
		status, text = http.StatusBadRequest, err.Error()
	default:
		h.Log.Error("administration failed", "error", err.Error())
	}
	answer(w, status, administration.Problem{Error: text})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

func (h *Handler) listUsers(r *http.Request, c call) (any, error) {
	query := r.URL.Query()
	limit, err := limit(query.Get("limit"))
	if err != nil {
		return nil, err
	}
	users, err := h.Store.ListUsers(r.Context(), store.UserQuery{
		Tenant: c.tenant, Email: query.Get("email"), StableID: query.Get("stableID"), After: query.Get("after"), Limit: limit,
	})
	return page(users, limit, userOf, func(u store.User) string { return u.ID }), err
}

func (h *Handler) getUser(r *http.Request, c call) (any, error) {
	user, err := h.Store.GetUser(r.Context(), c.tenant, r.PathValue("user"))
	return userOf(user), err
}

func (h *Handler) patchUser(r *http.Request, c call) (any, error) {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return nil, fmt.Errorf("%w: send application/json", errBadRequest)
	}
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	var patch administration.UserPatch
	if err := decoder.Decode(&patch); err != nil || patch.Disabled == nil || decoder.More() {
		return nil, fmt.Errorf(`%w: send {"disabled": true} or {"disabled": false}`, errBadRequest)
	}
	user, ended, err := h.Store.SetUserDisabled(r.Context(), c.tenant, r.PathValue("user"), *patch.Disabled)
	if err != nil {
		return nil, err
	}
	h.Revocations.Add(ended, h.Now())
	action := "enable_user"
	if *patch.Disabled {
		action = "disable_user"
	}
	h.done(r, c, audit.Entry{Action: action, User: user.ID, Sessions: len(ended)})
	return userOf(user), nil
}

func (h *Handler) listSessions(r *http.Request, c call) (any, error) {
	query := r.URL.Query()
	limit, err := limit(query.Get("limit"))
	if err != nil {
		return nil, err
	}
	sessions, err := h.Store.ListSessions(r.Context(), store.SessionQuery{
		Tenant: c.tenant, UserID: query.Get("user"), After: query.Get("after"), Limit: limit,
	})
	return page(sessions, limit, func(s store.Session) administration.Session {
		return administration.Session{ID: s.ID, UserID: s.UserID, CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt}
	}, func(s store.Session) string { return s.ID }), err
}

// endSessions ends those of a tenant, of one of its users, or the one of the
// path.
func (h *Handler) endSessions(r *http.Request, c call) (any, error) {
	// A parameter that is misspelt must not end all of them.
	query := r.URL.Query()
	for name, values := range query {
		if name != "user" || len(values) != 1 || values[0] == "" || r.PathValue("session") != "" {
			return nil, fmt.Errorf("%w: the only parameter is user, with the ID of one", errBadRequest)
		}
	}
	q := store.SessionQuery{Tenant: c.tenant, UserID: query.Get("user"), SessionID: r.PathValue("session")}
	ended, err := h.Store.EndSessions(r.Context(), q)
	if err != nil {
		return nil, err
	}
	h.Revocations.Add(ended, h.Now())
	h.done(r, c, audit.Entry{Action: "end_sessions", User: q.UserID, Sessions: len(ended)})
	return administration.Ended{Sessions: len(ended)}, nil
}

func (h *Handler) done(r *http.Request, c call, e audit.Entry) {
	e.Event, e.Outcome, e.Tenant, e.Actor, e.Address = audit.EventAdministration, audit.OutcomeSuccess, c.tenant, c.actor, r.RemoteAddr
	h.Log.Info("administration", "event", e.Event, "outcome", e.Outcome, "action", e.Action, "actor", e.Actor,
		"tenant", e.Tenant, "user", e.User, "sessions", e.Sessions)
	h.Audit.Record(e)
}

func (h *Handler) listAudit(r *http.Request, c call) (any, error) {
	query := r.URL.Query()
	limit, err := limit(query.Get("limit"))
	if err != nil {
		return nil, err
	}
	entries, err := h.Store.ListAudit(r.Context(), store.AuditQuery{
		Tenant: c.tenant, User: query.Get("user"), Event: query.Get("event"), Outcome: query.Get("outcome"), Before: query.Get("after"), Limit: limit,
	})
	return page(entries, limit, func(e store.AuditEntry) json.RawMessage { return json.RawMessage(e.Text) }, func(e store.AuditEntry) string { return e.ID }), err
}

func (h *Handler) makeTestLink(r *http.Request, c call) (any, error) {
	link, expires, ok := h.TestLink(c.tenant)
	if !ok {
		return nil, errNotServed
	}
	h.done(r, c, audit.Entry{Action: "create_test_link"})
	return administration.TestLink{URL: link, ExpiresAt: expires}, nil
}

func limit(text string) (int, error) {
	if text == "" {
		return store.MaxPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > store.MaxPage {
		return 0, fmt.Errorf("%w: limit is a number from 1 to %d", errBadRequest, store.MaxPage)
	}
	return n, nil
}

// page makes a list of rows, of which limit were asked for.
func page[Row, Item any](rows []Row, limit int, item func(Row) Item, id func(Row) string) administration.List[Item] {
	list := administration.List[Item]{Items: []Item{}}
	for _, row := range rows {
		list.Items = append(list.Items, item(row))
	}
	if len(rows) == limit {
		list.Next = id(rows[limit-1])
	}
	return list
}

func userOf(u store.User) administration.User {
	user := administration.User{
		ID: u.ID, IDPEntityID: u.IDPEntityID, StableID: u.Profile.StableID, UserIDSource: u.Profile.UserIDSource,
		Email: u.Profile.Email, GivenName: u.Profile.GivenName, Surname: u.Profile.Surname, DisplayName: u.Profile.DisplayName,
		Groups: slices.Concat([]string{}, u.Profile.Groups), CreatedAt: u.CreatedAt, LastSignInAt: u.LastSignInAt, SignIns: u.SignIns,
	}
	if !u.DisabledAt.IsZero() {
		user.DisabledAt = &u.DisabledAt
	}
	if !u.InactiveAt.IsZero() {
		user.InactiveAt = &u.InactiveAt
	}
	return user
}
