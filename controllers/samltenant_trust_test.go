package controllers_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// trusted returns the fingerprints of the certificates that the gateway gets.
func (f *fixture) trusted(name string) []string {
	f.t.Helper()
	return trustedBy(f.t, f.secret(tenantconfig.ConfigSecretName(name)))
}

func fingerprints(certificates []*x509.Certificate) []string {
	var all []string
	for _, c := range certificates {
		all = append(all, idpmetadata.Fingerprint(c))
	}
	slices.Sort(all)
	return all
}

func TestAKeyThatVanishedIsTrustedForItsGrace(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	acme := tenant("acme", provider)
	acme.Spec.RolloverGrace = &metav1.Duration{Duration: time.Hour}
	f.create(acme)
	f.untilReady("acme")
	before := provider.Certificates()
	err := provider.RotateAbruptly()
	require.NoError(t, err)
	after := provider.Certificates()
	require.NotEqual(t, fingerprints(before), fingerprints(after))

	got := f.request(acme)
	require.Len(t, got.Status.Certificates, 2)
	require.Nil(t, got.Status.Certificates[0].TrustedUntil)
	require.Equal(t, idpmetadata.Fingerprint(after[0]), got.Status.Certificates[0].FingerprintSHA256)
	require.Equal(t, idpmetadata.Fingerprint(before[0]), got.Status.Certificates[1].FingerprintSHA256)
	left := time.Until(got.Status.Certificates[1].TrustedUntil.Time)
	require.True(t, left > 30*time.Minute && left <= time.Hour, "trusted for another %s", left)
	require.True(t, got.Status.EarliestNotAfter.Time.Equal(after[0].NotAfter))
	require.Equal(t, fingerprints(slices.Concat(before, after)), f.trusted("acme"))

	// A restart and a further fetch change nothing of it.
	f.stop()
	f.run()
	again := f.request(acme)
	require.Equal(t, got.Status.Certificates, again.Status.Certificates)

	// An administrator who knows that the key is in wrong hands ends it at once.
	f.update(acme, func() { acme.Spec.RolloverGrace = &metav1.Duration{} })
	f.until("acme", "the grace is over", func(t *v1alpha1.SAMLTenant) bool { return len(t.Status.Certificates) == 1 })
	require.Equal(t, fingerprints(after), f.trusted("acme"))
}

func TestGraceEndsByItself(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	acme := tenant("acme", provider)
	acme.Spec.RolloverGrace = &metav1.Duration{Duration: 2 * time.Second}
	f.create(acme)
	f.untilReady("acme")
	err := provider.RotateAbruptly()
	require.NoError(t, err)
	f.request(acme)
	fetches := provider.Counts().MetadataFetches
	f.untilSecret("acme-saml-sp", "only the new key is trusted", func(s *corev1.Secret) bool {
		return slices.Equal(trustedBy(t, s), fingerprints(provider.Certificates()))
	})
	f.until("acme", "the status says the same", func(t *v1alpha1.SAMLTenant) bool { return len(t.Status.Certificates) == 1 })
	require.Equal(t, fetches, provider.Counts().MetadataFetches)
}

func trustedBy(t *testing.T, secret *corev1.Secret) []string {
	t.Helper()
	var certificates []*x509.Certificate
	for _, encoded := range config(t, secret).IdentityProvider.SigningCertificates {
		certificates = append(certificates, certificateOf(t, encoded))
	}
	return fingerprints(certificates)
}

// A certificate that somebody wrote into the Secret is not trusted, although
// others are in their grace.
func TestOnlyTheStatusVouchesForAWithdrawnKey(t *testing.T) {
	f := start(t, "")
	provider, evil := startIDP(t, testidp.Options{}), startIDP(t, testidp.Options{})
	acme := tenant("acme", provider)
	f.create(acme)
	f.create(tenant("evil", evil))
	f.untilReady("acme")
	f.untilReady("evil")
	before := provider.Certificates()
	err := provider.RotateAbruptly()
	require.NoError(t, err)
	f.request(acme)
	want := fingerprints(slices.Concat(before, provider.Certificates()))
	require.Equal(t, want, f.trusted("acme"))

	secret, forged := f.secret("acme-saml-sp"), f.secret("evil-saml-sp")
	f.update(secret, func() {
		secret.Data["idp-signing.pem"] = slices.Concat(secret.Data["idp-signing.pem"], forged.Data["idp-signing.pem"])
		secret.Data["config.json"] = forged.Data["config.json"]
	})
	f.untilSecret("acme-saml-sp", "the forgery is gone", func(s *corev1.Secret) bool {
		return config(t, s).Tenant == "acme" && slices.Equal(trustedBy(t, s), want)
	})
}

// The keys of an identity provider that was replaced get no grace.
func TestAnotherEntityIDEndsTheTrustInTheOneBefore(t *testing.T) {
	f := start(t, "")
	first, second := startIDP(t, testidp.Options{}), startIDP(t, testidp.Options{EntityID: "https://other.example.test/"})
	acme := tenant("acme", first)
	f.create(acme)
	f.untilReady("acme")
	f.update(acme, func() {
		acme.Spec.MetadataURL, acme.Spec.MetadataCA = second.MetadataURL(), second.ca
		acme.Spec.IDPEntityID = second.EntityID()
	})
	got := f.untilReady("acme")
	require.Equal(t, second.EntityID(), got.Status.IDP.EntityID)
	require.Equal(t, fingerprints(second.Certificates()), f.trusted("acme"))
	f.untilEvent("acme", corev1.EventTypeWarning, v1alpha1.EventSSOHostChanged, "now sent")
}

func certificateOf(t *testing.T, encoded string) *x509.Certificate {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

// An administrator takes the digest from the status and accepts that document,
// and no other.
func TestAnotherEntityIDIsAcceptedByItsDigest(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	acme := tenant("acme", provider)
	f.create(acme)
	before := f.untilReady("acme")
	require.NoError(t, provider.Misbehave(testidp.ChangedEntityID))
	got := f.request(acme)
	f.untilCondition("acme", v1alpha1.ConditionMetadataAccepted, metav1.ConditionFalse, v1alpha1.ReasonEntityIDMismatch)
	require.Equal(t, before.Status.IDP.EntityID, got.Status.IDP.EntityID)
	digest := got.Status.RejectedDigest
	require.NotEmpty(t, digest)

	f.update(acme, func() {
		metav1.SetMetaDataAnnotation(&acme.ObjectMeta, v1alpha1.AnnotationAcceptMetadata, before.Status.IDP.Digest)
	})
	f.request(acme)
	f.untilCondition("acme", v1alpha1.ConditionMetadataAccepted, metav1.ConditionFalse, v1alpha1.ReasonEntityIDMismatch)
	f.update(acme, func() { metav1.SetMetaDataAnnotation(&acme.ObjectMeta, v1alpha1.AnnotationAcceptMetadata, digest) })
	got = f.untilCondition("acme", v1alpha1.ConditionMetadataAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	require.NotEqual(t, before.Status.IDP.EntityID, got.Status.IDP.EntityID)
	require.Equal(t, digest, got.Status.IDP.Digest)
	require.Empty(t, got.Status.RejectedDigest)

	// The one before is the stranger now.
	provider.Behave()
	f.request(acme)
	f.untilCondition("acme", v1alpha1.ConditionMetadataAccepted, metav1.ConditionFalse, v1alpha1.ReasonEntityIDMismatch)
}

func TestUnsignedMetadataIsRefusedWhereASignerIsPinned(t *testing.T) {
	f := start(t, "")
	provider := startIDP(t, testidp.Options{})
	acme := tenant("acme", provider)
	f.create(acme)
	f.untilReady("acme")
	f.update(acme, func() {
		acme.Spec.MetadataSigningCertificates = []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: provider.Certificates()[0].Raw}))}
	})
	f.untilCondition("acme", v1alpha1.ConditionMetadataAccepted, metav1.ConditionFalse, v1alpha1.ReasonSignatureInvalid)
	f.update(acme, func() {
		acme.Spec.MetadataSigningCertificates = []string{"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"}
	})
	f.untilMessage("acme", "metadataSigningCertificates")
}
