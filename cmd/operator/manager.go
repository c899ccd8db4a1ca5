package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"cequence.cloud/saml-operator/controllers"
	"cequence.cloud/saml-operator/internal/rollout"
)

// Values of --gateway-rollout.
const (
	rolloutRolling    = "Rolling"
	rolloutStructural = "Structural"
	rolloutOff        = "Off"
)

func runManager(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("operator", flag.ContinueOnError)
	var (
		tenants   tenantFlags
		logging   zap.Options
		namespace = flags.String("namespace", os.Getenv("POD_NAMESPACE"), "namespace of the tenants and of the gateway")
		gateway   = flags.String("gateway-deployment", "saml-gateway", "name of the gateway Deployment in the same namespace; the operator's Role names it as well")
		mode      = flags.String("gateway-rollout", rolloutRolling, "Rolling: start the gateway's pods anew when the tenants' configuration has changed; Structural: only when what concerns the whole gateway has; Off: never")
		quiet     = flags.Duration("gateway-rollout-quiet", 15*time.Second, "how long no configuration may have changed before a rollout of the gateway starts")
		maxWait   = flags.Duration("gateway-rollout-max-wait", 2*time.Minute, "most time that a change waits for such quiet")
		interval  = flags.Duration("gateway-rollout-interval", 2*time.Minute, "least time between the starts of two rollouts of the gateway")
		refresh   = flags.Duration("refresh-interval", time.Hour, "time between two fetches of a tenant's metadata, from 5m to 24h, unless the tenant says otherwise")
		elect     = flags.Bool("leader-elect", false, "run as one of several replicas of which one works")
		health    = flags.String("health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 for none")
		metrics   = flags.String("metrics-bind-address", "0", "address of /metrics, such as :8443; 0 for none")
		secure    = flags.Bool("metrics-secure", true, "serve /metrics over TLS, to those with a token whom the API server allows to get the path; false: to everybody over plain HTTP")
		certs     = flags.String("metrics-cert-path", "", "directory with tls.crt and tls.key for /metrics, read again when they change; empty for a certificate that the operator makes itself")
		ask       = flags.String("refresh-bind-address", "0", "address at which the gateway asks for a tenant's metadata to be fetched at once, over plain HTTP, such as :8082; 0 for none")
		account   = flags.String("gateway-service-account", "saml-gateway", "name of the service account in the same namespace that may ask for fetches")
		profiles  = flags.String("pprof-bind-address", "0", "address of /debug/pprof over plain HTTP, for those who may read the operator's memory; 0 for none")
	)
	tenants.register(flags)
	logging.BindFlags(flags)
	// controller-runtime registers --kubeconfig with the default set.
	if kubeconfig := flag.CommandLine.Lookup("kubeconfig"); kubeconfig != nil {
		flags.Var(kubeconfig.Value, kubeconfig.Name, kubeconfig.Usage)
	}
	if err := parse(flags, args); err != nil {
		return err
	}
	base, fetcher, err := tenants.read()
	switch {
	case err != nil:
		return err
	case *namespace == "":
		return usageErrorf("set --namespace (or POD_NAMESPACE) to the namespace of the tenants")
	case *mode != rolloutRolling && *mode != rolloutStructural && *mode != rolloutOff:
		return usageErrorf("--gateway-rollout is %q; write Rolling, Structural or Off", *mode)
	case *mode != rolloutOff && *gateway == "":
		return usageErrorf("--gateway-deployment is empty; name the Deployment, or set --gateway-rollout=Off")
	case *ask != "0" && *account == "":
		return usageErrorf("--gateway-service-account is empty; name the gateway's, or set --refresh-bind-address=0")
	case *interval < 0:
		return usageErrorf("--gateway-rollout-interval is %s; write a time such as 2m", *interval)
	case *quiet < 0 || *maxWait < *quiet:
		return usageErrorf("--gateway-rollout-quiet is %s and --gateway-rollout-max-wait %s; write times such as 15s and 2m, the second not below the first", *quiet, *maxWait)
	case *refresh < 5*time.Minute || *refresh > 24*time.Hour:
		return usageErrorf("--refresh-interval is %s; write a time from 5m to 24h", *refresh)
	}
	if *mode == rolloutOff {
		*gateway = ""
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&logging)))

	cluster, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	// The API server's priority and fairness protects it from us.
	cluster.QPS = -1
	if err := awaitAPIServer(ctx, cluster, ctrl.Log); err != nil {
		return err
	}
	mgr, err := controllers.NewManager(ctx, cluster, controllers.Options{
		Namespace: *namespace, Fetcher: fetcher, BaseDomain: base, RefreshInterval: *refresh, Gateway: *gateway,
		Rollout:        rollout.Settings{Structural: *mode == rolloutStructural, Quiet: *quiet, MaxWait: *maxWait, Interval: *interval},
		LeaderElection: *elect, HealthAddress: *health, MetricsAddress: *metrics, ProfileAddress: *profiles,
		RefreshAddress: *ask, GatewayServiceAccount: *account,
		MetricsPlain: !*secure, MetricsCertificates: *certs, Registerer: ctrlmetrics.Registry,
	})
	if err != nil {
		return err
	}
	ctrl.Log.Info("starting", "version", version, "namespace", *namespace, "gatewayRollout", *mode)
	return mgr.Start(ctx)
}
