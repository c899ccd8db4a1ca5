package render_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"
	"github.com/crewjam/saml/samlsp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

var update = flag.Bool("update", false, "write testdata/golden from what is rendered")

func certificates(t *testing.T) render.SPKeys {
	t.Helper()
	content, err := os.ReadFile("testdata/sp.crt")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return render.SPKeys{Certificates: []*x509.Certificate{c}}
}

func accepted(t *testing.T) *idpmetadata.Descriptor {
	t.Helper()
	document, err := os.ReadFile("testdata/entra.xml")
	if err != nil {
		t.Fatal(err)
	}
	d, err := idpmetadata.Accept(document, idpmetadata.Requirements{Now: time.Date(2018, 6, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func base(t *testing.T) render.BaseDomain {
	t.Helper()
	b, err := render.ParseBaseDomain("s.cequence.cloud")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func acme() *v1alpha1.SAMLTenant {
	return &v1alpha1.SAMLTenant{
		ObjectMeta: metav1.ObjectMeta{Name: "acme"},
		Spec:       v1alpha1.SAMLTenantSpec{CustomerName: "acme", MetadataURL: "https://login.microsoftonline.com/x/federationmetadata.xml"},
	}
}

// Run with -update to accept a change of what is rendered.
func TestFilesAreTheGoldenOnes(t *testing.T) {
	files, err := render.Files(acme(), base(t), accepted(t), nil, certificates(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join("testdata", "golden", name)
		if *update {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(content, want) {
			t.Errorf("%s is\n%s\nwant\n%s", name, content, want)
		}
	}
	if len(files) != 4 {
		t.Errorf("got %d files, want 4", len(files))
	}
}

func TestApplication(t *testing.T) {
	tenant := acme()
	tenant.Spec.Application = &v1alpha1.Application{
		Upstream: &v1alpha1.Upstream{Service: &v1alpha1.ServiceReference{Name: "app", Port: 8080}},
		Paths: []v1alpha1.PathRule{
			{Path: "/", Match: v1alpha1.PathMatchPrefix, Access: v1alpha1.PathAccessSignedIn},
			{Path: "/status", Match: v1alpha1.PathMatchExact, Access: v1alpha1.PathAccessPublic},
			{Path: "/admin", Roles: []string{"admin"}, FreshSignIn: &metav1.Duration{Duration: 90 * time.Minute}},
		},
	}
	if _, err := render.Files(tenant, base(t), accepted(t), nil, certificates(t), nil); err == nil || !strings.Contains(err.Error(), "set metadata.namespace") {
		t.Errorf("a Service of no namespace: %v", err)
	}
	tenant.Namespace = "customers"
	rendered := func() tenantconfig.Application {
		t.Helper()
		files, err := render.Files(tenant, base(t), accepted(t), nil, certificates(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		config, err := tenantconfig.Decode(files[tenantconfig.FileConfig])
		if err != nil {
			t.Fatal(err)
		}
		return config.Application
	}
	want := tenantconfig.Application{
		Upstream: "http://app.customers.svc:8080",
		Paths: []tenantconfig.PathRule{
			{Path: "/"}, {Path: "/status", Exact: true, Public: true}, {Path: "/admin", Roles: []string{"admin"}, FreshSignIn: 5400},
		},
	}
	if got := rendered(); !reflect.DeepEqual(got, want) {
		t.Errorf("rendered %+v, want %+v", got, want)
	}
	tenant.Spec.Application.Upstream.Service.Scheme = "https"
	if got := rendered().Upstream; got != "https://app.customers.svc:8080" {
		t.Errorf("a Service by https: %s", got)
	}
	tenant.Spec.Application.Upstream = &v1alpha1.Upstream{URL: "https://app.acme.example/base"}
	if got := rendered().Upstream; got != "https://app.acme.example/base" {
		t.Errorf("a URL: %s", got)
	}
}

// Certificates in another order, and dates of validity, are no change.
func TestWhatMeansTheSameIsRenderedTheSame(t *testing.T) {
	d := accepted(t)
	first, err := render.Files(acme(), base(t), d, nil, certificates(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(d.SigningCertificates)
	d.ValidUntil = time.Now().Add(time.Hour)
	d.CacheDuration = time.Minute
	second, err := render.Files(acme(), base(t), d, nil, certificates(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if first.Hash() != second.Hash() {
		t.Error("the hash changed")
	}
}

func TestMetadataReadsBackAsItWasAccepted(t *testing.T) {
	d := accepted(t)
	files, err := render.Files(acme(), base(t), d, nil, certificates(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := idpmetadata.Parse(files[tenantconfig.FileIDPMetadata], "")
	if err != nil {
		t.Fatal(err)
	}
	if back.Digest() != d.Digest() {
		t.Error("the digest changed")
	}
}

// An implementation that is not ours reads our metadata.
func TestSPMetadataIsReadByAnother(t *testing.T) {
	files, err := render.Files(acme(), base(t), accepted(t), nil, certificates(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	entity, err := samlsp.ParseMetadata(files[tenantconfig.FileSPMetadata])
	if err != nil {
		t.Fatal(err)
	}
	if entity.EntityID != "https://acme.s.cequence.cloud:443/saml/metadata" {
		t.Errorf("entity ID %q", entity.EntityID)
	}
	role := entity.SPSSODescriptors[0]
	acs := role.AssertionConsumerServices[0]
	if acs.Binding != saml.HTTPPostBinding || acs.Location != "https://acme.s.cequence.cloud/saml/acs" {
		t.Errorf("ACS %+v", acs)
	}
	var uses []string
	for _, k := range role.KeyDescriptors {
		uses = append(uses, k.Use)
	}
	if !slices.Equal(uses, []string{"signing", "encryption"}) {
		t.Errorf("keys for %v", uses)
	}
}

// A tenant that says what identifies its users gets that and nothing else.
func TestAMappedUserIDIsRequired(t *testing.T) {
	for _, test := range []struct {
		spec     *v1alpha1.AttributeMapping
		required bool
	}{
		{nil, false}, {&v1alpha1.AttributeMapping{Email: "mail"}, false}, {&v1alpha1.AttributeMapping{UserID: "employeeNumber"}, true},
	} {
		tenant := acme()
		tenant.Spec.AttributeMapping = test.spec
		files, err := render.Files(tenant, base(t), accepted(t), nil, certificates(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := tenantconfig.Decode(files[tenantconfig.FileConfig])
		if err != nil {
			t.Fatal(err)
		}
		mapping := c.AttributeMapping
		if mapping.UserIDRequired != test.required || (len(mapping.UserIDWithoutNameID) == 0) != test.required {
			t.Errorf("%+v: required %v, without a NameID %v", test.spec, mapping.UserIDRequired, mapping.UserIDWithoutNameID)
		}
		if test.required && !slices.Equal(mapping.UserID, []string{"employeeNumber"}) {
			t.Errorf("userID is %v", mapping.UserID)
		}
	}
}

func TestRequestsAreSignedWhenTheIDPOrTheTenantWantsIt(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		wanted bool
		tenant *bool
		signed bool
	}{
		{false, nil, false}, {true, nil, true}, {true, &no, false}, {false, &yes, true},
	} {
		d, tenant := accepted(t), acme()
		d.WantAuthnRequestsSigned = test.wanted
		tenant.Spec.ServiceProvider = &v1alpha1.ServiceProvider{SignAuthnRequests: test.tenant}
		files, err := render.Files(tenant, base(t), d, nil, certificates(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := tenantconfig.Decode(files[tenantconfig.FileConfig])
		if err != nil {
			t.Fatal(err)
		}
		if c.ServiceProvider.SignAuthnRequests != test.signed {
			t.Errorf("IdP wants %v, tenant says %v: signed %v", test.wanted, test.tenant, c.ServiceProvider.SignAuthnRequests)
		}
	}
}

func rendered(t *testing.T, spec *v1alpha1.ServiceProvider, d *idpmetadata.Descriptor) (tenantconfig.Config, error) {
	t.Helper()
	tenant := acme()
	tenant.Spec.ServiceProvider = spec
	files, err := render.Files(tenant, base(t), d, nil, certificates(t), nil)
	if err != nil {
		return tenantconfig.Config{}, err
	}
	return tenantconfig.Decode(files[tenantconfig.FileConfig])
}

func TestRequestsGoByTheBindingThatTheTenantWants(t *testing.T) {
	const redirect, post = tenantconfig.BindingRedirect, tenantconfig.BindingPOST
	for _, test := range []struct {
		has    []string
		wanted v1alpha1.RequestBinding
		want   []string
	}{
		{[]string{post, redirect}, "", []string{redirect, post}},
		{[]string{post, redirect}, v1alpha1.RequestBindingRedirect, []string{redirect, post}},
		{[]string{redirect, post}, v1alpha1.RequestBindingPOST, []string{post, redirect}},
		{[]string{post}, "", []string{post}},
		// What works is better than what is wanted.
		{[]string{post}, v1alpha1.RequestBindingRedirect, []string{post}},
		{[]string{redirect}, v1alpha1.RequestBindingPOST, []string{redirect}},
	} {
		d := accepted(t)
		d.SSO = nil
		for _, binding := range test.has {
			d.SSO = append(d.SSO, idpmetadata.Endpoint{Binding: binding, Location: "https://idp.example.com/" + binding})
		}
		spec := &v1alpha1.ServiceProvider{RequestBinding: test.wanted}
		c, err := rendered(t, spec, d)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range c.IdentityProvider.SSO {
			got = append(got, e.Binding)
		}
		tenant := acme()
		tenant.Spec.ServiceProvider = spec
		if url := render.SSOURL(tenant, d); !slices.Equal(got, test.want) || url != "https://idp.example.com/"+test.want[0] {
			t.Errorf("%+v: got %v, and the status shows %s", test, got, url)
		}
	}
}

func TestWishesOfTheTenant(t *testing.T) {
	const mfa = "https://refeds.org/profile/mfa"
	for _, test := range []struct {
		spec v1alpha1.ServiceProvider
		want tenantconfig.ServiceProvider
	}{
		{v1alpha1.ServiceProvider{}, tenantconfig.ServiceProvider{}},
		{v1alpha1.ServiceProvider{AllowIDPInitiated: v1alpha1.IDPInitiatedRefuse}, tenantconfig.ServiceProvider{}},
		{v1alpha1.ServiceProvider{AllowIDPInitiated: v1alpha1.IDPInitiatedRestart}, tenantconfig.ServiceProvider{IDPInitiated: tenantconfig.IDPInitiatedRestart}},
		{v1alpha1.ServiceProvider{AllowIDPInitiated: v1alpha1.IDPInitiatedAccept}, tenantconfig.ServiceProvider{IDPInitiated: tenantconfig.IDPInitiatedAccept}},
		{v1alpha1.ServiceProvider{ForceAuthn: true, WantAssertionsEncrypted: true}, tenantconfig.ServiceProvider{ForceAuthn: true, WantAssertionsEncrypted: true}},
		{v1alpha1.ServiceProvider{RequestedAuthnContext: &v1alpha1.RequestedAuthnContext{ClassRefs: []string{mfa}}},
			tenantconfig.ServiceProvider{RequestedAuthnContext: &tenantconfig.RequestedAuthnContext{ClassRefs: []string{mfa}, Comparison: "exact"}}},
		{v1alpha1.ServiceProvider{RequestedAuthnContext: &v1alpha1.RequestedAuthnContext{ClassRefs: []string{mfa}, Comparison: "better"}},
			tenantconfig.ServiceProvider{RequestedAuthnContext: &tenantconfig.RequestedAuthnContext{ClassRefs: []string{mfa}, Comparison: "better"}}},
	} {
		c, err := rendered(t, &test.spec, accepted(t))
		if err != nil {
			t.Fatal(err)
		}
		got := c.ServiceProvider
		got.EntityID, got.SignOnURL, got.ACSURL, got.MetadataURL, got.SLOURL = "", "", "", "", ""
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%+v became %+v, want %+v", test.spec, got, test.want)
		}
	}
}

func TestSingleLogoutEndpoints(t *testing.T) {
	const redirect, post, artifact = tenantconfig.BindingRedirect, tenantconfig.BindingPOST, "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact"
	d := accepted(t)
	d.SLO = []idpmetadata.Endpoint{
		{Binding: post, Location: "https://idp.example/post", ResponseLocation: "https://idp.example/done"},
		{Binding: redirect, Location: "http://idp.example/plain"},
		{Binding: redirect, Location: "https://idp.example/half", ResponseLocation: "http://idp.example/plain"},
		{Binding: artifact, Location: "https://idp.example/artifact"},
		{Binding: redirect, Location: "https://idp.example/redirect"},
	}
	config := func() tenantconfig.Config {
		t.Helper()
		files, err := render.Files(acme(), base(t), d, nil, certificates(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := tenantconfig.Decode(files[tenantconfig.FileConfig])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	want := []tenantconfig.Endpoint{
		{Binding: redirect, Location: "https://idp.example/redirect"},
		{Binding: post, Location: "https://idp.example/post", ResponseLocation: "https://idp.example/done"},
	}
	if got := config().IdentityProvider.SLO; !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
	if got := render.SLOURL(d); got != "https://idp.example/redirect" {
		t.Errorf("SLOURL is %q", got)
	}
	d.SLO = d.SLO[1:4]
	if got := config().IdentityProvider.SLO; len(got) != 0 || render.SLOURL(d) != "" {
		t.Errorf("got %+v", got)
	}
}

func TestBaseDomain(t *testing.T) {
	b, err := render.ParseBaseDomain("s.localhost:8443")
	if err != nil {
		t.Fatal(err)
	}
	if got := b.ServiceProvider("acme"); got != (v1alpha1.ServiceProviderStatus{
		SignOnURL: "https://acme.s.localhost:8443", EntityID: "https://acme.s.localhost:443/saml/metadata",
		ACSURL: "https://acme.s.localhost:8443/saml/acs", MetadataURL: "https://acme.s.localhost:8443/saml/metadata",
		SLOURL: "https://acme.s.localhost:8443/saml/slo",
	}) {
		t.Errorf("got %+v", got)
	}
	for _, bad := range []string{"", "S.example.com", "https://s.example.com", "s.example.com/", "s_x.example.com", "s..example.com", ".example.com", "s.example.com:0", "s.example.com:x", "s.example.com:70000", "s.example.com:", "-s.example.com", strings.Repeat("a.", 110) + "com"} {
		if _, err := render.ParseBaseDomain(bad); err == nil {
			t.Errorf("%q was taken for a base domain", bad)
		}
	}
}

// What the metadata lists no longer is trusted for a while, and is told apart
// from what it lists.
func TestWithdrawnCertificatesAreTrustedAndNotPublished(t *testing.T) {
	d := accepted(t)
	withdrawn := d.SigningCertificates[:1]
	d.SigningCertificates = d.SigningCertificates[1:]
	files, err := render.Files(acme(), base(t), d, withdrawn, certificates(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tenantconfig.Decode(files[tenantconfig.FileConfig])
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(c.IdentityProvider.SigningCertificates), len(d.SigningCertificates)+1; got != want {
		t.Errorf("%d certificates are trusted, want %d", got, want)
	}
	back, err := idpmetadata.Parse(files[tenantconfig.FileIDPMetadata], "")
	if err != nil {
		t.Fatal(err)
	}
	if back.Digest() != d.Digest() {
		t.Error("the metadata lists the withdrawn certificate")
	}
}

func TestGroups(t *testing.T) {
	for _, test := range []struct {
		mapping       *v1alpha1.AttributeMapping
		authorization *v1alpha1.Authorization
		known         string
		inNamespace   bool
		tolerate      bool
	}{
		{nil, nil, "Group", true, false},
		{&v1alpha1.AttributeMapping{Email: "mail"}, &v1alpha1.Authorization{}, "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups", true, false},
		{nil, &v1alpha1.Authorization{GroupOverage: v1alpha1.GroupOverageRefuse}, "http://schemas.xmlsoap.org/claims/Group", true, false},
		{&v1alpha1.AttributeMapping{Groups: "roles"}, &v1alpha1.Authorization{GroupOverage: v1alpha1.GroupOverageTolerate}, "roles", false, true},
	} {
		tenant := acme()
		tenant.Spec.AttributeMapping, tenant.Spec.Authorization = test.mapping, test.authorization
		files, err := render.Files(tenant, base(t), accepted(t), nil, certificates(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := tenantconfig.Decode(files[tenantconfig.FileConfig])
		if err != nil {
			t.Fatal(err)
		}
		m := c.AttributeMapping
		if !slices.Contains(m.Groups, test.known) || slices.Contains(m.GroupsInNamespace, "Group") != test.inNamespace || m.TolerateGroupOverage != test.tolerate {
			t.Errorf("%+v, %+v: got %+v", test.mapping, test.authorization, m)
		}
	}
}

func TestAcceptedExpiredCertificates(t *testing.T) {
	at := metav1.Unix(1_800_000_000, 0)
	for _, test := range []struct {
		until *metav1.Time
		want  int64
	}{{nil, 0}, {&at, at.Unix()}} {
		tenant := acme()
		tenant.Spec.AcceptExpiredCertificatesUntil = test.until
		files, err := render.Files(tenant, base(t), accepted(t), nil, certificates(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := tenantconfig.Decode(files[tenantconfig.FileConfig])
		if err != nil {
			t.Fatal(err)
		}
		if got := c.IdentityProvider.AcceptExpiredUntil; got != test.want {
			t.Errorf("%v: accepted until %d, want %d", test.until, got, test.want)
		}
	}
}

func TestAccessOfATenant(t *testing.T) {
	at := metav1.Unix(1_800_000_000, 0)
	for _, test := range []struct {
		access v1alpha1.Access
		at     *metav1.Time
		want   bool
		since  int64
	}{
		{"", nil, false, 0}, {v1alpha1.AccessEnabled, &at, false, at.Unix()}, {v1alpha1.AccessDisabled, &at, true, at.Unix()},
	} {
		tenant := acme()
		tenant.Spec.Access, tenant.Status.SessionsNotBefore = test.access, test.at
		files, err := render.Files(tenant, base(t), accepted(t), nil, certificates(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := tenantconfig.Decode(files[tenantconfig.FileConfig])
		if err != nil {
			t.Fatal(err)
		}
		if c.Disabled != test.want || c.Session.NotBefore != test.since {
			t.Errorf("access %q: disabled %v, sessions not before %d", test.access, c.Disabled, c.Session.NotBefore)
		}
	}
}

func TestBothKeysArePublishedDuringARotation(t *testing.T) {
	current, next := certificates(t).Certificates[0], accepted(t).SigningCertificates[0]
	files, err := render.Files(acme(), base(t), accepted(t), nil, render.SPKeys{Certificates: []*x509.Certificate{current, next}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	entity, err := samlsp.ParseMetadata(files[tenantconfig.FileSPMetadata])
	if err != nil {
		t.Fatal(err)
	}
	var published []string
	for _, k := range entity.SPSSODescriptors[0].KeyDescriptors {
		which := map[string]string{
			base64.StdEncoding.EncodeToString(current.Raw): "current", base64.StdEncoding.EncodeToString(next.Raw): "next",
		}[k.KeyInfo.X509Data.X509Certificates[0].Data]
		published = append(published, k.Use+" "+which)
	}
	if want := []string{"signing current", "signing next", "encryption next", "encryption current"}; !slices.Equal(published, want) {
		t.Errorf("got %v, want %v", published, want)
	}
}

func TestRulesOfEntryAreRendered(t *testing.T) {
	tenant := acme()
	tenant.Spec.Authorization = &v1alpha1.Authorization{
		AllowedGroups: []string{"Staff"}, AllowedEmailDomains: []string{"ACME.example"},
		RoleMappings: []v1alpha1.RoleMapping{{Group: "Staff", Role: "viewer"}}, TestRole: "viewer",
	}
	got := configOf(t, tenant)
	if want := (tenantconfig.Authorization{
		AllowedGroups: []string{"Staff"}, AllowedEmailDomains: []string{"acme.example"},
		RoleMappings: []tenantconfig.RoleMapping{{Group: "Staff", Role: "viewer"}}, TestRole: "viewer",
	}); got.Version != 2 || !reflect.DeepEqual(got.Authorization, want) {
		t.Errorf("rendered version %d, %+v", got.Version, got.Authorization)
	}
	// Whoever does not use them is understood by the release before.
	tenant.Spec.Authorization = &v1alpha1.Authorization{}
	tenant.Spec.Provisioning = &v1alpha1.Provisioning{Mode: v1alpha1.ProvisioningJustInTime}
	if got := configOf(t, tenant); got.Version != 1 {
		t.Errorf("version %d without a rule", got.Version)
	}
	tenant.Spec.Provisioning = &v1alpha1.Provisioning{Mode: v1alpha1.ProvisioningExisting, MaxUsers: 7, KeepAttributes: []v1alpha1.ProfileAttribute{"email"}}
	if got := configOf(t, tenant); got.Version != 2 || !reflect.DeepEqual(got.Provisioning, tenantconfig.Provisioning{
		Mode: tenantconfig.ProvisioningExisting, MaxUsers: 7, KeepAttributes: []string{tenantconfig.KeepEmail},
	}) {
		t.Errorf("rendered version %d, %+v", got.Version, got.Provisioning)
	}
}

func configOf(t *testing.T, tenant *v1alpha1.SAMLTenant) tenantconfig.Config {
	t.Helper()
	files, err := render.Files(tenant, base(t), accepted(t), nil, certificates(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := tenantconfig.Decode(files[tenantconfig.FileConfig])
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestSCIM(t *testing.T) {
	tenant := acme()
	tenant.Spec.Provisioning = &v1alpha1.Provisioning{SCIM: &v1alpha1.SCIM{TokenSecretRef: v1alpha1.SecretReference{Name: "tokens"}, IdentifiedBy: v1alpha1.SCIMUserName}}
	one, two := strings.Repeat("1", 32), strings.Repeat("2", 32)
	tokens, err := render.HashTokens([][]byte{[]byte(one), []byte(two + "\n"), []byte(one)})
	if err != nil || len(tokens) != 2 {
		t.Fatalf("%v, %v", tokens, err)
	}
	for _, given := range []render.SCIMTokens{tokens, nil} {
		files, err := render.Files(tenant, base(t), accepted(t), nil, certificates(t), given)
		if err != nil {
			t.Fatal(err)
		}
		config, err := tenantconfig.Decode(files[tenantconfig.FileConfig])
		if err != nil {
			t.Fatal(err)
		}
		scim := config.Provisioning.SCIM
		if scim == nil || scim.IdentifiedBy != tenantconfig.IdentifiedByUserName || !slices.Equal(scim.TokenSHA256, given) {
			t.Errorf("rendered %+v", scim)
		}
		for name, file := range files {
			if strings.Contains(string(file), one) {
				t.Errorf("a token is in %s", name)
			}
		}
	}
	for _, bad := range [][]string{nil, {""}, {one[1:]}, {strings.Repeat("1", 1025)}, {one + " " + one}, {one + "ä"}, {one, two, "3" + one, "4" + one, "5" + one, "6" + one}} {
		var tokens [][]byte
		for _, token := range bad {
			tokens = append(tokens, []byte(token))
		}
		if hashes, err := render.HashTokens(tokens); err == nil {
			t.Errorf("%q has %v", bad, hashes)
		}
	}
}
