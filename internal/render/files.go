package render

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Files renders the configuration of tenant, whose IdP is idp and whose SP key
// pairs have the given certificates: that in use, and that of its successor if
// there is one. Withdrawn are certificates that idp lists no
// longer and that are trusted all the same for some time. Of the tenant's
// status only sessionsNotBefore counts.
func Files(tenant *v1alpha1.SAMLTenant, base BaseDomain, idp *idpmetadata.Descriptor, withdrawn []*x509.Certificate, spCertificates []*x509.Certificate) (tenantconfig.Files, error) {
	idp = canonical(idp)
	trusted := sorted(slices.Concat(idp.SigningCertificates, withdrawn))
	config := config(tenant, base, idp, trusted)
	encoded, err := tenantconfig.Encode(config)
	if err != nil {
		return nil, err
	}
	idpMetadata, err := idp.Marshal()
	if err != nil {
		return nil, fmt.Errorf("render IdP metadata: %w", err)
	}
	spMetadata, err := spMetadata(config, spCertificates)
	if err != nil {
		return nil, fmt.Errorf("render SP metadata: %w", err)
	}
	return tenantconfig.Files{
		tenantconfig.FileConfig:      encoded,
		tenantconfig.FileIDPMetadata: idpMetadata,
		tenantconfig.FileIDPSigning:  signingPEM(trusted),
		tenantconfig.FileSPMetadata:  spMetadata,
	}, nil
}

// canonical drops what changes from one download to the next without a
// meaning for sign-ins: dates (the tenant's status has them) and the order of
// certificates.
func canonical(idp *idpmetadata.Descriptor) *idpmetadata.Descriptor {
	c := *idp
	c.ValidUntil = time.Time{}
	c.CacheDuration = 0
	c.SigningCertificates = sorted(idp.SigningCertificates)
	return &c
}

func sorted(certificates []*x509.Certificate) []*x509.Certificate {
	return slices.SortedFunc(slices.Values(certificates), func(a, b *x509.Certificate) int {
		return bytes.Compare(a.Raw, b.Raw)
	})
}

func config(tenant *v1alpha1.SAMLTenant, base BaseDomain, idp *idpmetadata.Descriptor, trusted []*x509.Certificate) tenantconfig.Config {
	spec := tenant.Spec
	urls := base.ServiceProvider(spec.CustomerName)
	sp := tenantconfig.ServiceProvider{
		EntityID:          urls.EntityID,
		SignOnURL:         urls.SignOnURL,
		ACSURL:            urls.ACSURL,
		MetadataURL:       urls.MetadataURL,
		SLOURL:            urls.SLOURL,
		SignAuthnRequests: idp.WantAuthnRequestsSigned,
	}
	if spec.ServiceProvider != nil {
		if sign := spec.ServiceProvider.SignAuthnRequests; sign != nil {
			sp.SignAuthnRequests = *sign
		}
		sp.NameIDFormat = spec.ServiceProvider.NameIDFormat
	}
	certificates := make([]string, len(trusted))
	for i, c := range trusted {
		certificates[i] = base64.StdEncoding.EncodeToString(c.Raw)
	}
	lifetime := session(spec.Session)
	if at := tenant.Status.SessionsNotBefore; at != nil {
		lifetime.NotBefore = at.Unix()
	}
	return tenantconfig.Config{
		Version:         tenantconfig.Version,
		Tenant:          tenant.Name,
		CustomerName:    spec.CustomerName,
		DisplayName:     spec.DisplayName,
		Host:            base.Host(spec.CustomerName),
		Disabled:        spec.Access == v1alpha1.AccessDisabled,
		ServiceProvider: sp,
		IdentityProvider: tenantconfig.IdentityProvider{
			EntityID:            idp.EntityID,
			SSO:                 endpoints(idp.SSO),
			SLO:                 endpoints(idp.SLO),
			SigningCertificates: certificates,
		},
		AttributeMapping: attributeMapping(spec.AttributeMapping),
		Session:          lifetime,
	}
}

// endpoints returns those with https, Redirect before POST: a redirect needs no
// script in the browser.
func endpoints(published []idpmetadata.Endpoint) []tenantconfig.Endpoint {
	const https = "https://"
	var ordered []tenantconfig.Endpoint
	for _, binding := range []string{tenantconfig.BindingRedirect, tenantconfig.BindingPOST} {
		for _, e := range published {
			secure := strings.HasPrefix(e.Location, https) && (e.ResponseLocation == "" || strings.HasPrefix(e.ResponseLocation, https))
			if e.Binding == binding && secure {
				ordered = append(ordered, tenantconfig.Endpoint(e))
			}
		}
	}
	return ordered
}

// SSOURL is where users of the IdP are sent first.
func SSOURL(idp *idpmetadata.Descriptor) string { return first(endpoints(idp.SSO)) }

// SLOURL is where users are sent when they sign out; empty if the IdP has no
// single logout.
func SLOURL(idp *idpmetadata.Descriptor) string { return first(endpoints(idp.SLO)) }

func first(endpoints []tenantconfig.Endpoint) string {
	if len(endpoints) == 0 {
		return ""
	}
	return endpoints[0].Location
}

func signingPEM(certificates []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certificates {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.Bytes()
}
