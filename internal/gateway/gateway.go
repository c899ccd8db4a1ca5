// Package gateway is the SSO gateway: one SAML service provider for each
// tenant, found by host, in front of one application.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/configsource"
	"cequence.cloud/saml-operator/internal/gateway/server"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/store"
)

// The files in the data directory.
const (
	databaseFile  = "gateway.db"
	cookieKeyFile = "cookie.key"
)

// Options of a Gateway.
type Options struct {
	// Source delivers the tenants.
	Source configsource.Source
	// DataDir keeps the database and the cookie key. It is created with mode
	// 0700 if it is missing.
	DataDir string
	// Upstream is the application; nil for none.
	Upstream *url.URL
	// Refresh asks the operator to fetch a tenant's metadata; nil if there is
	// none to ask.
	Refresh func(ctx context.Context, tenant string) error
	// ClockSkew between IdPs and us; sp.DefaultClockSkew if negative.
	ClockSkew time.Duration
	// Now is time.Now if nil.
	Now func() time.Time
	// Log is slog.Default if nil.
	Log *slog.Logger
}

// Gateway serves all tenants of its source.
type Gateway struct {
	source  configsource.Source
	tenants *tenant.Registry
	store   store.Store
	server  *server.Server
	log     *slog.Logger
}

// New opens the data directory and returns a Gateway that knows no tenants
// until Run was called. Close it.
func New(ctx context.Context, o Options) (*Gateway, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.ClockSkew < 0 {
		o.ClockSkew = sp.DefaultClockSkew
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	key, err := session.LoadOrCreateKey(filepath.Join(o.DataDir, cookieKeyFile))
	if err != nil {
		return nil, err
	}
	codec, err := session.NewCodec(key)
	if err != nil {
		return nil, err
	}
	db, err := store.OpenSQLite(ctx, filepath.Join(o.DataDir, databaseFile), o.Now)
	if err != nil {
		return nil, err
	}
	revoked, err := db.RevokedSessions(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	tenants := tenant.NewRegistry(o.Log)
	return &Gateway{
		source: o.Source, tenants: tenants, store: db, log: o.Log,
		server: server.New(server.Options{
			Tenants: tenants, Store: db, Codec: codec, Revocations: session.NewRevocations(revoked),
			Upstream: o.Upstream, Refresh: o.Refresh, ClockSkew: o.ClockSkew, Now: o.Now, Log: o.Log,
		}),
	}, nil
}

// Run keeps the tenants up to date until ctx ends. It returns an error only if
// the source cannot be read at the beginning.
func (g *Gateway) Run(ctx context.Context) error {
	return g.source.Run(ctx, g.tenants)
}

// Close releases the store. No request may be served any more.
func (g *Gateway) Close() error { return g.store.Close() }

// Handler serves the tenants' hosts.
func (g *Gateway) Handler() http.Handler { return g.server }

// Ready returns nil once all tenants that there are were loaded.
func (g *Gateway) Ready() error {
	if !g.tenants.Synced() {
		return errors.New("the tenants are not loaded yet")
	}
	return nil
}

// Tenants returns what is served, and what is not and why.
func (g *Gateway) Tenants() []tenant.Status { return g.tenants.Status() }
