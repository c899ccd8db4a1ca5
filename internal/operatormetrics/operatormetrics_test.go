package operatormetrics_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/operatormetrics"
)

const namespace = "sso"

var now = time.Unix(1_800_000_000, 0)

// cache is a reader that has these tenants, or fails.
type cache struct {
	client.Reader
	tenants []v1alpha1.SAMLTenant
	err     error
}

func (c *cache) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	asked := client.ListOptions{}
	asked.ApplyOptions(options)
	if asked.Namespace != namespace || asked.UnsafeDisableDeepCopy == nil || !*asked.UnsafeDisableDeepCopy {
		return fmt.Errorf("asked for %+v", asked)
	}
	list.(*v1alpha1.SAMLTenantList).Items = c.tenants
	return c.err
}

// metrics are those of the leader, with a clock that stands still.
func metrics(c *cache) *operatormetrics.Metrics {
	leading := make(chan struct{})
	close(leading)
	return operatormetrics.New(operatormetrics.Options{
		Tenants: c, Namespace: namespace, Leading: leading, Now: func() time.Time { return now },
	})
}

// expose returns the lines of the exposition that begin so, without comments.
func expose(t *testing.T, c prometheus.Collector, prefix string) []string {
	t.Helper()
	lines := []string{}
	for line := range strings.Lines(exposition(t, c)) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func exposition(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(c))
	families, err := registry.Gather()
	require.NoError(t, err)
	var text bytes.Buffer
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&text, family)
		require.NoError(t, err)
	}
	return text.String()
}

// certificate is valid from and until so many days from now.
func certificate(from, until int) v1alpha1.CertificateStatus {
	return v1alpha1.CertificateStatus{NotBefore: day(from), NotAfter: day(until)}
}

func day(n int) metav1.Time { return metav1.Time{Time: now.Add(time.Duration(n) * 24 * time.Hour)} }

// ready is a tenant that works.
func ready(name string) v1alpha1.SAMLTenant {
	fetched := metav1.Time{Time: now.Add(-time.Hour)}
	tenant := v1alpha1.SAMLTenant{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Status: v1alpha1.SAMLTenantStatus{
			SecretRef:     &v1alpha1.SecretReference{Name: name},
			LastFetchTime: &fetched,
			Certificates:  []v1alpha1.CertificateStatus{certificate(-1, 1000)},
		},
	}
	set(&tenant, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	set(&tenant, v1alpha1.ConditionMetadataAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	return tenant
}

func set(tenant *v1alpha1.SAMLTenant, condition string, status metav1.ConditionStatus, reason string) {
	meta.SetStatusCondition(&tenant.Status.Conditions, metav1.Condition{Type: condition, Status: status, Reason: reason})
}

func TestTenantsThatComeAndGo(t *testing.T) {
	c := &cache{}
	m := metrics(c)
	assert.Equal(t, []string{`saml_operator_tenants{condition="Ready",reason="Succeeded",status="True"} 0`}, expose(t, m, "saml_operator_tenant"),
		"an operator without tenants is told from none")

	rejected := ready("globex")
	set(&rejected, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAllExpired)
	set(&rejected, v1alpha1.ConditionMetadataAccepted, metav1.ConditionFalse, v1alpha1.ReasonEntityIDMismatch)
	rejected.Status.Certificates = []v1alpha1.CertificateStatus{certificate(-1000, -2)}
	c.tenants = []v1alpha1.SAMLTenant{
		ready("acme"), rejected,
		{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "initech"}},
	}
	assert.Equal(t, []string{
		`saml_operator_tenant_certificate_expiry_timestamp_seconds{tenant="acme"} 1.8864e+09`,
		`saml_operator_tenant_certificate_expiry_timestamp_seconds{tenant="globex"} 1.7998272e+09`,
		`saml_operator_tenant_last_fetch_timestamp_seconds{tenant="acme"} 1.7999964e+09`,
		`saml_operator_tenant_last_fetch_timestamp_seconds{tenant="globex"} 1.7999964e+09`,
		`saml_operator_tenant_metadata_rejected{reason="EntityIDMismatch",tenant="globex"} 1`,
		`saml_operator_tenant_ready{tenant="acme"} 1`,
		`saml_operator_tenant_ready{tenant="globex"} 0`,
		`saml_operator_tenants{condition="MetadataAccepted",reason="EntityIDMismatch",status="False"} 1`,
		`saml_operator_tenants{condition="MetadataAccepted",reason="Succeeded",status="True"} 1`,
		`saml_operator_tenants{condition="Ready",reason="AllExpired",status="False"} 1`,
		`saml_operator_tenants{condition="Ready",reason="Progressing",status="Unknown"} 1`,
		`saml_operator_tenants{condition="Ready",reason="Succeeded",status="True"} 1`,
	}, expose(t, m, "saml_operator_tenant"))

	c.tenants = c.tenants[:1]
	assert.Equal(t, []string{
		`saml_operator_tenant_certificate_expiry_timestamp_seconds{tenant="acme"} 1.8864e+09`,
		`saml_operator_tenant_last_fetch_timestamp_seconds{tenant="acme"} 1.7999964e+09`,
		`saml_operator_tenant_ready{tenant="acme"} 1`,
		`saml_operator_tenants{condition="MetadataAccepted",reason="Succeeded",status="True"} 1`,
		`saml_operator_tenants{condition="Ready",reason="Succeeded",status="True"} 1`,
	}, expose(t, m, "saml_operator_tenant"), "nothing is left of those that are gone")
}

func TestWhatAnAdministratorTurnedOffIsNotWatched(t *testing.T) {
	suspended, disabled := ready("suspended"), ready("disabled")
	suspended.Spec.Suspend = true
	disabled.Spec.Access = v1alpha1.AccessDisabled
	m := metrics(&cache{tenants: []v1alpha1.SAMLTenant{suspended, disabled}})
	assert.Equal(t, []string{`saml_operator_tenant_last_fetch_timestamp_seconds{tenant="disabled"} 1.7999964e+09`},
		expose(t, m, "saml_operator_tenant_last_fetch"))
	assert.Equal(t, []string{`saml_operator_tenant_certificate_expiry_timestamp_seconds{tenant="suspended"} 1.8864e+09`},
		expose(t, m, "saml_operator_tenant_certificate"))
}

func TestExpiryIsOfTheCertificatesThatMatter(t *testing.T) {
	withdrawn := certificate(-10, 500)
	withdrawn.TrustedUntil = &metav1.Time{Time: now.Add(time.Minute)}
	const none = -1 << 20
	for name, c := range map[string]struct {
		certificates     []v1alpha1.CertificateStatus
		expiry, rollover int // in days from now
	}{
		"none":                                        {nil, none, none},
		"one":                                         {[]v1alpha1.CertificateStatus{certificate(-10, 20)}, 20, none},
		"one that has expired":                        {[]v1alpha1.CertificateStatus{certificate(-10, -5)}, -5, none},
		"one that is not valid yet":                   {[]v1alpha1.CertificateStatus{certificate(1, 100)}, none, none},
		"a successor beside the active one":           {[]v1alpha1.CertificateStatus{certificate(-900, 20), certificate(-1, 1000)}, 1000, 20},
		"the same in another order":                   {[]v1alpha1.CertificateStatus{certificate(-1, 1000), certificate(-900, 20)}, 1000, 20},
		"three":                                       {[]v1alpha1.CertificateStatus{certificate(-1, 1000), certificate(-900, 20), certificate(-2, 10)}, 1000, 10},
		"one with an expired one beside it":           {[]v1alpha1.CertificateStatus{certificate(-900, -20), certificate(-1, 1000)}, 1000, none},
		"a successor that will be valid in time":      {[]v1alpha1.CertificateStatus{certificate(10, 1000), certificate(-900, 20)}, 1000, 20},
		"a chain of successors":                       {[]v1alpha1.CertificateStatus{certificate(900, 2000), certificate(10, 1000), certificate(-900, 20)}, 2000, 20},
		"a successor that will be valid too late":     {[]v1alpha1.CertificateStatus{certificate(-900, 20), certificate(21, 1000)}, 20, none},
		"a successor too late, and expired meanwhile": {[]v1alpha1.CertificateStatus{certificate(-900, -1), certificate(2, 1000)}, -1, none},
		"one that expires beside a withdrawn one":     {[]v1alpha1.CertificateStatus{certificate(-900, 20), withdrawn}, 20, none},
		"only a withdrawn one":                        {[]v1alpha1.CertificateStatus{withdrawn}, none, none},
		"two that expire together":                    {[]v1alpha1.CertificateStatus{certificate(-900, 20), certificate(-1, 20)}, 20, none},
	} {
		t.Run(name, func(t *testing.T) {
			tenant := ready("acme")
			tenant.Status.Certificates = c.certificates
			want := []string{}
			for _, series := range []struct {
				kind string
				days int
			}{{"expiry", c.expiry}, {"rollover", c.rollover}} {
				if series.days != none {
					want = append(want, fmt.Sprintf(`saml_operator_tenant_certificate_%s_timestamp_seconds{tenant="acme"} %v`, series.kind, float64(day(series.days).Unix())))
				}
			}
			assert.Equal(t, want, expose(t, metrics(&cache{tenants: []v1alpha1.SAMLTenant{tenant}}), "saml_operator_tenant_certificate"))
		})
	}
}

func TestOnlyTheLeaderTellsOfTenants(t *testing.T) {
	leading := make(chan struct{})
	m := operatormetrics.New(operatormetrics.Options{
		Tenants: &cache{tenants: []v1alpha1.SAMLTenant{ready("acme")}}, Namespace: namespace, Leading: leading, Now: func() time.Time { return now },
	})
	assert.Empty(t, expose(t, m, "saml_operator_tenant"))
	assert.NotEmpty(t, expose(t, m, "saml_operator_gateway_rollouts_total"))
	close(leading)
	assert.Len(t, expose(t, m, "saml_operator_tenant_"), 3)
}

// Wrong numbers are worse than none.
func TestScrapeFailsWithTheCache(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(metrics(&cache{err: errors.New("no cache")})))
	_, err := registry.Gather()
	assert.ErrorContains(t, err, "list tenants: no cache")
}

// answers is a fetcher that gives one answer.
type answers struct {
	result *idpmetadata.Result
	err    error
}

func (a answers) Fetch(context.Context, idpmetadata.Request) (*idpmetadata.Result, error) {
	now = now.Add(200 * time.Millisecond)
	return a.result, a.err
}

func TestFetchesAreCountedByResult(t *testing.T) {
	before := now
	t.Cleanup(func() { now = before })
	busy := fmt.Errorf("fetch: %w", idpmetadata.ErrHostBusy)
	canceled := fmt.Errorf("fetch metadata: %w", context.Canceled)
	odd := errors.New("odd")
	m := metrics(&cache{})
	for _, a := range []answers{
		{result: &idpmetadata.Result{Document: []byte("<EntityDescriptor/>")}},
		{result: &idpmetadata.Result{NotModified: true}},
		{result: &idpmetadata.Result{NotModified: true}},
		{err: &idpmetadata.Error{Reason: idpmetadata.Timeout}},
		{err: odd}, {err: busy}, {err: canceled},
	} {
		result, err := m.Count(a).Fetch(t.Context(), idpmetadata.Request{})
		assert.Same(t, a.result, result)
		assert.Equal(t, a.err, err)
	}
	assert.Equal(t, []string{
		`saml_operator_metadata_fetches_total{result="ConnectFailed"} 1`,
		`saml_operator_metadata_fetches_total{result="DNSFailed"} 0`,
		`saml_operator_metadata_fetches_total{result="HTTPStatus"} 0`,
		`saml_operator_metadata_fetches_total{result="NotModified"} 2`,
		`saml_operator_metadata_fetches_total{result="RedirectNotAllowed"} 0`,
		`saml_operator_metadata_fetches_total{result="Succeeded"} 1`,
		`saml_operator_metadata_fetches_total{result="TLSFailed"} 0`,
		`saml_operator_metadata_fetches_total{result="Timeout"} 1`,
		`saml_operator_metadata_fetches_total{result="TooLarge"} 0`,
		`saml_operator_metadata_fetches_total{result="URLNotAllowed"} 0`,
	}, expose(t, m, "saml_operator_metadata_fetches_total"))
	assert.Equal(t, []string{
		`saml_operator_metadata_fetch_duration_seconds_bucket{le="0.1"} 0`,
		`saml_operator_metadata_fetch_duration_seconds_bucket{le="0.25"} 3`,
	}, expose(t, m, "saml_operator_metadata_fetch_duration_seconds_bucket")[2:4])
}

func TestRolloutsAreCountedWithWhatTheyTakeUp(t *testing.T) {
	m := metrics(&cache{})
	m.RolloutStarted(1)
	m.RolloutStarted(700)
	assert.Equal(t, []string{"saml_operator_gateway_rollouts_total 2"}, expose(t, m, "saml_operator_gateway_rollouts_total"))
	assert.Equal(t, []string{"saml_operator_gateway_rollout_tenants_sum 701"}, expose(t, m, "saml_operator_gateway_rollout_tenants_sum"))
}

func TestNamesAreAsPrometheusWantsThem(t *testing.T) {
	tenant := ready("acme")
	tenant.Status.Certificates = append(tenant.Status.Certificates, certificate(-10, 10))
	set(&tenant, v1alpha1.ConditionMetadataAccepted, metav1.ConditionFalse, v1alpha1.ReasonParseFailed)
	text := exposition(t, metrics(&cache{tenants: []v1alpha1.SAMLTenant{tenant}}))
	assert.Equal(t, 10, strings.Count(text, "# HELP"), "all of them are looked at")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems)
}

// A scrape of 10,000 tenants, as the server makes it.
func BenchmarkScrape(b *testing.B) {
	c := &cache{}
	for i := range 10_000 {
		c.tenants = append(c.tenants, ready(fmt.Sprintf("tenant-%05d", i)))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics(c))
	b.ReportAllocs()
	for b.Loop() {
		families, err := registry.Gather()
		if err != nil {
			b.Fatal(err)
		}
		var text bytes.Buffer
		for _, family := range families {
			if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(text.Len()))
	}
}
