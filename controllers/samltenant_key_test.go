package controllers_test

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/spkey"
	"cequence.cloud/saml-operator/internal/testidp"
)

func (f *fixture) askForANewKey(tenant *v1alpha1.SAMLTenant, at string) {
	f.t.Helper()
	f.update(tenant, func() {
		metav1.SetMetaDataAnnotation(&tenant.ObjectMeta, v1alpha1.AnnotationRotateKeyRequestedAt, at)
	})
}

func (f *fixture) overlap(tenant *v1alpha1.SAMLTenant, d time.Duration) {
	f.t.Helper()
	f.update(tenant, func() {
		if tenant.Spec.ServiceProvider == nil {
			tenant.Spec.ServiceProvider = &v1alpha1.ServiceProvider{}
		}
		tenant.Spec.ServiceProvider.KeyRotation = &v1alpha1.KeyRotation{Overlap: &metav1.Duration{Duration: d}}
	})
}

func TestSPKeyIsReplacedWithAnOverlap(t *testing.T) {
	f := start(t, "")
	acme := tenant("acme", startIDP(t, testidp.Options{}))
	f.create(acme)
	got := f.untilReady("acme")
	first := f.secret("acme-saml-sp-key").Data
	require.NotNil(t, got.Status.Key.NextRotationTime)
	require.Nil(t, got.Status.Key.Next)

	f.askForANewKey(acme, "1")
	got = f.until("acme", "a successor is published", func(t *v1alpha1.SAMLTenant) bool { return t.Status.Key.Next != nil })
	require.Equal(t, "1", got.Status.Key.LastHandledRotateAt)
	require.True(t, time.Until(got.Status.Key.Next.SignsFrom.Time) > 13*24*time.Hour)
	both := f.secret("acme-saml-sp-key").Data
	require.Equal(t, first["tls.key"], both["tls.key"], "the key before still signs")
	next, err := spkey.Certificate(both["next.key"], both["next.crt"])
	require.NoError(t, err)
	require.Equal(t, idpmetadata.Fingerprint(next), got.Status.Key.Next.FingerprintSHA256)
	f.untilEvent("acme", corev1.EventTypeNormal, v1alpha1.EventKeyRotated, "takes over at")
	metadata := string(f.secret("acme-saml-sp").Data["sp-metadata.xml"])
	require.Contains(t, metadata, certificateText(next))

	// Neither a restart nor another look makes a further key.
	f.stop()
	f.run()
	f.request(acme)
	require.Equal(t, both, f.secret("acme-saml-sp-key").Data)

	f.overlap(acme, 0)
	got = f.until("acme", "the successor took over", func(t *v1alpha1.SAMLTenant) bool {
		return t.Status.Key.Next == nil && t.Status.Key.FingerprintSHA256 == idpmetadata.Fingerprint(next)
	})
	last := f.secret("acme-saml-sp-key")
	require.ElementsMatch(t, []string{"tls.key", "tls.crt"}, keys(last.Data))
	require.Equal(t, both["next.key"], last.Data["tls.key"])
	require.NotContains(t, last.Annotations, "sso.cequence.cloud/next-key-published-at")
	require.NotNil(t, got.Status.Key.NextRotationTime)
	f.untilReady("acme")

	// To take the request back, as GitOps tools do, asks for nothing.
	f.update(acme, func() { delete(acme.Annotations, v1alpha1.AnnotationRotateKeyRequestedAt) })
	f.until("acme", "the request is forgotten", func(t *v1alpha1.SAMLTenant) bool { return t.Status.Key.LastHandledRotateAt == "" })
	require.Equal(t, last.Data, f.secret("acme-saml-sp-key").Data)
}

// What comes back from a backup has annotations and no status.
func TestARequestWithoutAStatusMakesNoFurtherKey(t *testing.T) {
	f := start(t, "")
	acme := tenant("acme", startIDP(t, testidp.Options{}))
	f.create(acme)
	f.untilReady("acme")
	f.askForANewKey(acme, "1")
	f.overlap(acme, 0)
	f.until("acme", "the successor took over", func(t *v1alpha1.SAMLTenant) bool {
		return t.Status.Key.LastHandledRotateAt == "1" && t.Status.Key.Next == nil
	})
	pair := f.secret("acme-saml-sp-key").Data
	f.stop()
	lost := acme.DeepCopy()
	lost.Status = v1alpha1.SAMLTenantStatus{}
	require.NoError(t, f.Status().Patch(t.Context(), lost, client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/status"}]`))))
	f.run()
	got := f.untilReady("acme")
	require.Equal(t, "1", got.Status.Key.LastHandledRotateAt)
	require.Equal(t, pair, f.secret("acme-saml-sp-key").Data)
}

// pairIn is a Secret as cert-manager writes it.
func pairIn(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	key, certificate, err := spkey.Generate("acme", time.Now())
	require.NoError(t, err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.key": key, "tls.crt": certificate},
	}
}

func TestSPKeyOfSomebodyElse(t *testing.T) {
	f := start(t, "")
	acme := tenant("acme", startIDP(t, testidp.Options{}))
	acme.Spec.ServiceProvider = &v1alpha1.ServiceProvider{KeySecretRef: &v1alpha1.SecretReference{Name: "acme-tls"}}
	f.create(acme)
	f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonKeySecretInvalid)

	// It comes, and is copied.
	theirs := pairIn(t, "acme-tls")
	f.create(theirs)
	got := f.untilReady("acme")
	require.Equal(t, theirs.Data, f.secret("acme-saml-sp-key").Data)
	require.Nil(t, got.Status.Key.NextRotationTime)

	// Another key gets an overlap.
	renewed := pairIn(t, "acme-tls")
	f.update(theirs, func() { theirs.Data = renewed.Data })
	f.until("acme", "the new pair is published", func(t *v1alpha1.SAMLTenant) bool { return t.Status.Key.Next != nil })
	both := f.secret("acme-saml-sp-key").Data
	require.Equal(t, renewed.Data["tls.key"], both["next.key"])
	require.NotEqual(t, renewed.Data["tls.key"], both["tls.key"])
	f.overlap(acme, 0)
	f.until("acme", "it took over", func(t *v1alpha1.SAMLTenant) bool { return t.Status.Key.Next == nil })
	require.Equal(t, renewed.Data, f.secret("acme-saml-sp-key").Data)

	// What was copied serves on when theirs is of no use, or gone.
	f.update(theirs, func() { theirs.Data["tls.key"] = []byte("x") })
	f.untilCondition("acme", v1alpha1.ConditionConfigRendered, metav1.ConditionTrue, v1alpha1.ReasonKeySecretInvalid)
	f.untilEvent("acme", corev1.EventTypeWarning, v1alpha1.ReasonKeySecretInvalid, "serves on")
	f.untilReady("acme")
	require.NoError(t, f.Delete(t.Context(), theirs))
	f.untilMessage("acme", "there is no Secret")
	require.Equal(t, renewed.Data, f.secret("acme-saml-sp-key").Data)

	// Without the reference the operator makes the pairs: the one that others
	// know as well gets a successor.
	f.update(acme, func() {
		acme.Spec.ServiceProvider = &v1alpha1.ServiceProvider{KeyRotation: &v1alpha1.KeyRotation{Overlap: &metav1.Duration{Duration: time.Hour}}}
	})
	got = f.until("acme", "a pair of ours is published", func(t *v1alpha1.SAMLTenant) bool { return t.Status.Key.Next != nil })
	require.Equal(t, renewed.Data["tls.key"], f.secret("acme-saml-sp-key").Data["tls.key"])
	require.WithinDuration(t, time.Now().Add(time.Hour), got.Status.Key.Next.SignsFrom.Time, time.Minute)
	f.untilCondition("acme", v1alpha1.ConditionConfigRendered, metav1.ConditionTrue, v1alpha1.ReasonApplied)
	f.overlap(acme, 0)
	f.until("acme", "it took over", func(t *v1alpha1.SAMLTenant) bool { return t.Status.Key.NextRotationTime != nil })
}

// A reference that is of no use says so, and takes nothing from a tenant that
// has a pair: its identity provider's keys are followed as before.
func TestSPKeyThatCannotBeTakenOver(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	acme, globex := tenant("acme", provider), tenant("globex", provider)
	f.create(acme)
	f.create(globex)
	f.untilReady("globex")
	f.untilReady("acme")
	first := f.secret("acme-saml-sp-key").Data

	weak, opaque, chain := pairIn(t, "weak"), pairIn(t, "opaque"), pairIn(t, "chain")
	short, err := testidp.NewKey(testidp.KeyOptions{Bits: 1024})
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(short.Signer)
	require.NoError(t, err)
	weak.Data = map[string][]byte{
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: short.Certificate.Raw}),
	}
	opaque.Type = corev1.SecretTypeOpaque
	leaf := chain.Data["tls.crt"]
	chain.Data["tls.crt"] = slices.Concat(leaf, pairIn(t, "issuer").Data["tls.crt"])
	for _, s := range []*corev1.Secret{weak, opaque, chain} {
		f.create(s)
	}
	refer := func(name string) {
		f.update(acme, func() {
			acme.Spec.ServiceProvider = &v1alpha1.ServiceProvider{KeySecretRef: &v1alpha1.SecretReference{Name: name}}
		})
	}
	for name, cause := range map[string]string{
		"missing":            "there is no Secret",
		"weak":               "1024 bits",
		"opaque":             "not of the type kubernetes.io/tls",
		"globex-saml-sp-key": "a tenant's own",
	} {
		refer(name)
		f.untilMessage("acme", cause)
		got := f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonKeySecretInvalid)
		require.Contains(t, meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionConfigRendered).Message, "serves on")
		require.Equal(t, first, f.secret("acme-saml-sp-key").Data)
	}
	require.NoError(t, provider.RotateAbruptly())
	f.request(acme)
	f.untilSecret("acme-saml-sp", "the identity provider's new key is trusted", func(s *corev1.Secret) bool {
		return strings.Count(string(s.Data["idp-signing.pem"]), "BEGIN CERTIFICATE") == 2
	})

	refer("chain")
	f.until("acme", "it is published", func(t *v1alpha1.SAMLTenant) bool { return t.Status.Key.Next != nil })
	require.Equal(t, leaf, f.secret("acme-saml-sp-key").Data["next.crt"], "of a chain only the certificate of the key counts")
	f.untilReady("acme")
}

// The overlap begins when the SP metadata lists both, whatever came in between.
func TestOverlapBeginsWithTheMetadata(t *testing.T) {
	f := start(t, "")
	acme := tenant("acme", startIDP(t, testidp.Options{}))
	f.create(acme)
	f.untilReady("acme")
	f.stop()

	// An operator made the next pair, and was stopped before it could publish it.
	next := pairIn(t, "").Data
	secret := f.secret("acme-saml-sp-key")
	f.update(secret, func() {
		secret.Data["next.key"], secret.Data["next.crt"] = next["tls.key"], next["tls.crt"]
	})
	f.run()
	got := f.until("acme", "it is published", func(t *v1alpha1.SAMLTenant) bool { return t.Status.Key != nil && t.Status.Key.Next != nil })
	require.WithinDuration(t, time.Now().Add(14*24*time.Hour), got.Status.Key.Next.SignsFrom.Time, time.Minute)
	require.Equal(t, next["tls.key"], f.secret("acme-saml-sp-key").Data["next.key"])

	// A shorter overlap counts from then on, not from the time of the edit.
	f.overlap(acme, time.Hour)
	shorter := f.until("acme", "the overlap is shorter", func(t *v1alpha1.SAMLTenant) bool {
		return t.Status.ObservedGeneration == t.Generation && !t.Status.Key.Next.SignsFrom.Equal(&got.Status.Key.Next.SignsFrom)
	})
	require.True(t, shorter.Status.Key.Next.SignsFrom.Equal(&metav1.Time{Time: got.Status.Key.Next.SignsFrom.Add(-14*24*time.Hour + time.Hour)}))
}
