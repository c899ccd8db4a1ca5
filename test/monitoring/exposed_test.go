package monitoring_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/controllers"
	"cequence.cloud/saml-operator/internal/gateway/admission"
	"cequence.cloud/saml-operator/internal/gateway/gatewaymetrics"
	"cequence.cloud/saml-operator/internal/gateway/streams"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/testidp"
	"cequence.cloud/saml-operator/test/apiserver"
)

const patience = 30 * time.Second

var cluster *rest.Config

func TestMain(m *testing.M) {
	os.Exit(apiserver.Run(m, func(config *rest.Config) error {
		cluster = config
		return nil
	}))
}

// documents is a fetcher that has them by URL.
type documents map[string][]byte

func (d documents) Fetch(_ context.Context, request idpmetadata.Request) (*idpmetadata.Result, error) {
	return &idpmetadata.Result{Document: d[request.URL]}, nil
}

// exposedByGateway returns the labels of each series' name of a gateway.
func exposedByGateway(t *testing.T) map[string][]string {
	t.Helper()
	m := gatewaymetrics.New()
	m.Watch(admission.New(0, 0, 0), admission.New(0, 0, 0), admission.NewClients(0), admission.NewClients(0), &streams.Set{}, func() []tenant.Status { return nil }, func() error { return nil })
	m.Connections(func() int64 { return 0 }, func() int64 { return 0 })
	m.Certificates(time.Now)
	rw := httptest.NewRecorder()
	m.Handler().ServeHTTP(rw, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(rw.Body)
	require.NoError(t, err)
	return labelsOf(slices.Collect(maps.Values(families)))
}

// exposed runs an operator with a tenant whose certificate has a successor, and
// one whose metadata is refused. It returns the labels of each series' name.
func exposed(t *testing.T) map[string][]string {
	t.Helper()
	old, err := testidp.NewKey(testidp.KeyOptions{NotAfter: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	successor, err := testidp.NewKey(testidp.KeyOptions{})
	require.NoError(t, err)
	idp, err := testidp.New(testidp.Options{BaseURL: "https://idp.example", Keys: []*testidp.Key{old, successor}})
	require.NoError(t, err)
	metadata, err := idp.Metadata()
	require.NoError(t, err)
	const good, bad = "https://idp.example/good", "https://idp.example/bad"

	c, err := client.New(cluster, client.Options{Scheme: apiserver.Scheme()})
	require.NoError(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	require.NoError(t, c.Create(t.Context(), namespace))
	base, err := render.ParseBaseDomain("s.cequence.cloud")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	operator, err := controllers.NewManager(ctx, cluster, controllers.Options{
		Namespace: namespace.Name, Gateway: "saml-gateway", BaseDomain: base, RefreshInterval: time.Hour,
		Fetcher: documents{good: metadata, bad: []byte("no metadata")}, HealthAddress: "0", MetricsAddress: "0",
		Registerer: ctrlmetrics.Registry,
	})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		if err := operator.Start(ctx); err != nil {
			t.Errorf("operator: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	for name, wanted := range map[string]struct{ url, condition string }{
		"acme":   {good, v1alpha1.ConditionConfigRendered},
		"globex": {bad, v1alpha1.ConditionMetadataAccepted},
	} {
		tenant := &v1alpha1.SAMLTenant{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: name},
			Spec:       v1alpha1.SAMLTenantSpec{CustomerName: name, MetadataURL: wanted.url},
		}
		require.NoError(t, c.Create(t.Context(), tenant))
		require.Eventually(t, func() bool {
			return c.Get(t.Context(), client.ObjectKeyFromObject(tenant), tenant) == nil &&
				meta.FindStatusCondition(tenant.Status.Conditions, wanted.condition) != nil
		}, patience, 50*time.Millisecond, "%s has no condition %s", name, wanted.condition)
	}

	var told map[string][]string
	// The operator's cache follows the API server.
	require.Eventually(t, func() bool {
		told = gather(t)
		return told["saml_operator_tenant_ready"] != nil && told["saml_operator_tenant_metadata_rejected"] != nil
	}, patience, 50*time.Millisecond)
	return told
}

func gather(t *testing.T) map[string][]string {
	t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	require.NoError(t, err)
	return labelsOf(families)
}

// labelsOf returns the labels of each series' name.
func labelsOf(families []*dto.MetricFamily) map[string][]string {
	told := map[string][]string{}
	for _, family := range families {
		var labels []string
		for _, pair := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, pair.GetName())
		}
		if family.GetType() != dto.MetricType_HISTOGRAM {
			told[family.GetName()] = append([]string{}, labels...)
			continue
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			told[family.GetName()+suffix] = append([]string{"le"}, labels...)
		}
	}
	return told
}
