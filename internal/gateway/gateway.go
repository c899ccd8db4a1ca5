// Package gateway is the SSO gateway: one SAML service provider for each
// tenant, found by host, in front of one application.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/admin"
	"cequence.cloud/saml-operator/internal/gateway/admission"
	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/authz"
	"cequence.cloud/saml-operator/internal/gateway/configsource"
	"cequence.cloud/saml-operator/internal/gateway/forwarded"
	"cequence.cloud/saml-operator/internal/gateway/gatewaymetrics"
	"cequence.cloud/saml-operator/internal/gateway/identityjwt"
	"cequence.cloud/saml-operator/internal/gateway/keyfile"
	"cequence.cloud/saml-operator/internal/gateway/pathrules"
	"cequence.cloud/saml-operator/internal/gateway/server"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/gateway/streams"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/gateway/upstreams"
	"cequence.cloud/saml-operator/internal/store"
)

// The files in the data directory.
const (
	databaseFile    = "gateway.db"
	cookieKeyFile   = "cookie.key"
	identityKeyFile = "identity.pem"
)

// storeRetryInterval is how often a database that is away is tried at the start.
const storeRetryInterval = time.Second

// ownRequests to our own endpoints are worked on at once, which each take some
// milliseconds; ownQueued wait.
const (
	ownRequests = 512
	ownQueued   = 512
)

// tenantShare is the part of all places that the requests to one tenant's own
// application may take: one that does not answer must leave places to others.
const tenantShare = 4

// Options of a Gateway.
type Options struct {
	// Source delivers the tenants.
	Source configsource.Source
	// DataDir keeps what the next options do not place elsewhere: the database,
	// the cookie key and the identity key. It is created with mode 0700 if it is
	// needed.
	DataDir string
	// Database is a file of SQLite or the URL of a PostgreSQL database.
	Database string
	// DatabaseURLFile is a file with that URL; what it holds may change.
	DatabaseURLFile string
	// CookieKeyFile is a file with the cookie key, which replicas share; see
	// keyfile.Files for those beside it.
	CookieKeyFile string
	// IdentityJWT gives the application tokens of who is signed in; nil for none.
	IdentityJWT *IdentityJWT
	// Upstream is the application; nil for none.
	Upstream *url.URL
	// TenantUpstreams are the applications that tenants may have instead of that;
	// none by default.
	TenantUpstreams upstreams.Allowed
	// Paths are rules for parts of all applications; nil for none.
	Paths *pathrules.Rules
	// UpstreamTimeout and StallTimeout are those of server.Options.
	UpstreamTimeout, StallTimeout time.Duration
	// MaxRequests is how many requests to the application are open at once, zero
	// for no limit. MaxQueued others wait for QueueTimeout at most.
	MaxRequests, MaxQueued int
	QueueTimeout           time.Duration
	// MaxRequestsPerClient and Covers are those of server.Options.
	MaxRequestsPerClient int
	Covers               func(name, host string) bool
	// TrustedProxies may say who the client is, and whether it came by https.
	TrustedProxies forwarded.Proxies
	// ForwardAuthFrom are the networks of the servers that may ask by forward
	// authentication; none by default.
	ForwardAuthFrom forwarded.Proxies
	// Refresh asks the operator to fetch a tenant's metadata; nil if there is
	// none to ask.
	Refresh func(ctx context.Context, tenant string) error
	// Authorize says who may use the administration API; nil for nobody. See
	// admin.Options.
	Authorize func(ctx context.Context, token string, access admin.Access) (user string, err error)
	// AuditOut takes the audit log's lines; io.Discard if nil. AuditRetention is
	// how long the store keeps them, zero for not at all.
	AuditOut       io.Writer
	AuditRetention time.Duration
	// ClockSkew between IdPs and us; sp.DefaultClockSkew if negative.
	ClockSkew time.Duration
	// Now is time.Now if nil.
	Now func() time.Time
	// Log is slog.Default if nil.
	Log *slog.Logger
}

// IdentityJWT are the options of the tokens for the application.
type IdentityJWT struct {
	// KeyFile is a PEM file with the Ed25519 key that signs, which replicas
	// share; see keyfile.Files for those beside it.
	KeyFile string
	// Audience is that of all tenants' tokens; the tenant's sign-on URL if empty.
	Audience string
}

// Gateway serves all tenants of its source.
type Gateway struct {
	source   configsource.Source
	tenants  *tenant.Registry
	store    store.Store
	follower *session.Follower
	// followKeys has new cookie and identity keys used until the context ends.
	followKeys []func(context.Context)
	server     *server.Server
	streams    *streams.Set
	handler    http.Handler
	audit      *audit.Log
	metrics    *gatewaymetrics.Metrics
	admin      http.Handler // nil for none
	log        *slog.Logger
	// waiting is the reason why Run waits, or empty.
	waiting atomic.Pointer[string]
}

// New opens the store and returns a Gateway that knows no tenants until Run was
// called. A PostgreSQL database need not be there yet. Close it.
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
	if o.CookieKeyFile == "" || o.Database == "" && o.DatabaseURLFile == "" || o.IdentityJWT != nil && o.IdentityJWT.KeyFile == "" {
		if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
			return nil, fmt.Errorf("create data directory: %w", err)
		}
	}
	keyFiles := o.cookieKeys()
	keys, err := keyFiles.Load()
	if err != nil {
		return nil, err
	}
	codec, err := session.NewCodec(keys...)
	if err != nil {
		return nil, err
	}
	followKeys := []func(context.Context){func(ctx context.Context) { keyFiles.Follow(ctx, codec.SetKeys, keys, o.Log) }}
	var identity server.Identity
	if o.IdentityJWT != nil {
		files := o.identityKeys()
		keys, err := files.Load()
		if err != nil {
			return nil, err
		}
		issuer, err := identityjwt.New(o.Now, keys...)
		if err != nil {
			return nil, err
		}
		identity = server.Identity{Issuer: issuer, Audience: o.IdentityJWT.Audience}
		followKeys = append(followKeys, func(ctx context.Context) { files.Follow(ctx, issuer.SetKeys, keys, o.Log) })
	}
	db, err := o.openStore(ctx)
	if err != nil {
		return nil, err
	}
	metrics := gatewaymetrics.New()
	db = metrics.Store(db)
	tenants, revocations := tenant.NewRegistry(o.Log), session.NewRevocations(nil)
	tenants.Limit(tenant.Limits{Upstreams: o.TenantUpstreams, Paths: o.Paths})
	if o.AuditOut == nil {
		o.AuditOut = io.Discard
	}
	auditLog := audit.New(audit.Options{Out: o.AuditOut, Store: db, Retention: o.AuditRetention, Now: o.Now, Log: o.Log, Observe: metrics.Audited})
	tenants.Observe(func(name, action, hash string) {
		auditLog.Record(audit.Entry{Event: audit.EventConfiguration, Outcome: audit.OutcomeSuccess, Action: action, Tenant: name, ConfigHash: hash})
	})
	open := &streams.Set{}
	g := &Gateway{
		source: o.Source, tenants: tenants, store: db, log: o.Log, streams: open,
		follower:   &session.Follower{Revocations: revocations, Store: db, Now: o.Now, Log: o.Log},
		followKeys: followKeys,
		server: server.New(server.Options{
			Tenants: tenants, Store: db, Codec: codec, Revocations: revocations,
			Upstream: o.Upstream, Refresh: metrics.Refresh(o.Refresh), TrustedProxies: o.TrustedProxies, ClockSkew: o.ClockSkew, Now: o.Now, Log: o.Log, Audit: auditLog,
			Identity: identity, TenantUpstreams: o.TenantUpstreams, Paths: o.Paths,
			Application: admission.New(o.MaxRequests, o.MaxQueued, o.QueueTimeout), Own: admission.New(ownRequests, ownQueued, time.Second),
			PerClient: o.MaxRequestsPerClient, PerTenant: (o.MaxRequests + tenantShare - 1) / tenantShare, Covers: o.Covers,
			UpstreamTimeout: o.UpstreamTimeout, StallTimeout: o.StallTimeout, Streams: open,
		}),
		audit: auditLog, metrics: metrics,
	}
	metrics.Watch(g.server.Application, g.server.Own, g.server.Clients(), g.server.OwnApplications(), open, tenants.Status, g.Ready)
	g.handler = metrics.Requests(authz.ForwardAuth(g.server, o.ForwardAuthFrom, g.server))
	if o.Authorize != nil {
		g.admin = admin.New(admin.Options{Store: db, Revocations: revocations, Authorize: o.Authorize, TestLink: g.server.TestLink, Now: o.Now, Log: o.Log, Audit: auditLog})
	}
	g.wait("the database was not asked yet")
	return g, nil
}

func (o Options) cookieKeys() keyfile.Files {
	files := keyfile.Files{What: "cookie key", File: o.CookieKeyFile, Check: session.CheckKey}
	if files.File == "" {
		files.File, files.Make = filepath.Join(o.DataDir, cookieKeyFile), session.NewKey
	}
	return files
}

func (o Options) identityKeys() keyfile.Files {
	files := keyfile.Files{What: "identity key", File: o.IdentityJWT.KeyFile, Check: identityjwt.CheckKey}
	if files.File == "" {
		files.File, files.Make = filepath.Join(o.DataDir, identityKeyFile), identityjwt.NewKey
	}
	return files
}

func (o Options) openStore(ctx context.Context) (store.Store, error) {
	if o.DatabaseURLFile == "" {
		return store.Open(ctx, cmp.Or(o.Database, filepath.Join(o.DataDir, databaseFile)), o.Now)
	}
	return store.OpenPostgreSQL(func() (string, error) {
		url, err := os.ReadFile(filepath.Clean(o.DatabaseURLFile))
		if err != nil {
			return "", fmt.Errorf("read URL of the database: %w", err)
		}
		return strings.TrimSpace(string(url)), nil
	}, o.Now)
}

// Run waits for the store, then keeps the tenants, the revocations and the
// keys up to date until ctx ends. It returns an error only if the store's database is not
// for this release, or the source cannot be read at the beginning.
func (g *Gateway) Run(ctx context.Context) error {
	if err := g.awaitStore(ctx); err != nil {
		return err
	}
	var following sync.WaitGroup
	defer following.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	following.Go(func() { g.follower.Run(ctx) })
	for _, follow := range g.followKeys {
		following.Go(func() { follow(ctx) })
	}
	following.Go(func() { g.audit.Run(ctx) })
	following.Go(func() { g.streams.Run(ctx) })
	return g.source.Run(ctx, g.tenants)
}

// awaitStore returns once the store has told which sessions were ended. Until
// then no tenant is known, and so nobody is let in.
func (g *Gateway) awaitStore(ctx context.Context) error {
	for retry := time.NewTicker(storeRetryInterval); ; {
		err := g.follower.Load(ctx)
		switch {
		case err == nil:
			retry.Stop()
			g.wait("")
			return nil
		case errors.Is(err, store.ErrLaterSchema):
			retry.Stop()
			return fmt.Errorf("open database: %w", err)
		case g.wait("the database cannot be used: " + err.Error()):
			g.log.Warn("waiting for the database", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			retry.Stop()
			return nil
		case <-retry.C:
		}
	}
}

// wait keeps the gateway from being ready for a reason, or not any more if it
// is empty. It says whether the reason is another one than before.
func (g *Gateway) wait(reason string) bool {
	before := g.waiting.Swap(&reason)
	return before == nil || *before != reason
}

// Close releases the store. No request may be served any more, and Run must have
// ended.
func (g *Gateway) Close() error {
	g.audit.Flush()
	return g.store.Close()
}

// Handler serves the tenants' hosts.
func (g *Gateway) Handler() http.Handler { return g.handler }

// Waiting is how many requests to the application wait for others to end.
func (g *Gateway) Waiting() int { return g.server.Application.Waiting() }

// Metrics are served on the internal port.
func (g *Gateway) Metrics() *gatewaymetrics.Metrics { return g.metrics }

// Streams are the WebSockets and streams of events that are open. An
// http.Server does not wait for the first, and in vain for the others.
func (g *Gateway) Streams() *streams.Set { return g.streams }

// Authorize implements authz.Authorizer.
func (g *Gateway) Authorize(w http.ResponseWriter, r *http.Request) (http.Header, bool) {
	return g.server.Authorize(w, r)
}

// Ready returns nil once the database was there and all tenants that there are
// were loaded. It stays so without the database: sessions go on.
func (g *Gateway) Ready() error {
	if reason := *g.waiting.Load(); reason != "" {
		return errors.New(reason)
	}
	if !g.tenants.Synced() {
		return errors.New("the tenants are not loaded yet")
	}
	return nil
}

// Tenants returns what is served, and what is not and why.
func (g *Gateway) Tenants() []tenant.Status { return g.tenants.Status() }
