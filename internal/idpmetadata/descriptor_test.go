package idpmetadata_test

import (
	"encoding/base64"
	"encoding/xml"
	"slices"
	"testing"
	"time"

	"github.com/crewjam/saml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/idpmetadata"
)

func twoKeys(t *testing.T) *idpmetadata.Descriptor {
	t.Helper()
	d, err := idpmetadata.Parse(readFile(t, "hostile", "control-good-two-keys.xml"), "")
	require.NoError(t, err)
	require.Len(t, d.SigningCertificates, 2)
	return d
}

func TestDigest(t *testing.T) {
	digest := twoKeys(t).Digest()
	assert.Regexp(t, `^sha256:[0-9a-f]{64}$`, digest)

	for name, change := range map[string]func(*idpmetadata.Descriptor){
		"order of certificates": func(d *idpmetadata.Descriptor) { slices.Reverse(d.SigningCertificates) },
		"validity":              func(d *idpmetadata.Descriptor) { d.ValidUntil = now },
		"cache duration":        func(d *idpmetadata.Descriptor) { d.CacheDuration = time.Hour },
		"dropped certificates": func(d *idpmetadata.Descriptor) {
			d.DroppedCertificates = []idpmetadata.DroppedCertificate{{Reason: "a"}}
		},
		"an empty list": func(d *idpmetadata.Descriptor) { d.SLO, d.NameIDFormats = []idpmetadata.Endpoint{}, []string{} },
	} {
		d := twoKeys(t)
		change(d)
		assert.Equal(t, digest, d.Digest(), name)
	}

	seen := map[string]string{digest: "unchanged"}
	for name, change := range map[string]func(*idpmetadata.Descriptor){
		"entity ID":       func(d *idpmetadata.Descriptor) { d.EntityID += "x" },
		"SSO location":    func(d *idpmetadata.Descriptor) { d.SSO[0].Location += "x" },
		"SSO binding":     func(d *idpmetadata.Descriptor) { d.SSO[0].Binding = "x" },
		"SSO as SLO":      func(d *idpmetadata.Descriptor) { d.SSO, d.SLO = d.SLO, d.SSO },
		"SLO":             func(d *idpmetadata.Descriptor) { d.SLO = d.SSO },
		"response":        func(d *idpmetadata.Descriptor) { d.SSO[0].ResponseLocation = "x" },
		"one certificate": func(d *idpmetadata.Descriptor) { d.SigningCertificates = d.SigningCertificates[:1] },
		"format":          func(d *idpmetadata.Descriptor) { d.NameIDFormats = []string{"a"} },
		"two formats":     func(d *idpmetadata.Descriptor) { d.NameIDFormats = []string{"a", "b"} },
		"wish":            func(d *idpmetadata.Descriptor) { d.WantAuthnRequestsSigned = true },
	} {
		d := twoKeys(t)
		change(d)
		assert.NotContains(t, seen, d.Digest(), name)
		seen[d.Digest()] = name
	}
}

// A document that is signed anew at each download must change nothing.
func TestDigestIgnoresTheSignature(t *testing.T) {
	var digests []string
	for _, file := range []string{"control-good.xml", "signed-good.xml", "signed-by-other-key-same-subject.xml", "utf16le-bom.xml", "validuntil-offset.xml"} {
		d, err := idpmetadata.Accept(readFile(t, "hostile", file), idpmetadata.Requirements{Now: now})
		require.NoError(t, err)
		digests = append(digests, d.Digest())
	}
	assert.Len(t, slices.Compact(digests), 1)
}

// Other readers of the rendered descriptor understand it, too.
func TestMarshalIsReadByCrewjam(t *testing.T) {
	d, err := idpmetadata.Accept(readFile(t, "real", "ssocircle-pushpabrol.xml"), idpmetadata.Requirements{Now: now})
	require.NoError(t, err)
	d.WantAuthnRequestsSigned = true
	d.ValidUntil = now
	d.CacheDuration = 90 * time.Minute
	assertReadsBack(t, d)

	document, err := d.Marshal()
	require.NoError(t, err)
	var entity saml.EntityDescriptor
	require.NoError(t, xml.Unmarshal(document, &entity))
	assert.Equal(t, d.EntityID, entity.EntityID)
	assert.Equal(t, now, entity.ValidUntil)
	assert.Equal(t, 90*time.Minute, entity.CacheDuration)
	require.Len(t, entity.IDPSSODescriptors, 1)
	role := entity.IDPSSODescriptors[0]
	assert.True(t, *role.WantAuthnRequestsSigned)
	for i, e := range d.SSO {
		assert.Equal(t, saml.Endpoint(e), role.SingleSignOnServices[i])
	}
	for i, e := range d.SLO {
		assert.Equal(t, saml.Endpoint(e), role.SingleLogoutServices[i])
	}
	for i, format := range d.NameIDFormats {
		assert.Equal(t, format, string(role.NameIDFormats[i]))
	}
	require.Len(t, role.KeyDescriptors, len(d.SigningCertificates))
	for i, certificate := range d.SigningCertificates {
		assert.Equal(t, "signing", role.KeyDescriptors[i].Use)
		assert.Equal(t, base64.StdEncoding.EncodeToString(certificate.Raw), role.KeyDescriptors[i].KeyInfo.X509Data.X509Certificates[0].Data)
	}
}

func TestMarshalWithoutValidity(t *testing.T) {
	document, err := twoKeys(t).Marshal()
	require.NoError(t, err)
	assert.NotContains(t, string(document), "validUntil")
	assert.NotContains(t, string(document), "cacheDuration")
}
