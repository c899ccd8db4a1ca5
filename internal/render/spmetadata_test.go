package render_test

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml/samlsp"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/spkey"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// pair makes a key pair as the operator does.
func pair(t *testing.T) render.SPKeys {
	t.Helper()
	key, certificatePEM, err := spkey.Generate("acme.s.cequence.cloud", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := spkey.Certificate(key, certificatePEM)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := spkey.Signer(key, certificatePEM)
	if err != nil {
		t.Fatal(err)
	}
	return render.SPKeys{Certificates: []*x509.Certificate{certificate}, Signer: signer}
}

func spMetadata(t *testing.T, domain string, spec v1alpha1.SAMLTenantSpec, keys render.SPKeys) []byte {
	t.Helper()
	b, err := render.ParseBaseDomain(domain)
	if err != nil {
		t.Fatal(err)
	}
	tenant := acme()
	spec.CustomerName, spec.MetadataURL = tenant.Spec.CustomerName, tenant.Spec.MetadataURL
	tenant.Spec = spec
	files, err := render.Files(tenant, b, accepted(t), nil, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	return files[tenantconfig.FileSPMetadata]
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: `hack/install-test-packages.sh` installs it", name)
	}
	return path
}

// validate holds a document to the schema of [SAMLMeta], which SimpleSAMLphp
// brings along.
func validate(t *testing.T, document []byte) ([]byte, error) {
	t.Helper()
	schema := filepath.Join(cmp.Or(os.Getenv("SIMPLESAMLPHP_DIR"), "/usr/share/simplesamlphp"), "schemas", "saml-schema-metadata-2.0.xsd")
	if _, err := os.Stat(schema); err != nil {
		t.Fatalf("%v: `hack/install-test-packages.sh` installs it", err)
	}
	command := exec.CommandContext(t.Context(), program(t, "xmllint"), "--nonet", "--noout", "--schema", schema, "-")
	command.Stdin = bytes.NewReader(document)
	return command.CombinedOutput()
}

func everything() v1alpha1.SAMLTenantSpec {
	yes := true
	return v1alpha1.SAMLTenantSpec{
		DisplayName: `Acme & "Söhne" <Inc>`,
		AttributeMapping: &v1alpha1.AttributeMapping{
			UserID: `https://acme.example/?a=1&b="<>'`, Email: "mail", GivenName: "mail", Surname: "Nachname ü", DisplayName: "cn", Groups: "urn:acme:groups",
		},
		ServiceProvider: &v1alpha1.ServiceProvider{
			SignAuthnRequests: &yes, SignMetadata: true, NameIDFormat: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
		},
	}
}

var signed = v1alpha1.SAMLTenantSpec{ServiceProvider: &v1alpha1.ServiceProvider{SignMetadata: true}}

func TestSPMetadataIsValidBySchema(t *testing.T) {
	current := pair(t)
	during := current
	during.Certificates = slices.Concat(current.Certificates, certificates(t).Certificates)
	for name, test := range map[string]struct {
		domain string
		spec   v1alpha1.SAMLTenantSpec
		keys   render.SPKeys
	}{
		"plain":                     {"s.cequence.cloud", v1alpha1.SAMLTenantSpec{}, current},
		"at a port":                 {"s.localhost:8443", v1alpha1.SAMLTenantSpec{}, current},
		"during a rollover":         {"s.cequence.cloud", v1alpha1.SAMLTenantSpec{}, during},
		"signed":                    {"s.cequence.cloud", signed, current},
		"everything":                {"s.localhost:8443", everything(), current},
		"everything, in a rollover": {"s.cequence.cloud", everything(), during},
	} {
		t.Run(name, func(t *testing.T) {
			document := spMetadata(t, test.domain, test.spec, test.keys)
			if output, err := validate(t, document); err != nil {
				t.Errorf("%v: %s\n%s", err, output, document)
			}
		})
	}
	// The schema is applied.
	document := spMetadata(t, "s.cequence.cloud", v1alpha1.SAMLTenantSpec{}, current)
	bad := bytes.Replace(document, []byte(" isDefault=\"true\""), []byte(" isDefault=\"perhaps\""), 1)
	if output, err := validate(t, bad); err == nil {
		t.Errorf("a document that is not valid passes: %s", output)
	}
}

func TestSPMetadataRequestsTheMappedAttributes(t *testing.T) {
	requested := func(spec v1alpha1.SAMLTenantSpec) map[string]string {
		entity, err := samlsp.ParseMetadata(spMetadata(t, "s.cequence.cloud", spec, pair(t)))
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]string{}
		services := entity.SPSSODescriptors[0].AttributeConsumingServices
		if len(services) != 1 {
			t.Fatalf("%d services", len(services))
		}
		for _, a := range services[0].RequestedAttributes {
			if names[a.Name] != "" {
				t.Errorf("%s is listed twice", a.Name)
			}
			names[a.Name] = a.FriendlyName + " " + strings.TrimPrefix(a.NameFormat, "urn:oasis:names:tc:SAML:2.0:attrname-format:")
			if a.IsRequired != nil && *a.IsRequired {
				names[a.Name] += " required"
			}
		}
		return names
	}
	byDefault := requested(v1alpha1.SAMLTenantSpec{})
	for name, want := range map[string]string{
		"http://schemas.microsoft.com/identity/claims/objectidentifier": "userID uri", "urn:oid:0.9.2342.19200300.100.1.3": "email uri",
		"mail": "email ", "Group": "groups ", "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups": "groups uri",
	} {
		if byDefault[name] != want {
			t.Errorf("%s is requested as %q, want %q", name, byDefault[name], want)
		}
	}
	mapped := requested(everything())
	if mapped["urn:acme:groups"] != "groups uri" || mapped["cn"] != "displayName " || mapped["Nachname ü"] != "surname " ||
		mapped[`https://acme.example/?a=1&b="<>'`] != "userID uri required" || mapped["mail"] != "email " || len(mapped) != 5 {
		t.Errorf("the mapped ones are requested as %v", mapped)
	}
}

func TestSPMetadataIsSigned(t *testing.T) {
	keys := pair(t)
	document := spMetadata(t, "s.cequence.cloud", signed, keys)
	if again := spMetadata(t, "s.cequence.cloud", signed, keys); !bytes.Equal(document, again) {
		t.Error("the same metadata is signed as other bytes")
	}
	if err := verifies(t, document, keys.Certificates[0]); err != nil {
		t.Errorf("ours: %v\n%s", err, document)
	}
	if output, err := xmlsecVerifies(t, document, keys.Certificates[0]); err != nil {
		t.Errorf("xmlsec1: %v: %s\n%s", err, output, document)
	}

	tampered := bytes.Replace(document, []byte("/saml/acs"), []byte("/saml/evil"), 1)
	if verifies(t, tampered, keys.Certificates[0]) == nil {
		t.Error("ours accepts what was changed")
	}
	if _, err := xmlsecVerifies(t, tampered, keys.Certificates[0]); err == nil {
		t.Error("xmlsec1 accepts what was changed")
	}
	other := pair(t)
	if verifies(t, document, other.Certificates[0]) == nil {
		t.Error("it is signed by any key")
	}

	// What was changed has another ID, so that nobody takes it for the one before.
	if root(t, document) == root(t, spMetadata(t, "s.cequence.cloud", everything(), keys)) {
		t.Error("other metadata has the same ID")
	}
	// During a rollover the key in use signs.
	keys.Certificates = append(keys.Certificates, other.Certificates[0])
	if err := verifies(t, spMetadata(t, "s.cequence.cloud", signed, keys), keys.Certificates[0]); err != nil {
		t.Errorf("during a rollover: %v", err)
	}
	// Nobody else's metadata is signed, and none is left unsigned against the wish.
	if plain := spMetadata(t, "s.cequence.cloud", v1alpha1.SAMLTenantSpec{}, keys); bytes.Contains(plain, []byte("Signature")) || bytes.Contains(plain, []byte(" ID=")) {
		t.Error("metadata is signed without being asked for")
	}
	keys.Signer = nil
	tenant := acme()
	tenant.Spec.ServiceProvider = signed.ServiceProvider
	if _, err := render.Files(tenant, base(t), accepted(t), nil, keys, nil); err == nil {
		t.Error("without a key there is metadata all the same")
	}
}

func parsed(t *testing.T, document []byte) *xmltree.Element {
	t.Helper()
	const limit = 1 << 20
	e, err := xmltree.Parse(document, xmltree.Limits{Bytes: limit, Elements: limit, Parts: limit})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// root returns the root's ID.
func root(t *testing.T, document []byte) string {
	t.Helper()
	id, _ := parsed(t, document).Attribute("ID")
	return id
}

// verifies holds the signature to our own reader of signatures.
func verifies(t *testing.T, document []byte, certificate *x509.Certificate) error {
	t.Helper()
	s, err := xmldsig.Of(parsed(t, document))
	if err != nil {
		return err
	}
	if _, err := s.Content(); err != nil {
		return err
	}
	if !s.MadeBy(certificate.PublicKey.(*rsa.PublicKey)) {
		return rsa.ErrVerification
	}
	return nil
}

// xmlsecVerifies holds it to an implementation that has nothing in common with
// ours.
func xmlsecVerifies(t *testing.T, document []byte, certificate *x509.Certificate) ([]byte, error) {
	t.Helper()
	folder := t.TempDir()
	file, key := filepath.Join(folder, "metadata.xml"), filepath.Join(folder, "key.pem")
	for name, content := range map[string][]byte{file: document, key: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return exec.CommandContext(t.Context(), program(t, "xmlsec1"), "--verify", "--pubkey-cert-pem", key, "--enabled-key-data", "rsa",
		"--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:metadata:EntityDescriptor", file).CombinedOutput()
}
