package controllers_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
)

// The two packages may not know each other, and their reasons must be the same
// words, since those of the one become the conditions of the other.
func TestReasonsOfMetadataAreThoseOfTheAPI(t *testing.T) {
	for reason, documented := range map[idpmetadata.Reason]string{
		idpmetadata.DNSFailed:            v1alpha1.ReasonDNSFailed,
		idpmetadata.ConnectFailed:        v1alpha1.ReasonConnectFailed,
		idpmetadata.TLSFailed:            v1alpha1.ReasonTLSFailed,
		idpmetadata.Timeout:              v1alpha1.ReasonTimeout,
		idpmetadata.HTTPStatus:           v1alpha1.ReasonHTTPStatus,
		idpmetadata.TooLarge:             v1alpha1.ReasonTooLarge,
		idpmetadata.RedirectNotAllowed:   v1alpha1.ReasonRedirectNotAllowed,
		idpmetadata.URLNotAllowed:        v1alpha1.ReasonURLNotAllowed,
		idpmetadata.ParseFailed:          v1alpha1.ReasonParseFailed,
		idpmetadata.NoIDPRole:            v1alpha1.ReasonNoIDPRole,
		idpmetadata.AmbiguousEntity:      v1alpha1.ReasonAmbiguousEntity,
		idpmetadata.EntityIDMismatch:     v1alpha1.ReasonEntityIDMismatch,
		idpmetadata.NoSigningCertificate: v1alpha1.ReasonNoSigningCertificate,
		idpmetadata.InsecureEndpoint:     v1alpha1.ReasonInsecureEndpoint,
		idpmetadata.Expired:              v1alpha1.ReasonExpired,
		idpmetadata.SignatureInvalid:     v1alpha1.ReasonSignatureInvalid,
	} {
		require.Equal(t, documented, string(reason))
	}
}
