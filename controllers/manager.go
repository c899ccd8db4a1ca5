package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/operatormetrics"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/rollout"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Options configure the operator.
type Options struct {
	// Namespace of the tenants and of the gateway; nothing else is watched.
	Namespace  string
	Fetcher    Fetcher
	BaseDomain render.BaseDomain
	// RefreshInterval is for tenants that set none.
	RefreshInterval time.Duration
	// Gateway is the name of the Deployment that serves the tenants; empty
	// when the operator does not roll one.
	Gateway string
	// Rollout says when the Deployment is rolled.
	Rollout        rollout.Settings
	LeaderElection bool
	// HealthAddress, MetricsAddress and ProfileAddress are listened on; "0" for
	// none.
	HealthAddress, MetricsAddress, ProfileAddress string
	// MetricsPlain serves metrics to everybody over plain HTTP, instead of over
	// TLS to those whom the API server allows to get /metrics.
	MetricsPlain bool
	// MetricsCertificates is a directory with tls.crt and tls.key, which are read
	// again when they change; "" for a certificate that the process makes itself.
	MetricsCertificates string
	// Registerer takes the operator's own metrics; nil for none. What is served
	// is controller-runtime's registry.
	Registerer prometheus.Registerer
	// RefreshAddress is where the gateway asks for a fetch, as the service account
	// of that name; "" or "0" for none.
	RefreshAddress, GatewayServiceAccount string
}

// NewManager returns a manager with both reconcilers, ready to start.
func NewManager(ctx context.Context, cluster *rest.Config, o Options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))

	served, err := metricsOptions(o)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cluster, ctrl.Options{
		Scheme: scheme,
		Cache:  cacheOptions(o.Namespace, o.Gateway),
		// A run that our own writes cause must see them, or it would fetch and
		// write once more.
		Client:                  client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: ptr.To(true)}},
		Metrics:                 served,
		HealthProbeBindAddress:  o.HealthAddress,
		PprofBindAddress:        o.ProfileAddress,
		LeaderElection:          o.LeaderElection,
		LeaderElectionID:        "saml-operator.sso.cequence.cloud",
		LeaderElectionNamespace: o.Namespace,
		// The process ends with the manager, so the next leader need not wait.
		LeaderElectionReleaseOnCancel: true,
		// Tests run several managers in one process.
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	sources, err := newSources(cluster, o.Namespace)
	if err != nil {
		return nil, err
	}
	if err := mgr.Add(sources); err != nil {
		return nil, fmt.Errorf("add the cache of sources: %w", err)
	}
	metrics := operatormetrics.New(operatormetrics.Options{
		Tenants: mgr.GetCache(), Namespace: o.Namespace, Leading: mgr.Elected(), Now: time.Now,
	})
	if o.Registerer != nil {
		if err := o.Registerer.Register(metrics); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	recorder := mgr.GetEventRecorder(FieldOwner)
	structure := rollout.Structure{ConfigVersion: tenantconfig.Version, BaseDomain: o.BaseDomain.String()}
	structural := ""
	if o.Rollout.Structural {
		structural = rollout.FleetHash(structure, nil)
	}
	tenants := &SAMLTenantReconciler{
		Client: mgr.GetClient(), Uncached: mgr.GetAPIReader(), Sources: sources, Recorder: recorder,
		Fetcher: metrics.Count(o.Fetcher), BaseDomain: o.BaseDomain, RefreshInterval: o.RefreshInterval,
		Gateway: o.Gateway, StructuralFleet: structural, Now: time.Now,
	}
	if err := tenants.SetupWithManager(ctx, mgr); err != nil {
		return nil, fmt.Errorf("set up the tenant controller: %w", err)
	}
	if o.RefreshAddress != "" && o.RefreshAddress != "0" {
		endpoint, err := newRefreshEndpoint(mgr, cluster, o, tenants.demand)
		if err != nil {
			return nil, err
		}
		if err := mgr.Add(endpoint); err != nil {
			return nil, fmt.Errorf("add the refresh endpoint: %w", err)
		}
	}
	if o.Gateway != "" {
		if err := (&GatewayRolloutReconciler{
			Client: mgr.GetClient(), Recorder: recorder,
			Gateway:  types.NamespacedName{Namespace: o.Namespace, Name: o.Gateway},
			Settings: o.Rollout, Structure: structure, Metrics: metrics, Now: time.Now,
		}).SetupWithManager(mgr); err != nil {
			return nil, fmt.Errorf("set up the rollout controller: %w", err)
		}
	}
	for _, add := range []func(string, healthz.Checker) error{mgr.AddHealthzCheck, mgr.AddReadyzCheck} {
		if err := add("ping", healthz.Ping); err != nil {
			return nil, fmt.Errorf("set up health checks: %w", err)
		}
	}
	return mgr, nil
}

// cacheOptions restrict the cache to one namespace, our Secrets and the one
// Deployment: caching more costs memory, and rights that nobody should have.
func cacheOptions(namespace, gateway string) cache.Options {
	isOurs, err := labels.NewRequirement(tenantconfig.LabelTenant, selection.Exists, nil)
	utilruntime.Must(err)
	strip := cache.TransformStripManagedFields()
	return cache.Options{
		DefaultNamespaces: map[string]cache.Config{namespace: {}},
		DefaultTransform:  strip,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Label: labels.NewSelector().Add(*isOurs), Transform: func(o any) (any, error) {
				if secret, ok := o.(*corev1.Secret); ok {
					slim(secret)
				}
				return strip(o)
			}},
			&appsv1.Deployment{}: {Field: fields.OneTermEqualSelector("metadata.name", gateway)},
		},
	}
}
