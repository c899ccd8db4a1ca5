package controllers_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/controllers"
	"cequence.cloud/saml-operator/internal/conditions"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/rollout"
	"cequence.cloud/saml-operator/internal/testidp"
	"cequence.cloud/saml-operator/test/apiserver"
	"cequence.cloud/saml-operator/test/gitops"
)

const (
	patience = 2 * time.Minute
	tick     = 50 * time.Millisecond
)

var (
	cluster *rest.Config
	scheme  = apiserver.Scheme()
)

func TestMain(m *testing.M) {
	os.Exit(apiserver.Run(m, func(config *rest.Config) error {
		cluster = config
		return nil
	}))
}

// fixture is a namespace of its own with an operator for it.
type fixture struct {
	client.Client
	t         *testing.T
	namespace string
	gateway   string
	rollout   rollout.Settings
	fetcher   controllers.Fetcher
	// connection is the operator's to the API server.
	connection *rest.Config
	// refresh is the address of the endpoint for the gateway, "" for none.
	refresh string
	// adjust changes what the operator is started with.
	adjust func(*controllers.Options)
	stop   func()
}

// start makes a namespace and runs an operator in it; gateway is the name of
// the Deployment to roll, or "". It is rolled without waits.
func start(t *testing.T, gateway string) *fixture {
	t.Helper()
	return startRolling(t, gateway, rollout.Settings{})
}

// startRolling does the same with other settings of rollouts.
func startRolling(t *testing.T, gateway string, settings rollout.Settings) *fixture {
	t.Helper()
	f := prepare(t, gateway, settings)
	f.run()
	t.Cleanup(func() { f.stop() })
	return f
}

// prepare makes the namespace, and starts no operator yet.
func prepare(t *testing.T, gateway string, settings rollout.Settings) *fixture {
	t.Helper()
	c, err := client.New(cluster, client.Options{Scheme: scheme})
	require.NoError(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	require.NoError(t, c.Create(t.Context(), namespace))
	f := &fixture{Client: client.NewNamespacedClient(c, namespace.Name), t: t, namespace: namespace.Name, gateway: gateway, rollout: settings, connection: cluster}
	f.fetcher = idpmetadata.NewFetcher(idpmetadata.FetcherOptions{
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: time.Second, MaxBytes: 1 << 20,
	})
	return f
}

// run starts the operator, as its command would.
func (f *fixture) run() {
	f.t.Helper()
	base, err := render.ParseBaseDomain("s.cequence.cloud")
	require.NoError(f.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	options := controllers.Options{
		Namespace: f.namespace, Gateway: f.gateway, Rollout: f.rollout, BaseDomain: base, RefreshInterval: time.Hour,
		Fetcher: f.fetcher, HealthAddress: "0", MetricsAddress: "0", RefreshAddress: f.refresh, GatewayServiceAccount: "saml-gateway",
	}
	if f.adjust != nil {
		f.adjust(&options)
	}
	mgr, err := controllers.NewManager(ctx, f.connection, options)
	require.NoError(f.t, err)
	var running sync.WaitGroup
	running.Go(func() {
		if err := mgr.Start(ctx); err != nil {
			f.t.Errorf("operator: %v", err)
		}
	})
	f.stop = func() {
		cancel()
		running.Wait()
	}
}

// idp is an identity provider with a TLS address of its own.
type idp struct {
	*testidp.IDP
	ca string
}

func startIDP(t *testing.T, options testidp.Options) idp {
	t.Helper()
	provider, err := testidp.New(options)
	require.NoError(t, err)
	server := httptest.NewTLSServer(provider)
	t.Cleanup(server.Close)
	provider.SetBaseURL(server.URL)
	return idp{provider, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))}
}

// tenant is the smallest manifest for that IdP.
func tenant(name string, provider idp) *v1alpha1.SAMLTenant {
	return &v1alpha1.SAMLTenant{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.SAMLTenantSpec{
			CustomerName: name, MetadataURL: provider.MetadataURL(), MetadataCA: provider.ca,
		},
	}
}

func (f *fixture) create(o client.Object) {
	f.t.Helper()
	require.NoError(f.t, f.Create(f.t.Context(), o))
}

// update changes the live object.
func (f *fixture) update(o client.Object, change func()) {
	f.t.Helper()
	require.NoError(f.t, f.Get(f.t.Context(), client.ObjectKeyFromObject(o), o))
	before := o.DeepCopyObject().(client.Object)
	change()
	require.NoError(f.t, f.Patch(f.t.Context(), o, client.MergeFrom(before)))
}

// request asks for a fetch at once and waits until it was made.
func (f *fixture) request(tenant *v1alpha1.SAMLTenant) *v1alpha1.SAMLTenant {
	f.t.Helper()
	at := time.Now().Format(time.RFC3339Nano)
	f.update(tenant, func() {
		metav1.SetMetaDataAnnotation(&tenant.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, at)
	})
	return f.until(tenant.Name, "the request is handled", func(t *v1alpha1.SAMLTenant) bool {
		return t.Status.LastHandledReconcileAt == at
	})
}

// until waits for the tenant to be as wanted, and holds its status to the
// rules that GitOps tools count on, and to what they make of it.
func (f *fixture) until(name, what string, wanted func(*v1alpha1.SAMLTenant) bool) *v1alpha1.SAMLTenant {
	f.t.Helper()
	got := &v1alpha1.SAMLTenant{}
	deadline := time.Now().Add(patience)
	for {
		err := f.Get(f.t.Context(), client.ObjectKey{Name: name}, got)
		if err == nil && got.Status.ObservedGeneration == got.Generation && wanted(got) {
			break
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%s is not so after %s; error %v, generation %d, status:\n%s", what, patience, err, got.Generation, describe(got))
		}
		<-time.After(tick)
	}
	wrongs := conditions.Check(got.Generation, got.Status.ObservedGeneration, got.Status.Conditions)
	for _, wrong := range append(wrongs, gitops.Check(f.t.Context(), got)...) {
		f.t.Errorf("status of %s: %v\n%s", name, wrong, describe(got))
	}
	return got
}

func describe(t *v1alpha1.SAMLTenant) string {
	var b strings.Builder
	for _, c := range t.Status.Conditions {
		fmt.Fprintf(&b, "  %s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	return b.String()
}

func (f *fixture) untilReady(name string) *v1alpha1.SAMLTenant {
	f.t.Helper()
	return f.untilCondition(name, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
}

func (f *fixture) untilCondition(name, kind string, status metav1.ConditionStatus, reason string) *v1alpha1.SAMLTenant {
	f.t.Helper()
	return f.until(name, fmt.Sprintf("%s=%s %s", kind, status, reason), func(t *v1alpha1.SAMLTenant) bool {
		c := meta.FindStatusCondition(t.Status.Conditions, kind)
		return c != nil && c.Status == status && c.Reason == reason
	})
}

// untilMessage waits for a condition with that text, whatever generation the
// status has observed.
func (f *fixture) untilMessage(name, text string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		got := &v1alpha1.SAMLTenant{}
		return f.Get(f.t.Context(), client.ObjectKey{Name: name}, got) == nil && strings.Contains(describe(got), text)
	}, patience, tick, "no condition of %s says %q", name, text)
}

func (f *fixture) secret(name string) *corev1.Secret {
	f.t.Helper()
	secret := &corev1.Secret{}
	require.NoError(f.t, f.Get(f.t.Context(), client.ObjectKey{Name: name}, secret))
	return secret
}

// untilSecret waits for a Secret to be as wanted.
func (f *fixture) untilSecret(name, what string, wanted func(*corev1.Secret) bool) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		secret := &corev1.Secret{}
		return f.Get(f.t.Context(), client.ObjectKey{Name: name}, secret) == nil && wanted(secret)
	}, patience, tick, "Secret %s: %s", name, what)
}

// untilEvent waits for an Event about the tenant.
func (f *fixture) untilEvent(tenant, kind, reason, text string) {
	f.t.Helper()
	var seen []string
	require.Eventually(f.t, func() bool {
		list := &eventsv1.EventList{}
		if err := f.List(f.t.Context(), list); err != nil {
			return false
		}
		seen = nil
		for _, e := range list.Items {
			if e.Regarding.Name != tenant {
				continue
			}
			seen = append(seen, e.Type+" "+e.Reason+": "+e.Note)
			if e.Type == kind && e.Reason == reason && strings.Contains(e.Note, text) {
				return true
			}
		}
		return false
	}, patience, tick, "no Event %s %s with %q about %s", kind, reason, text, tenant)
}
