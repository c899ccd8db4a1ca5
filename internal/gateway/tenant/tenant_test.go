package tenant_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

func newKey(t *testing.T, bits int) *testidp.Key {
	t.Helper()
	key, err := testidp.NewKey(testidp.KeyOptions{Bits: bits})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// files of a tenant at a host, whose IdP has the key.
func files(t *testing.T, name, host string, idp *testidp.Key, change ...func(*tenantconfig.Config)) tenantconfig.Files {
	t.Helper()
	c := tenantconfig.Config{
		Tenant: name, CustomerName: name, Host: host,
		ServiceProvider: tenantconfig.ServiceProvider{EntityID: "https://" + host + ":443/saml/metadata",
			SignOnURL: "https://" + host, ACSURL: "https://" + host + "/saml/acs", MetadataURL: "https://" + host + "/saml/metadata"},
		IdentityProvider: tenantconfig.IdentityProvider{EntityID: "https://idp.example",
			SSO:                 []tenantconfig.Endpoint{{Binding: tenantconfig.BindingRedirect, Location: "https://idp.example/sso"}},
			SigningCertificates: []string{base64.StdEncoding.EncodeToString(idp.Certificate.Raw)}},
		Session: tenantconfig.Session{MaxDuration: 3600, IdleTimeout: 600},
	}
	for _, f := range change {
		f(&c)
	}
	data, err := tenantconfig.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return tenantconfig.Files{tenantconfig.FileConfig: data, tenantconfig.FileSPMetadata: []byte("<EntityDescriptor/>")}
}

func withKey(t *testing.T, f tenantconfig.Files, key *testidp.Key) tenantconfig.Files {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key.Signer)
	if err != nil {
		t.Fatal(err)
	}
	f = maps.Clone(f)
	f[tenantconfig.FileKey] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	f[tenantconfig.FileCertificate] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: key.Certificate.Raw})
	return f
}

func TestLoad(t *testing.T) {
	idp, own := newKey(t, 2048), newKey(t, 2048)
	good := files(t, "acme", "acme.s.localhost", idp)
	signed := files(t, "acme", "acme.s.localhost", idp, func(c *tenantconfig.Config) { c.ServiceProvider.SignAuthnRequests = true })
	encrypted := files(t, "acme", "acme.s.localhost", idp, func(c *tenantconfig.Config) { c.ServiceProvider.WantAssertionsEncrypted = true })
	without := func(f tenantconfig.Files, name string) tenantconfig.Files {
		f = maps.Clone(f)
		delete(f, name)
		return f
	}
	for _, test := range []struct {
		name, problem string
		files         tenantconfig.Files
	}{
		{"without a key", "", good},
		{"with a key", "", withKey(t, signed, own)},
		{"a key is needed", "SP key is missing", signed},
		{"a key is needed to decrypt", "SP key is missing", encrypted},
		{"a key to decrypt", "", withKey(t, encrypted, own)},
		{"half a key", "SP key and certificate", without(withKey(t, good, own), tenantconfig.FileCertificate)},
		{"a key that is too short", "1024 bits", withKey(t, good, newKey(t, 1024))},
		{"no configuration", "config.json is missing", without(good, tenantconfig.FileConfig)},
		{"no metadata", "sp-metadata.xml is missing", without(good, tenantconfig.FileSPMetadata)},
		{"another's name", `tenant "globex"`, files(t, "globex", "acme.s.localhost", idp)},
		{"a damaged certificate", "signingCertificates[1]", files(t, "acme", "acme.s.localhost", idp, func(c *tenantconfig.Config) {
			c.IdentityProvider.SigningCertificates = append(c.IdentityProvider.SigningCertificates, "AAAA")
		})},
	} {
		loaded, err := tenant.Load("acme", test.files)
		switch {
		case test.problem == "" && (err != nil || len(loaded.SigningCertificates) != 1):
			t.Errorf("%s: %v", test.name, err)
		case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)):
			t.Errorf("%s: got %v, want %q", test.name, err, test.problem)
		}
	}
}

func TestRegistry(t *testing.T) {
	idp := newKey(t, 2048)
	set := func(revision, name, host string) tenant.Set {
		return tenant.Set{Revision: revision, Files: files(t, name, host, idp)}
	}
	r := tenant.NewRegistry(slog.New(slog.DiscardHandler))
	holder := func(host string) string {
		if found := r.ByHost(host); found != nil {
			return found.Name()
		}
		return ""
	}
	check := func(step, wantX, wantY string, problems int) {
		t.Helper()
		got := 0
		for _, s := range r.Status() {
			if s.Problem != "" {
				got++
			}
		}
		if holder("x.example") != wantX || holder("y.example") != wantY || got != problems {
			t.Errorf("%s: x is %q, y is %q, %d problems: %+v", step, holder("x.example"), holder("y.example"), got, r.Status())
		}
	}
	if r.Synced() || holder("x.example") != "" {
		t.Error("there is something at the beginning")
	}
	r.Apply(map[string]tenant.Set{"b": set("1", "b", "x.example"), "c": set("1", "c", "y.example")})
	check("two tenants", "b", "c", 0)

	all := map[string]tenant.Set{"a": set("1", "a", "x.example"), "b": set("1", "b", "x.example"), "c": set("1", "c", "y.example")}
	r.Apply(all)
	check("the holder keeps its host", "b", "c", 1)

	delete(all, "b")
	r.Apply(all)
	check("the next one gets it", "a", "c", 0)

	all["c"] = tenant.Set{Revision: "2", Files: tenantconfig.Files{tenantconfig.FileConfig: []byte("{")}}
	r.Apply(all)
	check("last-known-good", "a", "c", 1)

	all["c"] = tenant.Set{Err: errors.New("unreadable")}
	r.Apply(all)
	check("unreadable", "a", "c", 1)

	all["c"] = set("1", "c", "y.example")
	r.Apply(all)
	check("as before", "a", "c", 0)

	all["c"] = set("3", "c", "x.example")
	r.Apply(all)
	check("it moves to a host that is taken", "a", "", 1)

	r.Apply(map[string]tenant.Set{})
	check("all gone", "", "", 0)

	r.Apply(map[string]tenant.Set{"b": set("9", "b", "x.example"), "a": set("9", "a", "x.example")})
	check("at once, the first by name", "a", "", 1)
}

// While the key is being replaced, the successor decrypts as well and does not
// sign.
func TestNextKeyDecrypts(t *testing.T) {
	current, next := newKey(t, 2048), newKey(t, 2048)
	f := withKey(t, files(t, "acme", "acme.s.example.com", newKey(t, 2048)), current)
	second := withKey(t, files(t, "acme", "acme.s.example.com", newKey(t, 2048)), next)
	f[tenantconfig.FileNextKey], f[tenantconfig.FileNextCertificate] = second[tenantconfig.FileKey], second[tenantconfig.FileCertificate]
	got, err := tenant.Load("acme", f)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.DecryptionKeys) != 2 || !got.DecryptionKeys[1].Equal(got.Key) || got.DecryptionKeys[0].Equal(got.Key) {
		t.Errorf("%d keys decrypt", len(got.DecryptionKeys))
	}
	f[tenantconfig.FileNextKey] = []byte("x")
	if _, err := tenant.Load("acme", f); err == nil || strings.Contains(err.Error(), "x\n") {
		t.Errorf("got %v, want an error about the next key", err)
	}
}
