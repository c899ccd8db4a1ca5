package controllers_test

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

func config(t *testing.T, secret *corev1.Secret) tenantconfig.Config {
	t.Helper()
	c, err := tenantconfig.Decode(secret.Data[tenantconfig.FileConfig])
	require.NoError(t, err)
	return c
}

func TestTwoFieldsBecomeATenantThatCanSignIn(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	f.create(tenant("acme", provider))
	got := f.untilReady("acme")

	require.Equal(t, &v1alpha1.ServiceProviderStatus{
		SignOnURL:   "https://acme.s.cequence.cloud",
		EntityID:    "https://acme.s.cequence.cloud:443/saml/metadata",
		ACSURL:      "https://acme.s.cequence.cloud/saml/acs",
		MetadataURL: "https://acme.s.cequence.cloud/saml/metadata",
		SLOURL:      "https://acme.s.cequence.cloud/saml/slo",
	}, got.Status.ServiceProvider)
	require.Equal(t, provider.EntityID(), got.Status.IDP.EntityID)
	require.Equal(t, provider.SSOURL(), got.Status.IDP.SSOURL)
	require.Equal(t, provider.SLOURL(), got.Status.IDP.SLOURL)
	published := provider.Certificates()[0]
	require.Len(t, got.Status.Certificates, 1)
	require.Equal(t, idpmetadata.Fingerprint(published), got.Status.Certificates[0].FingerprintSHA256)
	require.True(t, got.Status.EarliestNotAfter.Time.Equal(published.NotAfter))
	require.True(t, got.Status.NextRefreshTime.After(got.Status.LastFetchTime.Time))

	secret := f.secret(got.Status.SecretRef.Name)
	require.Equal(t, "acme-saml-sp", secret.Name)
	require.True(t, metav1.IsControlledBy(secret, got))
	require.Equal(t, "true", secret.Labels["sso.cequence.cloud/tenant-config"])
	require.ElementsMatch(t, []string{"config.json", "idp-metadata.xml", "idp-signing.pem", "sp-metadata.xml"}, keys(secret.Data))
	require.Equal(t, tenantconfig.Files(secret.Data).Hash(), secret.Annotations["sso.cequence.cloud/config-hash"])
	require.Equal(t, got.Status.ConfigHash, secret.Annotations["sso.cequence.cloud/config-hash"])
	c := config(t, secret)
	require.Equal(t, "acme.s.cequence.cloud", c.Host)
	require.Equal(t, provider.EntityID(), c.IdentityProvider.EntityID)

	key := f.secret("acme-saml-sp-key")
	require.Equal(t, corev1.SecretTypeTLS, key.Type)
	require.Equal(t, "true", key.Labels["sso.cequence.cloud/tenant-key"])
	require.True(t, metav1.IsControlledBy(key, got))
	_, err := tls.X509KeyPair(key.Data[corev1.TLSCertKey], key.Data[corev1.TLSPrivateKeyKey])
	require.NoError(t, err)

	f.untilEvent("acme", corev1.EventTypeNormal, v1alpha1.ConditionReady, "users can sign in")
	events := &eventsv1.EventList{}
	require.NoError(t, f.List(t.Context(), events))
	require.Len(t, events.Items, 1, "one Event tells it all: %v", events.Items)
	status, err := json.Marshal(got.Status)
	require.NoError(t, err)
	require.NotContains(t, string(status), "PRIVATE KEY")
}

func keys(m map[string][]byte) (names []string) {
	for k := range m {
		names = append(names, k)
	}
	return names
}

// From the manifest to Ready: one fetch, and four writes, two of them to the
// status. A run that our own writes cause must add nothing.
func TestANewTenantCostsOneFetchAndFourWrites(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	api, err := client.NewWithWatch(cluster, client.Options{Scheme: scheme})
	require.NoError(t, err)
	observe := func(list client.ObjectList) watch.Interface {
		w, err := api.Watch(t.Context(), list, client.InNamespace(f.namespace))
		require.NoError(t, err)
		return w
	}
	tenants, secrets := observe(&v1alpha1.SAMLTenantList{}), observe(&corev1.SecretList{})
	names := []string{"a", "b", "c", "d", "e"}
	for _, name := range names {
		own := tenant(name, provider)
		own.Spec.MetadataURL += "?appid=" + name // else they would share a fetch
		f.create(own)
	}
	for _, name := range names {
		f.untilReady(name)
	}
	// Another tenant goes through the queue behind what our writes put there.
	f.create(tenant("last", startIDP(t, testidp.Options{})))
	f.untilReady("last")

	writes := map[string]int{}
	for _, w := range []watch.Interface{tenants, secrets} {
		for e := range w.ResultChan() {
			o := e.Object.(client.Object)
			if strings.HasPrefix(o.GetName(), "last") {
				// Its Secrets and its status were written after all others.
				w.Stop()
				break
			}
			writes[o.GetName()]++
		}
	}
	want := map[string]int{}
	for _, name := range names {
		want[name] = 3 // its creation, and the status twice
		want[name+"-saml-sp"] = 1
		want[name+"-saml-sp-key"] = 1
	}
	require.Equal(t, want, writes)
	require.Equal(t, len(names), provider.Counts().MetadataFetches)
}

func TestNewSigningKeyIsTakenOverOnRequest(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	f.create(tenant("acme", provider))
	before := f.untilReady("acme")

	_, err := provider.AddKey()
	require.NoError(t, err)
	got := f.request(before)
	require.Len(t, got.Status.Certificates, 2)
	require.NotEqual(t, before.Status.ConfigHash, got.Status.ConfigHash)
	require.Len(t, config(t, f.secret("acme-saml-sp")).IdentityProvider.SigningCertificates, 2)
	f.untilEvent("acme", corev1.EventTypeNormal, v1alpha1.EventMetadataChanged, "added signing certificate")

	// Nothing new: not a byte changes.
	resourceVersion := f.secret("acme-saml-sp").ResourceVersion
	again := f.request(got)
	require.Equal(t, resourceVersion, f.secret("acme-saml-sp").ResourceVersion)
	require.Equal(t, v1alpha1.ReasonNotModified, meta.FindStatusCondition(again.Status.Conditions, v1alpha1.ConditionMetadataFetched).Reason)
}

// Each bad source gets its reason and a sentence that says what to do, and the
// tenant beside it does not notice.
func TestBadMetadataSources(t *testing.T) {
	f := start(t, "")
	for i, test := range []struct {
		misbehaviour      testidp.Misbehaviour
		condition, reason string
	}{
		{testidp.NotFound, v1alpha1.ConditionMetadataFetched, v1alpha1.ReasonHTTPStatus},
		{testidp.Unavailable, v1alpha1.ConditionMetadataFetched, v1alpha1.ReasonHTTPStatus},
		{testidp.Endless, v1alpha1.ConditionMetadataFetched, v1alpha1.ReasonTooLarge},
		{testidp.Stalled, v1alpha1.ConditionMetadataFetched, v1alpha1.ReasonTimeout},
		{testidp.RedirectsToHTTP, v1alpha1.ConditionMetadataFetched, v1alpha1.ReasonRedirectNotAllowed},
		{testidp.RedirectsInward, v1alpha1.ConditionMetadataFetched, v1alpha1.ReasonURLNotAllowed},
		{testidp.HTMLPage, v1alpha1.ConditionMetadataAccepted, v1alpha1.ReasonParseFailed},
		{testidp.NoCertificates, v1alpha1.ConditionMetadataAccepted, v1alpha1.ReasonNoSigningCertificate},
	} {
		name := "bad-" + string(rune('a'+i))
		t.Run(string(test.misbehaviour), func(t *testing.T) {
			provider := startIDP(t, testidp.Options{})
			require.NoError(t, provider.Misbehave(test.misbehaviour))
			f.create(tenant(name, provider))
			got := f.untilCondition(name, test.condition, metav1.ConditionFalse, test.reason)
			ready := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady)
			require.Equal(t, metav1.ConditionFalse, ready.Status)
			require.Equal(t, test.reason, ready.Reason)
			require.NotEmpty(t, ready.Message)
			require.NotContains(t, ready.Message, "<title>", "a response body must not be quoted")
			require.Equal(t, "https://"+name+".s.cequence.cloud/saml/acs", got.Status.ServiceProvider.ACSURL,
				"the administrator needs these values to repair the IdP")
			f.untilEvent(name, corev1.EventTypeWarning, test.reason, ready.Message)
		})
	}
	t.Run("beside them", func(t *testing.T) {
		f.create(tenant("good", startIDP(t, testidp.Options{})))
		f.untilReady("good")
	})
}

func TestSourcesThatAreNoServerAtAll(t *testing.T) {
	f := start(t, "")
	closed := httptest.NewTLSServer(http.NotFoundHandler())
	closed.Close()
	untrusted := startIDP(t, testidp.Options{})
	for name, test := range map[string]struct{ url, reason string }{
		"inside":    {"https://10.0.0.1/metadata", v1alpha1.ReasonURLNotAllowed},
		"service":   {"https://169.254.169.254/latest/meta-data", v1alpha1.ReasonURLNotAllowed},
		"closed":    {closed.URL, v1alpha1.ReasonConnectFailed},
		"untrusted": {untrusted.MetadataURL(), v1alpha1.ReasonTLSFailed},
		"unknown":   {"https://idp.invalid/metadata", v1alpha1.ReasonDNSFailed},
	} {
		f.create(&v1alpha1.SAMLTenant{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1alpha1.SAMLTenantSpec{CustomerName: name, MetadataURL: test.url},
		})
		got := f.untilCondition(name, v1alpha1.ConditionMetadataFetched, metav1.ConditionFalse, test.reason)
		require.Positive(t, got.Status.ConsecutiveFailures)
	}
}

// What was accepted once serves on, and an edit of the spec applies, whatever
// the IdP does later.
func TestO4_LastKnownGoodServesOn(t *testing.T) {
	for _, test := range []struct {
		misbehaviour      testidp.Misbehaviour
		condition, reason string
	}{
		{testidp.Unavailable, v1alpha1.ConditionMetadataFetched, v1alpha1.ReasonHTTPStatus},
		{testidp.ChangedEntityID, v1alpha1.ConditionMetadataAccepted, v1alpha1.ReasonEntityIDMismatch},
		{testidp.NoCertificates, v1alpha1.ConditionMetadataAccepted, v1alpha1.ReasonNoSigningCertificate},
	} {
		t.Run(string(test.misbehaviour), func(t *testing.T) {
			f := start(t, "")
			provider := startIDP(t, testidp.Options{})
			f.create(tenant("acme", provider))
			before := f.untilReady("acme")
			hash := before.Status.ConfigHash

			require.NoError(t, provider.Misbehave(test.misbehaviour))
			f.request(before)
			got := f.untilCondition("acme", test.condition, metav1.ConditionFalse, test.reason)
			require.True(t, meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionReady), describe(got))
			require.Equal(t, hash, got.Status.ConfigHash)

			f.update(got, func() { got.Spec.DisplayName = "Acme Incorporated" })
			f.until("acme", "the edit is rendered", func(t *v1alpha1.SAMLTenant) bool { return t.Status.ConfigHash != hash })
			require.Equal(t, "Acme Incorporated", config(t, f.secret("acme-saml-sp")).DisplayName)

			provider.Behave()
			f.request(got)
			f.untilCondition("acme", test.condition, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		})
	}
}

func TestBadCertificateBesideAGoodOneIsDroppedWithAnEvent(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	require.NoError(t, provider.Misbehave(testidp.BadCertificate))
	f.create(tenant("acme", provider))
	got := f.untilReady("acme")
	require.Len(t, got.Status.Certificates, 1)
	f.untilEvent("acme", corev1.EventTypeWarning, v1alpha1.EventCertificateDropped, "not used")
}

func TestAnotherIDPNeedsItsEntityIDInTheSpec(t *testing.T) {
	f := start(t, "")
	first := startIDP(t, testidp.Options{})
	second := startIDP(t, testidp.Options{EntityID: "https://second.example/idp"})
	f.create(tenant("acme", first))
	got := f.untilReady("acme")
	hash := got.Status.ConfigHash

	f.update(got, func() { got.Spec.MetadataURL, got.Spec.MetadataCA = second.MetadataURL(), second.ca })
	got = f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonEntityIDMismatch)
	require.Equal(t, hash, got.Status.ConfigHash, "the first IdP serves on")

	f.update(got, func() { got.Spec.IDPEntityID = "https://second.example/idp" })
	got = f.untilReady("acme")
	require.Equal(t, "https://second.example/idp", got.Status.IDP.EntityID)
	require.Equal(t, "https://second.example/idp", config(t, f.secret("acme-saml-sp")).IdentityProvider.EntityID)
}

func TestT3_OlderTenantKeepsTheCustomerName(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	older := tenant("a-older", provider)
	older.Spec.CustomerName = "acme"
	newer := tenant("b-newer", provider)
	newer.Spec.CustomerName = "acme"
	f.create(older)
	f.untilReady("a-older")
	f.create(newer)
	got := f.untilCondition("b-newer", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCustomerNameConflict)
	require.Contains(t, describe(got), `older SAMLTenant "a-older"`)
	require.Error(t, f.Get(t.Context(), client.ObjectKey{Name: "b-newer-saml-sp"}, &corev1.Secret{}))

	require.NoError(t, f.Delete(t.Context(), older))
	f.untilReady("b-newer")
}

func TestO7_ForeignSecretIsLeftAlone(t *testing.T) {
	f := start(t, "")
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "acme-saml-sp"}, StringData: map[string]string{"mine": "precious"}}
	f.create(foreign)
	f.create(tenant("acme", startIDP(t, testidp.Options{})))
	got := f.untilCondition("acme", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNameConflict)
	require.Equal(t, map[string][]byte{"mine": []byte("precious")}, f.secret("acme-saml-sp").Data)

	require.NoError(t, f.Delete(t.Context(), foreign))
	f.request(got)
	f.untilReady("acme")
}

func TestDamageToOurSecretsIsRepaired(t *testing.T) {
	f := start(t, "")
	f.create(tenant("acme", startIDP(t, testidp.Options{})))
	f.untilReady("acme")
	want := f.secret("acme-saml-sp").Data
	key := f.secret("acme-saml-sp-key").Data
	same := func(s *corev1.Secret) bool {
		return s.Labels[tenantconfig.LabelConfig] == "true" && s.Labels[tenantconfig.LabelTenant] == "acme" &&
			tenantconfig.Files(s.Data).Hash() == tenantconfig.Files(want).Hash()
	}
	for name, damage := range map[string]func(*corev1.Secret){
		"edited":          func(s *corev1.Secret) { s.Data["config.json"] = []byte("{}") },
		"metadata edited": func(s *corev1.Secret) { s.Data["idp-metadata.xml"] = []byte("<x/>") },
		"file removed":    func(s *corev1.Secret) { delete(s.Data, "idp-signing.pem") },
		"label removed":   func(s *corev1.Secret) { delete(s.Labels, tenantconfig.LabelTenant) },
	} {
		secret := f.secret("acme-saml-sp")
		f.update(secret, func() { damage(secret) })
		f.untilSecret("acme-saml-sp", name, same)
	}
	require.NoError(t, f.Delete(t.Context(), f.secret("acme-saml-sp")))
	f.untilSecret("acme-saml-sp", "deleted", same)
	require.Equal(t, key, f.secret("acme-saml-sp-key").Data, "the key stays: the IdP knows its certificate")
}

func TestUnusableKeyIsReportedAndADeletedOneMadeAnew(t *testing.T) {
	f := start(t, "")
	f.create(tenant("acme", startIDP(t, testidp.Options{})))
	f.untilReady("acme")
	key := f.secret("acme-saml-sp-key")
	f.update(key, func() { key.Data["tls.key"] = []byte("garbage") })
	f.untilCondition("acme", v1alpha1.ConditionConfigRendered, metav1.ConditionFalse, v1alpha1.ReasonKeySecretInvalid)
	require.NoError(t, f.Delete(t.Context(), key))
	f.untilReady("acme")
}

func TestRestartRefetchesNothing(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	f.create(tenant("acme", provider))
	before := f.untilReady("acme")
	fetches := provider.Counts().MetadataFetches
	secret := f.secret("acme-saml-sp").ResourceVersion
	f.stop()
	f.run()
	// A second tenant goes through the same queue behind the first.
	f.create(tenant("probe", startIDP(t, testidp.Options{})))
	f.untilReady("probe")
	f.update(before, func() { metav1.SetMetaDataAnnotation(&before.ObjectMeta, "example.com/unrelated", "x") })
	require.Equal(t, fetches, provider.Counts().MetadataFetches)
	require.Equal(t, before.Status, f.untilReady("acme").Status)
	require.Equal(t, secret, f.secret("acme-saml-sp").ResourceVersion, "nothing differs, so nothing is written")
}

// The signature is made anew at each look, and is the same.
func TestSignedMetadataIsWrittenOnce(t *testing.T) {
	f := start(t, "")
	acme := tenant("acme", startIDP(t, testidp.Options{}))
	f.create(acme)
	f.untilReady("acme")
	require.NotContains(t, string(f.secret("acme-saml-sp").Data["sp-metadata.xml"]), "SignatureValue")

	f.update(acme, func() { acme.Spec.ServiceProvider = &v1alpha1.ServiceProvider{SignMetadata: true} })
	require.Eventually(t, func() bool {
		return strings.Contains(string(f.secret("acme-saml-sp").Data["sp-metadata.xml"]), "SignatureValue")
	}, patience, tick)
	before := f.untilReady("acme")
	version := f.secret("acme-saml-sp").ResourceVersion
	f.request(before)
	require.Equal(t, version, f.secret("acme-saml-sp").ResourceVersion)
}

func TestSpecDecidesWhatIsRendered(t *testing.T) {
	f := start(t, "")
	acme := tenant("acme", startIDP(t, testidp.Options{}))
	acme.Spec.AttributeMapping = &v1alpha1.AttributeMapping{Groups: "urn:example:groups"}
	acme.Spec.ServiceProvider = &v1alpha1.ServiceProvider{
		SignAuthnRequests: ptr.To(true), NameIDFormat: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
	}
	acme.Spec.Session = &v1alpha1.Session{MaxDuration: &metav1.Duration{Duration: 30 * 60e9}}
	f.create(acme)
	f.untilReady("acme")
	secret := f.secret("acme-saml-sp")
	c := config(t, secret)
	require.Equal(t, []string{"urn:example:groups"}, c.AttributeMapping.Groups)
	require.Contains(t, c.AttributeMapping.Email, "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress")
	require.True(t, c.ServiceProvider.SignAuthnRequests)
	require.Equal(t, tenantconfig.Session{MaxDuration: 1800, IdleTimeout: 1800}, c.Session)
	require.Contains(t, string(secret.Data["sp-metadata.xml"]), `AuthnRequestsSigned="true"`)
	require.Equal(t, 1, strings.Count(string(secret.Data["sp-metadata.xml"]), "nameid-format:persistent"))
}
