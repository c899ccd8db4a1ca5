package configsource_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/configsource"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

var newKey = sync.OnceValues(func() (*testidp.Key, error) { return testidp.NewKey(testidp.KeyOptions{}) })

// files are a tenant's, without and with the SP's key; the session's length
// tells one version from another.
func files(t *testing.T, name string, session int, signed bool) (config, key tenantconfig.Files) {
	t.Helper()
	pair, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	host := name + ".s.localhost"
	data, err := tenantconfig.Encode(tenantconfig.Config{
		Tenant: name, CustomerName: name, Host: host,
		ServiceProvider: tenantconfig.ServiceProvider{EntityID: "https://" + host + ":443/saml/metadata", SignAuthnRequests: signed,
			SignOnURL: "https://" + host, ACSURL: "https://" + host + "/saml/acs", MetadataURL: "https://" + host + "/saml/metadata"},
		IdentityProvider: tenantconfig.IdentityProvider{EntityID: "https://idp.example",
			SSO:                 []tenantconfig.Endpoint{{Binding: tenantconfig.BindingRedirect, Location: "https://idp.example/sso"}},
			SigningCertificates: []string{base64.StdEncoding.EncodeToString(pair.Certificate.Raw)}},
		Session: tenantconfig.Session{MaxDuration: tenantconfig.Seconds(session), IdleTimeout: 600},
	})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return tenantconfig.Files{
			tenantconfig.FileConfig: data, tenantconfig.FileSPMetadata: []byte("<EntityDescriptor/>"),
			tenantconfig.FileIDPMetadata: []byte("<EntityDescriptor/>"), tenantconfig.FileIDPSigning: []byte("-"),
		}, tenantconfig.Files{
			tenantconfig.FileKey:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
			tenantconfig.FileCertificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate.Raw}),
		}
}

// running runs a source until the test ends.
type running struct {
	t        *testing.T
	registry *tenant.Registry
}

func run(t *testing.T, source configsource.Source) running {
	t.Helper()
	r := running{t, tenant.NewRegistry(slog.New(slog.DiscardHandler))}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx, r.registry) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	r.eventually("the initial list is applied", r.registry.Synced)
	return r
}

func (r running) eventually(what string, condition func() bool) {
	r.t.Helper()
	require.Eventually(r.t, condition, 20*time.Second, 2*time.Millisecond, "not so in time: %s", what)
}

// session returns the session's length of a tenant that is served, else 0.
func (r running) session(name string) int {
	if t := r.registry.ByHost(name + ".s.localhost"); t != nil {
		return int(t.Config.Session.MaxDuration)
	}
	return 0
}

func (r running) tenants() string {
	var names []string
	for _, s := range r.registry.Status() {
		names = append(names, s.Tenant)
	}
	return strings.Join(names, ",")
}

func (r running) problem(name string) string {
	for _, s := range r.registry.Status() {
		if s.Tenant == name {
			return s.Problem
		}
	}
	return "gone"
}

func write(t *testing.T, dir string, files ...tenantconfig.Files) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, set := range files {
		for name, content := range set {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func newDirectory(dir string) *configsource.Directory {
	return &configsource.Directory{Dir: dir, PollInterval: 2 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	config, _ := files(t, "acme", 1000, false)
	write(t, filepath.Join(dir, "acme"), config)
	write(t, filepath.Join(dir, "No Tenant"), config)
	write(t, filepath.Join(dir, "..data"), config)
	write(t, filepath.Join(dir, "empty"))
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, newDirectory(dir))
	if r.session("acme") != 1000 || r.tenants() != "acme" {
		t.Errorf("at the start: %s", r.tenants())
	}
	hash := r.registry.Status()[0].ConfigHash
	if hash != config.Hash() {
		t.Errorf("hash is %s, want the operator's %s", hash, config.Hash())
	}

	config, _ = files(t, "acme", 1001, false) // of the same size
	write(t, filepath.Join(dir, "acme"), config)
	r.eventually("a change is served", func() bool { return r.session("acme") == 1001 })

	config, key := files(t, "globex", 1000, true)
	write(t, filepath.Join(dir, "globex"), config)
	r.eventually("the missing key is reported", func() bool { return strings.Contains(r.problem("globex"), "key is missing") })
	write(t, filepath.Join(dir, "globex"), key)
	r.eventually("the key is there", func() bool { return r.session("globex") == 1000 })

	write(t, filepath.Join(dir, "globex"), tenantconfig.Files{tenantconfig.FileConfig: []byte(`{"version": 2}`)})
	r.eventually("an unknown version is reported", func() bool { return r.problem("globex") != "" })
	if r.session("globex") != 1000 || r.session("acme") != 1001 {
		t.Error("a bad set is not kept to itself")
	}

	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir+".away", "initech"), tenantconfig.Files{tenantconfig.FileConfig: []byte("{")})
	if err := os.RemoveAll(filepath.Join(dir+".away", "acme")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	r.eventually("a tenant is gone", func() bool { return r.tenants() == "globex,initech" })
	if r.session("acme") != 0 || r.session("globex") != 1000 {
		t.Error("the wrong tenant is gone")
	}
}

func TestDirectoryWithLinksAsInAMountedSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "acme")
	publish := func(version string, session int) {
		t.Helper()
		config, _ := files(t, "acme", session, false)
		write(t, filepath.Join(dir, version), config)
		link := filepath.Join(dir, "..tmp")
		if err := os.Symlink(version, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..1", 1000)
	config, _ := files(t, "acme", 1000, false)
	for name := range config {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, newDirectory(filepath.Dir(dir)))
	if r.session("acme") != 1000 {
		t.Error("not served at the start")
	}
	publish("..2", 1001)
	r.eventually("the new version is served", func() bool { return r.session("acme") == 1001 })
}

func TestDirectoryMissingAtTheStart(t *testing.T) {
	registry := tenant.NewRegistry(slog.New(slog.DiscardHandler))
	if err := newDirectory(filepath.Join(t.TempDir(), "none")).Run(t.Context(), registry); err == nil {
		t.Error("a missing directory is no error")
	}
	if registry.Synced() {
		t.Error("a missing directory means that there are no tenants")
	}
}

func secret(name, label, tenantName string, data tenantconfig.Files) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "sso", ResourceVersion: "1",
			Labels: map[string]string{label: tenantconfig.LabelTrue, tenantconfig.LabelTenant: tenantName}},
		Data: data,
	}
}

func TestKubernetes(t *testing.T) {
	config, key := files(t, "acme", 1000, true)
	stolen, _ := files(t, "globex", 666, false)
	client := fake.NewClientset(
		secret("acme-saml-sp", tenantconfig.LabelConfig, "acme", config),
		secret("mallory-saml-sp", tenantconfig.LabelConfig, "globex", stolen),
		secret("globex", tenantconfig.LabelConfig, "globex", stolen),
		secret("umbrella-saml-sp", tenantconfig.LabelConfig, "umbrella", stolen),
	)
	secrets := client.CoreV1().Secrets("sso")
	r := run(t, &configsource.Kubernetes{Client: client, Namespace: "sso", Log: slog.New(slog.DiscardHandler)})
	if r.tenants() != "acme,umbrella" || r.problem("acme") == "" || r.problem("umbrella") == "" {
		t.Errorf("at the start: %+v", r.registry.Status())
	}
	if r.session("globex") != 0 {
		t.Error("a Secret of another name speaks for a tenant")
	}
	for _, action := range client.Actions() {
		if action.GetNamespace() != "sso" {
			t.Errorf("%s of %s in namespace %q", action.GetVerb(), action.GetResource().Resource, action.GetNamespace())
		}
	}

	update := func(s *corev1.Secret, version string) {
		t.Helper()
		s.ResourceVersion = version
		if _, err := secrets.Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := secrets.Create(t.Context(), secret("acme-saml-sp-key", tenantconfig.LabelKey, "acme", key), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the key is there", func() bool { return r.session("acme") == 1000 && r.problem("acme") == "" })
	if status := r.registry.Status(); !slices.ContainsFunc(status, func(s tenant.Status) bool { return s.ConfigHash == config.Hash() }) {
		t.Errorf("no hash of the operator's: %+v", status)
	}

	config, _ = files(t, "acme", 1001, true)
	update(secret("acme-saml-sp", tenantconfig.LabelConfig, "acme", config), "2")
	r.eventually("a change is served", func() bool { return r.session("acme") == 1001 })

	update(secret("acme-saml-sp", tenantconfig.LabelConfig, "acme", tenantconfig.Files{tenantconfig.FileConfig: []byte("{")}), "3")
	r.eventually("a bad set is reported", func() bool { return r.problem("acme") != "" })
	if r.session("acme") != 1001 {
		t.Error("the last-known-good is not kept")
	}

	if err := secrets.Delete(t.Context(), "acme-saml-sp", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the tenant is gone", func() bool { return r.session("acme") == 0 })
}
