package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/controllers"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Values of --gateway-rollout.
const (
	rolloutRolling = "Rolling"
	rolloutOff     = "Off"
)

func runManager(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("operator", flag.ContinueOnError)
	var (
		tenants   tenantFlags
		logging   zap.Options
		namespace = flags.String("namespace", os.Getenv("POD_NAMESPACE"), "namespace of the tenants and of the gateway")
		gateway   = flags.String("gateway-deployment", "saml-gateway", "name of the gateway Deployment in the same namespace")
		mode      = flags.String("gateway-rollout", rolloutRolling, "Rolling: start the gateway's pods anew when the tenants' configuration has changed; Off: never")
		refresh   = flags.Duration("refresh-interval", time.Hour, "time between two fetches of a tenant's metadata, from 5m to 24h, unless the tenant says otherwise")
		elect     = flags.Bool("leader-elect", false, "run as one of several replicas of which one works")
		health    = flags.String("health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 for none")
		metrics   = flags.String("metrics-bind-address", "0", "address of /metrics over plain HTTP; 0 for none")
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
		return usageError("set --namespace (or POD_NAMESPACE) to the namespace of the tenants")
	case *mode != rolloutRolling && *mode != rolloutOff:
		return usageError("--gateway-rollout is %q; write Rolling or Off", *mode)
	case *mode == rolloutRolling && *gateway == "":
		return usageError("--gateway-deployment is empty; name the Deployment, or set --gateway-rollout=Off")
	case *refresh < 5*time.Minute || *refresh > 24*time.Hour:
		return usageError("--refresh-interval is %s; write a time from 5m to 24h", *refresh)
	}
	if *mode == rolloutOff {
		*gateway = ""
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&logging)))

	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	// The API server's priority and fairness protects it from us.
	config.QPS = -1
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                  scheme(),
		Cache:                   cacheOptions(*namespace, *gateway),
		Metrics:                 metricsserver.Options{BindAddress: *metrics},
		HealthProbeBindAddress:  *health,
		LeaderElection:          *elect,
		LeaderElectionID:        "saml-operator.sso.cequence.cloud",
		LeaderElectionNamespace: *namespace,
		// The process ends with the manager, so the next leader need not wait.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("set up the manager: %w", err)
	}
	if err := (&controllers.SAMLTenantReconciler{
		Client: mgr.GetClient(), Uncached: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("saml-operator"),
		Fetcher: fetcher, BaseDomain: base, RefreshInterval: *refresh, Gateway: *gateway, Now: time.Now,
	}).SetupWithManager(ctx, mgr); err != nil {
		return fmt.Errorf("set up the tenant controller: %w", err)
	}
	if *gateway != "" {
		if err := (&controllers.GatewayRolloutReconciler{
			Client: mgr.GetClient(), Recorder: mgr.GetEventRecorder("saml-operator"),
			Gateway: types.NamespacedName{Namespace: *namespace, Name: *gateway}, Now: time.Now,
		}).SetupWithManager(mgr); err != nil {
			return fmt.Errorf("set up the rollout controller: %w", err)
		}
	}
	for _, add := range []func(string, healthz.Checker) error{mgr.AddHealthzCheck, mgr.AddReadyzCheck} {
		if err := add("ping", healthz.Ping); err != nil {
			return fmt.Errorf("set up health checks: %w", err)
		}
	}
	ctrl.LoggerFrom(logr.NewContext(ctx, ctrl.Log)).Info("starting", "version", version, "namespace", *namespace, "gatewayRollout", *mode)
	return mgr.Start(ctx)
}

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}

// cacheOptions restrict the cache to one namespace, our Secrets and the one
// Deployment: caching more costs memory, and rights that nobody should have.
func cacheOptions(namespace, gateway string) cache.Options {
	isOurs, err := labels.NewRequirement(tenantconfig.LabelTenant, selection.Exists, nil)
	utilruntime.Must(err)
	return cache.Options{
		DefaultNamespaces: map[string]cache.Config{namespace: {}},
		DefaultTransform:  cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}:     {Label: labels.NewSelector().Add(*isOurs)},
			&appsv1.Deployment{}: {Field: fields.OneTermEqualSelector("metadata.name", gateway)},
		},
	}
}
