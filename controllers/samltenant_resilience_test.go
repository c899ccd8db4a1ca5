package controllers_test

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// Whoever may edit Secrets can forge a Secret's own hash. What the operator
// makes of such a Secret must be the identity provider's word again, at once.
func TestForgedSecretIsReplacedAtOnce(t *testing.T) {
	f := start(t, "")
	honest, evil := startIDP(t, testidp.Options{}), startIDP(t, testidp.Options{EntityID: "https://evil.example/"})
	sameName := startIDP(t, testidp.Options{})
	for _, name := range []string{"acme", "evil", "same"} {
		f.create(tenant(name, map[string]idp{"acme": honest, "evil": evil, "same": sameName}[name]))
		f.untilReady(name)
	}
	want := f.secret("acme-saml-sp").Data
	for _, other := range []string{"evil-saml-sp", "same-saml-sp"} {
		secret, forged := f.secret("acme-saml-sp"), f.secret(other)
		f.update(secret, func() {
			secret.Data["idp-metadata.xml"] = forged.Data["idp-metadata.xml"]
			secret.Data["idp-signing.pem"] = forged.Data["idp-signing.pem"]
			secret.Annotations[tenantconfig.AnnotationConfigHash] = tenantconfig.Files(secret.Data).Hash()
		})
		f.untilSecret("acme-saml-sp", "the honest IdP's again", func(s *corev1.Secret) bool {
			return tenantconfig.Files(s.Data).Hash() == tenantconfig.Files(want).Hash()
		})
	}
	require.Equal(t, honest.EntityID(), f.untilReady("acme").Status.IDP.EntityID)
}

func TestLongRequestIsHandledOnce(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	f.create(tenant("acme", provider))
	got := f.untilReady("acme")
	before := provider.Counts().MetadataFetches
	long := strings.Repeat("x", 1000)
	f.update(got, func() { metav1.SetMetaDataAnnotation(&got.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, long) })
	f.until("acme", "the request is handled", func(t *v1alpha1.SAMLTenant) bool {
		return t.Status.LastHandledReconcileAt == long[:253]
	})
	f.update(got, func() { got.Spec.DisplayName = "Acme" })
	f.until("acme", "the edit is handled", func(t *v1alpha1.SAMLTenant) bool { return t.Generation == 2 })
	require.Equal(t, before+2, provider.Counts().MetadataFetches)
}

// Two tenants of one second and one name: whoever is configured keeps the host.
func TestOneOfTwoTenantsOfTheSameSecondGetsTheHost(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	pair := []string{"b", "a"}
	for _, name := range pair {
		o := tenant(name, provider)
		o.Spec.CustomerName = "acme"
		f.create(o)
	}
	holders := func() (ready, stalled []string) {
		for _, name := range pair {
			got := &v1alpha1.SAMLTenant{}
			require.NoError(t, f.Get(t.Context(), client.ObjectKey{Name: name}, got))
			for _, c := range got.Status.Conditions {
				switch {
				case c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionTrue:
					ready = append(ready, name)
				case c.Type == v1alpha1.ConditionStalled:
					stalled = append(stalled, name)
				}
			}
		}
		return ready, stalled
	}
	require.Eventually(t, func() bool {
		ready, stalled := holders()
		return len(ready) == 1 && len(stalled) == 1
	}, patience, tick)
	_, stalled := holders()
	secret := &corev1.Secret{}
	if err := f.Get(t.Context(), client.ObjectKey{Name: stalled[0] + "-saml-sp"}, secret); err == nil {
		require.NotContains(t, secret.Labels, tenantconfig.LabelConfig, "the gateway must not serve the loser")
	}
}

func TestSecretThatIsLostWhileTheIDPIsAwayIsSaidSoAndComesBack(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	f.create(tenant("acme", provider))
	got := f.untilReady("acme")
	require.NoError(t, provider.Misbehave(testidp.Unavailable))
	got = f.request(got)
	require.True(t, time.Until(got.Status.NextRefreshTime.Time) > 30*time.Second, "it waits for the background retry")
	require.NoError(t, f.Delete(t.Context(), f.secret("acme-saml-sp")))
	f.untilCondition("acme", v1alpha1.ConditionConfigRendered, metav1.ConditionFalse, v1alpha1.ReasonApplyFailed)
	provider.Behave()
	f.request(got)
	f.untilReady("acme")
}

func TestSecretOfADeletedTenantOfThatNameIsWaitedFor(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	first := tenant("acme", provider)
	f.create(first)
	f.untilReady("acme")
	require.NoError(t, f.Delete(t.Context(), first))
	f.create(tenant("acme", provider))
	// There is no garbage collector here, so the old Secrets stay until then.
	f.untilMessage("acme", "still being removed")
	for _, name := range []string{"acme-saml-sp", "acme-saml-sp-key"} {
		require.NoError(t, f.Delete(t.Context(), f.secret(name)))
	}
	f.untilReady("acme")
}

// providerWith starts an IdP with one key.
func (f *fixture) providerWith(options testidp.KeyOptions) idp {
	f.t.Helper()
	key, err := testidp.NewKey(options)
	require.NoError(f.t, err)
	return startIDP(f.t, testidp.Options{Keys: []*testidp.Key{key}})
}

func TestDatesOfCertificatesDecideReady(t *testing.T) {
	f := start(t, "")
	const day = 24 * time.Hour
	now := time.Now()
	for name, test := range map[string]struct {
		notBefore, notAfter time.Duration
		// accepted is until when expired ones are, 0 if the tenant does not say.
		accepted time.Duration
		status   metav1.ConditionStatus
		reason   string
		ready    bool
	}{
		"expired":        {-2 * day, -day, 0, metav1.ConditionFalse, v1alpha1.ReasonAllExpired, false},
		"future":         {day, 400 * day, 89 * day, metav1.ConditionFalse, v1alpha1.ReasonNotYetValid, false},
		"soon":           {-day, 10 * day, 0, metav1.ConditionTrue, v1alpha1.ReasonExpiringSoon, true},
		"valid":          {-day, 400 * day, 89 * day, metav1.ConditionTrue, v1alpha1.ReasonValid, true},
		"accepted":       {-2 * day, -day, 89 * day, metav1.ConditionTrue, v1alpha1.ReasonExpiredAccepted, true},
		"accepted-once":  {-2 * day, -day, -time.Minute, metav1.ConditionFalse, v1alpha1.ReasonAllExpired, false},
		"accepted-later": {-2 * day, -day, 91 * day, metav1.ConditionFalse, v1alpha1.ReasonAllExpired, false},
	} {
		created := tenant(name, f.providerWith(testidp.KeyOptions{NotBefore: now.Add(test.notBefore), NotAfter: now.Add(test.notAfter)}))
		if test.accepted != 0 {
			created.Spec.AcceptExpiredCertificatesUntil = &metav1.Time{Time: now.Add(test.accepted)}
		}
		f.create(created)
		f.untilCondition(name, v1alpha1.ConditionCertificatesValid, test.status, test.reason)
		if test.ready {
			f.untilReady(name)
		} else {
			f.untilCondition(name, v1alpha1.ConditionReady, metav1.ConditionFalse, test.reason)
		}
	}
	f.untilMessage("accepted-later", "in the 90 days before it")
}

// The gateway ends the grace by its own clock, so the Secret stays as it is.
func TestAGraceForExpiredCertificatesEndsByItself(t *testing.T) {
	f := start(t, "")
	now := time.Now()
	created := tenant("acme", f.providerWith(testidp.KeyOptions{NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-24 * time.Hour)}))
	created.Spec.AcceptExpiredCertificatesUntil = &metav1.Time{Time: now.Add(5 * time.Second)}
	f.create(created)
	f.untilReady("acme")
	hash := f.secret("acme-saml-sp").Annotations[tenantconfig.AnnotationConfigHash]
	f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAllExpired)
	require.Equal(t, hash, f.secret("acme-saml-sp").Annotations[tenantconfig.AnnotationConfigHash])
}

// Metadata that says when it ends is not in order after that, although nothing
// better can be had.
func TestMetadataPastItsValidUntilIsNoLongerReady(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	validUntil := time.Now().Add(4 * time.Second)
	provider.SetMetadataHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = fmt.Fprintf(w, `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://idp.example.test/" validUntil="%s">
<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>%s</X509Certificate></X509Data></KeyInfo></KeyDescriptor>
<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example.test/sso"/></IDPSSODescriptor></EntityDescriptor>`,
			validUntil.UTC().Format(time.RFC3339Nano), certificateText(provider.Certificates()[0]))
	}))
	f.create(tenant("acme", provider))
	got := f.untilReady("acme")
	require.Eventually(t, func() bool { return time.Now().After(validUntil) }, patience, tick)
	f.request(got)
	f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonExpired)
	require.NotNil(t, f.secret("acme-saml-sp").Data, "what was accepted serves on")
}

func certificateText(c *x509.Certificate) string { return base64.StdEncoding.EncodeToString(c.Raw) }

func TestGatewayScaledToZeroServesNobody(t *testing.T) {
	f := start(t, "saml-gateway")
	d := deployment()
	d.Spec.Replicas = ptr.To(int32(0))
	f.create(d)
	f.create(tenant("acme", startIDP(t, testidp.Options{})))
	require.Eventually(t, func() bool {
		f.reportScaledDown() // of whatever template is the newest
		got := &v1alpha1.SAMLTenant{}
		return f.Get(t.Context(), client.ObjectKey{Name: "acme"}, got) == nil && strings.Contains(describe(got), "Ready=False GatewayNotFound") &&
			strings.Contains(describe(got), "scaled to zero")
	}, patience, tick)
}
