// Command gateway is the SSO gateway: it signs the users of all tenants in
// through SAML and passes their requests to the application.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/admin"
	"cequence.cloud/saml-operator/internal/gateway/configsource"
	"cequence.cloud/saml-operator/internal/gateway/forwarded"
	"cequence.cloud/saml-operator/internal/gateway/pathrules"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/gateway/upstreams"
	"cequence.cloud/saml-operator/internal/refresh"
	"cequence.cloud/saml-operator/internal/store"
)

// Bounds of the two servers. Bodies have no time limit here, since the
// application's may take long; the gateway's own endpoints set their own.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	// shutdownTimeout is less than the 30 s that Kubernetes grants; the drain
	// delay is part of it.
	shutdownTimeout = 25 * time.Second
)

// Exit codes.
const (
	exitOK = iota
	exitFailure
	exitUsage
)

// version is set by the linker.
var version = "devel"

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, os.Getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "gateway: %v\n", err)
		return exitUsage
	case c.showVersion:
		_, _ = fmt.Fprintln(stdout, version)
		return exitOK
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, c, stdout, log); err != nil {
		log.Error("gateway failed", "error", err.Error())
		return exitFailure
	}
	return exitOK
}

// config is the command line.
type config struct {
	listen, internalListen string
	extAuthzListen         string
	extAuthzClientCAFile   string
	forwardAuthFrom        forwarded.Proxies
	tlsCertFile            string
	tlsKeyFile             string
	tlsCertDir             string
	namespace, kubeconfig  string
	tenantsDir             string
	upstream               *url.URL
	tenantUpstreams        upstreams.Allowed
	pathRulesFile          string
	operator               *url.URL
	trustedProxies         forwarded.Proxies
	operatorTokenFile      string
	dataDir                string
	database               string
	databaseURLFile        string
	cookieKeyFile          string
	identityJWT            bool
	identityKeyFile        string
	identityAudience       string
	auditRetention         time.Duration
	clockSkew              time.Duration
	drainDelay             time.Duration
	upstreamTimeout        time.Duration
	stallTimeout           time.Duration
	maxConnections         int
	maxRequests            int
	maxQueuedRequests      int
	queueTimeout           time.Duration
	maxRequestsPerClient   int
	showVersion            bool

	// after is time.After if nil.
	after func(time.Duration) <-chan time.Time
}

// maxDrainDelay leaves requests some of shutdownTimeout to finish in.
const maxDrainDelay = 20 * time.Second

// maxQueueTimeout is shorter than people wait.
const maxQueueTimeout = 30 * time.Second

// maxClockSkew: a larger one would make expired assertions good.
const maxClockSkew = 5 * time.Minute

// parse reads the command line. Its errors are sentences that name the flag.
func parse(args []string, env func(string) string, output io.Writer) (config, error) {
	var (
		c                  config
		upstream, operator string
		trustedProxies     string
		forwardAuthFrom    string
		tenantUpstreams    string
	)
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.StringVar(&c.listen, "listen", ":8443", "`address` for browsers")
	flags.StringVar(&c.internalListen, "internal-listen", ":9090", "`address` for /healthz, /readyz, /metrics, /tenants and the administration API; empty for none")
	flags.StringVar(&c.extAuthzListen, "ext-authz-listen", "", "`address` for Envoy's ext_authz over gRPC, which only Envoy may reach: without --ext-authz-client-ca-file it has no TLS; empty for none")
	flags.StringVar(&c.extAuthzClientCAFile, "ext-authz-client-ca-file", "", "`file` with the certificates, PEM, of the authorities of Envoy's client certificate, which --ext-authz-listen then insists on; it shows the same certificates as --listen")
	flags.StringVar(&forwardAuthFrom, "forward-auth-from", "", "`networks` of the servers that ask by forward authentication at /saml/auth, such as 10.1.2.3/32,fd00::/64; empty for none")
	flags.StringVar(&c.tlsCertFile, "tls-cert-file", "", "`file` with the TLS certificate chain, PEM; empty if TLS ends in front of the gateway")
	flags.StringVar(&c.tlsKeyFile, "tls-key-file", "", "`file` with the TLS key, PEM")
	flags.StringVar(&c.tlsCertDir, "tls-cert-dir", "", "`directory` with one directory for each further TLS certificate, as a Secret of type kubernetes.io/tls is mounted (tls.crt, tls.key); the name that a client asks for chooses, and --tls-cert-file is for all others")
	flags.StringVar(&c.namespace, "namespace", "", "`namespace` whose labelled Secrets are the tenants (default: $POD_NAMESPACE)")
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "`file` to reach the cluster with, from outside of it")
	flags.StringVar(&c.tenantsDir, "tenants-dir", "", "`directory` with one directory for each tenant, instead of a namespace")
	flags.StringVar(&upstream, "upstream", "", "`URL` of the application, http, https, or h2c for HTTP/2 without TLS as gRPC servers speak it; empty for none")
	flags.StringVar(&tenantUpstreams, "tenant-upstreams", "", "`hosts` such as app.example.com,*.apps.example.com,app.customers.svc:8080 that tenants may name as applications of their own, and networks such as 10.1.2.0/24 in which hosts may be that are neither public nor Services; empty for none")
	flags.StringVar(&c.pathRulesFile, "path-rules-file", "", "`file` with rules for paths of all tenants' applications, YAML or JSON, read at the start; empty for none")
	flags.StringVar(&trustedProxies, "trusted-proxies", "", "`networks` such as 10.0.0.0/24,fd00::/64 of the proxies whose X-Forwarded-For and X-Forwarded-Proto count; empty for none")
	flags.StringVar(&operator, "operator-url", "", "`URL` at which the operator fetches a tenant's metadata when its identity provider signs with a new key; empty to wait for its next regular fetch")
	flags.StringVar(&c.operatorTokenFile, "operator-token-file", "/var/run/secrets/saml-operator/token", "`file` with the service account's token for the operator")
	flags.StringVar(&c.dataDir, "data-dir", "./data", "`directory` for the database, the cookie key and the identity key, unless they are elsewhere")
	flags.StringVar(&c.database, "database", "", "`location` of the database: a file of SQLite, or a URL such as postgres://user@host/database (default: gateway.db in --data-dir)")
	flags.StringVar(&c.databaseURLFile, "database-url-file", "", "`file` with the URL of a PostgreSQL database, instead of --database; it is read again for new connections")
	flags.StringVar(&c.cookieKeyFile, "cookie-key-file", "", "`file` with 32 random bytes that cookies are sealed with, the same for all replicas; files beside it named like it, a dot and something hold keys that only open (default: cookie.key in --data-dir, made at the first start)")
	flags.BoolVar(&c.identityJWT, "identity-jwt", true, "give the application a signed token of who is signed in, in X-Auth-Request-Jwt")
	flags.StringVar(&c.identityKeyFile, "identity-key-file", "", "`file` with the Ed25519 key that signs these tokens, PKCS #8 in PEM, the same for all replicas; keys in files beside it named like it, a dot and something are published too (default: identity.pem in --data-dir, made at the first start)")
	flags.StringVar(&c.identityAudience, "identity-audience", "", "`audience` of these tokens (default: the tenant's sign-on URL)")
	flags.DurationVar(&c.auditRetention, "audit-retention", 30*24*time.Hour, "`duration` for which the database keeps the lines of the audit log, which also go to standard output; 0 for not at all")
	flags.DurationVar(&c.clockSkew, "clock-skew", sp.DefaultClockSkew, "`duration` by which the clocks of identity providers may differ from ours")
	flags.DurationVar(&c.drainDelay, "drain-delay", 0, "`duration` for which new requests are still served after SIGTERM, while /readyz fails and load balancers take notice; 20s at most")
	flags.DurationVar(&c.upstreamTimeout, "upstream-timeout", 5*time.Minute, "`duration` that the application has to begin its answer in once it has the request; 0 for as long as it likes")
	flags.DurationVar(&c.stallTimeout, "stall-timeout", 5*time.Minute, "`duration` after which a request to the application is given up whose client sends nothing more of its body, or takes nothing more of the response; 0 for never")
	flags.IntVar(&c.maxConnections, "max-connections", 8192, "`number` of connections of clients that may be open at once; 0 for any number")
	flags.IntVar(&c.maxRequests, "max-requests", 4096, "`number` of requests to the application that may be open at once, WebSockets and streams included; 0 for any number")
	flags.IntVar(&c.maxQueuedRequests, "max-queued-requests", 256, "`number` of requests that may wait for others to end; one more is answered by 503 at once")
	flags.DurationVar(&c.queueTimeout, "queue-timeout", time.Second, "`duration` for which they wait before they are answered by 503; 30s at most")
	flags.IntVar(&c.maxRequestsPerClient, "max-requests-per-client", 0, "`number` of requests to the application that one address may have open at once if a proxy of --trusted-proxies names it; all people of an office may have one address; 0 for any number")
	flags.BoolVar(&c.showVersion, "version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	if c.showVersion {
		return c, nil
	}
	if flags.NArg() > 0 {
		return config{}, fmt.Errorf("there is an argument %q, but only flags are understood", flags.Arg(0))
	}
	if c.namespace == "" && c.tenantsDir == "" {
		c.namespace = env("POD_NAMESPACE")
	}
	if upstream != "" {
		u, err := url.Parse(upstream)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "h2c") || u.Host == "" || u.User != nil || u.Fragment != "" {
			return config{}, fmt.Errorf("--upstream is %q, but it must be an http, https or h2c URL such as http://app:8080", upstream)
		}
		c.upstream = u
	}
	if operator != "" {
		u, err := url.Parse(operator)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return config{}, fmt.Errorf("--operator-url is %q, but it must be an http or https URL without a path such as http://saml-operator-refresh:8082", operator)
		}
		c.operator = u
	}
	allowed, err := upstreams.Parse(tenantUpstreams)
	if err != nil {
		return config{}, fmt.Errorf("--tenant-upstreams: %w", err)
	}
	c.tenantUpstreams = allowed
	proxies, err := forwarded.Parse(trustedProxies)
	if err != nil {
		return config{}, fmt.Errorf("--trusted-proxies: %w", err)
	}
	c.trustedProxies = proxies
	if c.forwardAuthFrom, err = forwarded.Parse(forwardAuthFrom); err != nil {
		return config{}, fmt.Errorf("--forward-auth-from: %w", err)
	}
	return c, c.validate()
}

func (c config) validate() error {
	switch {
	case c.listen == "":
		return errors.New("--listen is empty, but browsers must reach the gateway somewhere, such as :8443")
	case c.tlsCertDir != "" && c.tlsCertFile == "":
		return errors.New("--tls-cert-dir is given without --tls-cert-file and --tls-key-file, but there must be a certificate for clients that ask for no name, or for another one")
	case (c.tlsCertFile == "") != (c.tlsKeyFile == ""):
		return errors.New("--tls-cert-file and --tls-key-file must be given together, or neither of them if TLS ends in front of the gateway")
	case c.extAuthzClientCAFile != "" && (c.extAuthzListen == "" || c.tlsCertFile == ""):
		return errors.New("--ext-authz-client-ca-file is given without --ext-authz-listen, or without --tls-cert-file and --tls-key-file for the server's side")
	case c.namespace == "" && c.tenantsDir == "":
		return errors.New("--namespace or --tenants-dir must be given: the tenants come from one of them")
	case c.namespace != "" && c.tenantsDir != "":
		return errors.New("--namespace and --tenants-dir are both given, but the tenants come from one of them only")
	case c.kubeconfig != "" && c.tenantsDir != "":
		return errors.New("--kubeconfig is given with --tenants-dir, but a directory needs no cluster")
	case c.operator != nil && c.tenantsDir != "":
		return errors.New("--operator-url is given with --tenants-dir, but no operator keeps a directory")
	case c.operator != nil && c.operatorTokenFile == "":
		return errors.New("--operator-token-file is empty, but the operator of --operator-url answers nobody without a token")
	case c.dataDir == "" && (c.cookieKeyFile == "" || c.database == "" && c.databaseURLFile == ""):
		return errors.New("--data-dir is empty, but the users and the cookie key must be kept somewhere")
	case c.database != "" && c.databaseURLFile != "":
		return errors.New("--database and --database-url-file are both given, but there is one database")
	case c.cookieKeyFile == "" && (c.databaseURLFile != "" || store.IsURL(c.database)):
		return errors.New("--cookie-key-file must be given with a PostgreSQL database: the replicas that share it must share the cookie key")
	case c.identityJWT && c.identityKeyFile == "" && (c.databaseURLFile != "" || store.IsURL(c.database)):
		return errors.New("--identity-key-file must be given with a PostgreSQL database, since the replicas that share it must share the identity key, or --identity-jwt=false")
	case c.dataDir == "" && c.identityJWT && c.identityKeyFile == "":
		return errors.New("--data-dir is empty, but the identity key must be kept somewhere: set --identity-key-file, or --identity-jwt=false")
	case c.auditRetention < 0:
		return fmt.Errorf("--audit-retention is %s, but it must be a time such as 720h, or 0 to keep nothing", c.auditRetention)
	case c.drainDelay < 0 || c.drainDelay > maxDrainDelay:
		return fmt.Errorf("--drain-delay is %s, but it must be between 0s and %s", c.drainDelay, maxDrainDelay)
	case c.upstreamTimeout < 0 || c.stallTimeout < 0:
		return errors.New("--upstream-timeout or --stall-timeout is less than zero, but it must be a time such as 5m, or 0 for no limit")
	case c.maxConnections < 0 || c.maxRequests < 0 || c.maxQueuedRequests < 0 || c.maxRequestsPerClient < 0:
		return errors.New("--max-connections, --max-requests, --max-queued-requests or --max-requests-per-client is less than zero, but it must be a number, or 0")
	case c.queueTimeout < 0 || c.queueTimeout > maxQueueTimeout:
		return fmt.Errorf("--queue-timeout is %s, but it must be between 0s and %s", c.queueTimeout, maxQueueTimeout)
	case c.maxRequestsPerClient > 0 && len(c.trustedProxies) == 0:
		return errors.New("--max-requests-per-client is given without --trusted-proxies, but only a proxy that is trusted tells one client from another")
	case c.clockSkew < 0 || c.clockSkew > maxClockSkew:
		return fmt.Errorf("--clock-skew is %s, but it must be between 0s and %s", c.clockSkew, maxClockSkew)
	}
	return nil
}

func (c config) source(log *slog.Logger) (configsource.Source, error) {
	if c.tenantsDir != "" {
		return &configsource.Directory{Dir: c.tenantsDir, Log: log}, nil
	}
	return configsource.NewKubernetes(c.kubeconfig, c.namespace, log)
}

// pathRules returns nil without a file.
func (c config) pathRules() (*pathrules.Rules, error) {
	if c.pathRulesFile == "" {
		return nil, nil
	}
	data, err := os.ReadFile(c.pathRulesFile)
	if err != nil {
		return nil, fmt.Errorf("--path-rules-file: %w", err)
	}
	rules, err := pathrules.Read(data)
	if err != nil {
		return nil, fmt.Errorf("--path-rules-file %s: %w", c.pathRulesFile, err)
	}
	return rules, nil
}

// serve runs the gateway until ctx ends, then lets requests finish.
func serve(ctx context.Context, c config, stdout io.Writer, log *slog.Logger) (err error) {
	source, err := c.source(log)
	if err != nil {
		return err
	}
	pathRules, err := c.pathRules()
	if err != nil {
		return err
	}
	certificates, err := c.certificates(log)
	if err != nil {
		return err
	}
	options := gateway.Options{
		TenantUpstreams: c.tenantUpstreams, Paths: pathRules,
		UpstreamTimeout: c.upstreamTimeout, StallTimeout: c.stallTimeout,
		MaxRequests: c.maxRequests, MaxQueued: c.maxQueuedRequests, QueueTimeout: c.queueTimeout, MaxRequestsPerClient: c.maxRequestsPerClient,
		Source: source, DataDir: c.dataDir, Database: c.database, DatabaseURLFile: c.databaseURLFile, CookieKeyFile: c.cookieKeyFile,
		Upstream: c.upstream, TrustedProxies: c.trustedProxies, ForwardAuthFrom: c.forwardAuthFrom, ClockSkew: c.clockSkew, Log: log, AuditOut: stdout, AuditRetention: c.auditRetention,
	}
	if certificates != nil {
		options.Covers = certificates.covers
	}
	if c.identityJWT {
		options.IdentityJWT = &gateway.IdentityJWT{KeyFile: c.identityKeyFile, Audience: c.identityAudience}
	}
	if cluster, ok := source.(*configsource.Kubernetes); ok {
		options.Authorize = admin.Kubernetes{Client: cluster.Client, Namespace: c.namespace}.Authorize
	}
	if c.operator != nil {
		options.Refresh = refresh.NewClient(c.operator, c.operatorTokenFile, time.Now).Refresh
	}
	g, err := gateway.New(ctx, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()

	bounded, err := listen(c)
	if err != nil {
		return err
	}
	g.Metrics().Connections(bounded.open.Load, bounded.refused.Load)
	listener := certificates.listener(bounded)
	if certificates != nil {
		g.Metrics().Certificates(certificates.expiry)
	}
	internal := g.Internal()
	public := newServer(g.Handler(), log)
	failed := make(chan error, 4)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { failed <- g.Run(ctx) }()
	go func() { failed <- public.Serve(listener) }()
	if c.internalListen != "" {
		internalListener, err := net.Listen("tcp", c.internalListen)
		if err != nil {
			return errors.Join(fmt.Errorf("--internal-listen: %w", err), public.Close())
		}
		private := newServer(internal, log)
		defer func() { err = errors.Join(err, private.Close()) }()
		go func() { failed <- private.Serve(internalListener) }()
	}
	stopExtAuthz := func(context.Context) {}
	if c.extAuthzListen != "" {
		extAuthz, extAuthzListener, err := newExtAuthz(c, certificates, g, internal.Ready)
		if err != nil {
			return errors.Join(err, public.Close())
		}
		defer extAuthz.Stop()
		stopExtAuthz = func(drain context.Context) { stopGracefully(drain, extAuthz) }
		go func() { failed <- extAuthz.Serve(extAuthzListener) }()
	}
	log.Info("gateway started", "version", version, "listen", listener.Addr().String(), "tls", certificates != nil)

	select {
	case err = <-failed:
		if ctx.Err() == nil {
			return errors.Join(err, public.Close())
		}
	case <-ctx.Done():
	}
	log.Info("gateway stops")
	internal.Drain()
	drain, cancelDrain := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancelDrain()
	if c.drainDelay > 0 {
		public.SetKeepAlivesEnabled(false)
		<-c.wait(c.drainDelay)
	}
	// By now all replicas that get requests are others. What would never end by
	// itself ends, and what does has the time that is left.
	g.Streams().End()
	var stopping sync.WaitGroup
	defer stopping.Wait()
	stopping.Go(func() { stopExtAuthz(drain) })
	if err := errors.Join(public.Shutdown(drain), g.Streams().Wait(drain)); err != nil {
		log.Warn("requests were cut off", "error", err.Error())
		return public.Close()
	}
	return nil
}

// wait is time.After, but for tests.
func (c config) wait(d time.Duration) <-chan time.Time {
	if c.after != nil {
		return c.after(d)
	}
	return time.After(d)
}

// listen returns where browsers connect.
func listen(c config) (*connections, error) {
	listener, err := net.Listen("tcp", c.listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	return &connections{Listener: listener, most: int64(c.maxConnections)}, nil
}

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
