package controllers_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/controllers"
	"cequence.cloud/saml-operator/internal/refresh"
	"cequence.cloud/saml-operator/internal/testidp"
)

// freeAddress is one on which nobody listens at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

// startWithMetrics returns the address of an operator's metrics.
func startWithMetrics(t *testing.T, adjust func(*controllers.Options)) (f *fixture, address string) {
	t.Helper()
	f = start(t, "")
	f.stop()
	address = freeAddress(t)
	f.adjust = func(o *controllers.Options) {
		o.MetricsAddress = address
		adjust(o)
	}
	f.run()
	return f, address
}

// borrowed is a registry of the process that is left as it was.
type borrowed struct {
	prometheus.Registerer
	t *testing.T
}

func (b borrowed) Register(c prometheus.Collector) error {
	b.t.Cleanup(func() { b.Unregister(c) })
	return b.Registerer.Register(c)
}

// scrape asks for the metrics, as soon as the operator listens, and returns
// the status and what was answered.
func scrape(t *testing.T, request *http.Request, token string) (status int, body string, presented *x509.Certificate) {
	t.Helper()
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	require.Eventually(t, func() bool {
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		status, body = response.StatusCode, string(content)
		if response.TLS != nil {
			presented = response.TLS.PeerCertificates[0]
		}
		return true
	}, patience, tick, "no answer from %s", request.URL)
	return status, body, presented
}

func get(t *testing.T, url string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	return request
}

// mayReadMetrics binds a service account to the role of the installation.
func mayReadMetrics(t *testing.T, f *fixture, account string) {
	t.Helper()
	manifest, err := os.ReadFile("../config/rbac/metrics_reader_role.yaml")
	require.NoError(t, err)
	role := &rbacv1.ClusterRole{}
	require.NoError(t, yaml.UnmarshalStrict(manifest, role))
	role.Name = "reader-of-" + f.namespace
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: f.namespace, Name: account}},
	}
	f.create(role)
	f.create(binding)
}

func TestMetricsAreForThoseWhoMayGetThem(t *testing.T) {
	f, address := startWithMetrics(t, func(o *controllers.Options) { o.Registerer = borrowed{ctrlmetrics.Registry, t} })
	url := "https://" + address + "/metrics"
	mayReadMetrics(t, f, "prometheus")
	reader := token(t, f.namespace, "prometheus")
	f.create(tenant("acme", startIDP(t, testidp.Options{})))
	f.untilReady("acme")
	// The authorizer learns of a binding a moment after it is made.
	require.Eventually(t, func() bool {
		status, body, _ := scrape(t, get(t, url), reader)
		return status == http.StatusOK && strings.Contains(body, `saml_operator_tenant_ready{tenant="acme"} 1`)
	}, patience, tick)
	_, body, _ := scrape(t, get(t, url), reader)
	for _, want := range []string{
		`saml_operator_tenants{condition="Ready",reason="Succeeded",status="True"} 1`,
		`saml_operator_metadata_fetches_total{result="Succeeded"} 1`,
		`workqueue_depth{`,
	} {
		assert.Contains(t, body, want)
	}

	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, http.NoBody)
	require.NoError(t, err)
	basic := get(t, url)
	basic.SetBasicAuth("prometheus", reader)
	for what, c := range map[string]struct {
		request *http.Request
		token   string
		want    int
	}{
		"no token":                         {get(t, url), "", http.StatusUnauthorized},
		"garbage":                          {get(t, url), "garbage", http.StatusUnauthorized},
		"a huge token":                     {get(t, url), strings.Repeat("x", 100<<10), http.StatusUnauthorized},
		"a reader's token as a password":   {basic, "", http.StatusUnauthorized},
		"a reader's for somebody else":     {get(t, url), token(t, f.namespace, "prometheus", refresh.Audience), http.StatusUnauthorized},
		"another service account's":        {get(t, url), token(t, f.namespace, "default"), http.StatusForbidden},
		"a reader's, to do something else": {post, reader, http.StatusForbidden},
	} {
		status, body, _ := scrape(t, c.request, c.token)
		assert.Equal(t, c.want, status, what)
		assert.NotContains(t, body, "saml_operator", what)
	}
}

func TestMetricsOverPlainHTTPWhenAskedFor(t *testing.T) {
	_, address := startWithMetrics(t, func(o *controllers.Options) { o.MetricsPlain = true })
	status, body, _ := scrape(t, get(t, "http://"+address+"/metrics"), "")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "workqueue_depth{")
}

func TestMetricsCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	write := func() *x509.Certificate {
		key, err := testidp.NewKey(testidp.KeyOptions{})
		require.NoError(t, err)
		private, err := x509.MarshalPKCS8PrivateKey(key.Signer)
		require.NoError(t, err)
		for name, block := range map[string]*pem.Block{
			"tls.key": {Type: "PRIVATE KEY", Bytes: private},
			"tls.crt": {Type: "CERTIFICATE", Bytes: key.Certificate.Raw},
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
		}
		return key.Certificate
	}
	use := func(o *controllers.Options) { o.MetricsCertificates = dir }
	options := controllers.Options{MetricsAddress: "127.0.0.1:0"}
	use(&options)
	_, err := controllers.NewManager(t.Context(), rest.CopyConfig(cluster), options)
	require.ErrorContains(t, err, "read the certificate for metrics")

	first := write()
	_, address := startWithMetrics(t, use)
	_, _, presented := scrape(t, get(t, "https://"+address+"/metrics"), "")
	assert.True(t, presented.Equal(first))
	second := write()
	require.Eventually(t, func() bool {
		_, _, presented = scrape(t, get(t, "https://"+address+"/metrics"), "")
		return presented.Equal(second)
	}, patience, tick)
}
