package controllers

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// The write of the Secret failed after a key had vanished: the status knows the
// key, and the next run must not take its grace away. A key that only the
// Secret has is nobody's.
func TestGraceOutlivesAFailedWrite(t *testing.T) {
	now := time.Now()
	until := now.Add(20 * time.Minute).Truncate(time.Second)
	known, forged, published := &x509.Certificate{Raw: []byte("known")}, &x509.Certificate{Raw: []byte("forged")}, &x509.Certificate{Raw: []byte("new")}
	s := newScope(&v1alpha1.SAMLTenant{Status: v1alpha1.SAMLTenantStatus{Certificates: []v1alpha1.CertificateStatus{
		{FingerprintSHA256: idpmetadata.Fingerprint(published)},
		{FingerprintSHA256: idpmetadata.Fingerprint(known), TrustedUntil: &metav1.Time{Time: until}},
	}}}, now)
	s.idp = &idpmetadata.Descriptor{EntityID: "https://idp.test/", SigningCertificates: []*x509.Certificate{known, forged}}
	s.unproven = true
	s.beginGrace(&idpmetadata.Descriptor{EntityID: "https://idp.test/", SigningCertificates: []*x509.Certificate{published}})
	require.Equal(t, []withdrawn{{known, until}}, s.withdrawn)

	s.beginGrace(&idpmetadata.Descriptor{EntityID: "https://other.test/", SigningCertificates: []*x509.Certificate{published}})
	require.Empty(t, s.withdrawn)
}
