package render

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// SPKeys are the key pairs of a tenant's service provider.
type SPKeys struct {
	// Certificates are that of the pair in use, and that of its successor if
	// there is one.
	Certificates []*x509.Certificate
	// Signer is the key in use; nil where a tenant has its metadata not signed.
	Signer crypto.Signer
}

// Files renders the configuration of tenant, whose IdP is idp. Withdrawn are
// certificates that idp lists no longer and that are trusted all the same for
// some time. Of the tenant's status only sessionsNotBefore counts.
func Files(tenant *v1alpha1.SAMLTenant, base BaseDomain, idp *idpmetadata.Descriptor, withdrawn []*x509.Certificate, sp SPKeys, tokens SCIMTokens) (files tenantconfig.Files, err error) {
	idp = canonical(idp)
	trusted := sorted(slices.Concat(idp.SigningCertificates, withdrawn))
	config := config(tenant, base, idp, trusted)
	if config.Application, err = application(tenant); err != nil {
		return nil, err
	}
	if config.Provisioning.SCIM != nil {
		config.Provisioning.SCIM.TokenSHA256 = append([]string{}, tokens...)
	}
	encoded, err := tenantconfig.Encode(config)
	if err != nil {
		return nil, err
	}
	idpMetadata, err := idp.Marshal()
	if err != nil {
		return nil, fmt.Errorf("render IdP metadata: %w", err)
	}
	signer := sp.Signer
	if !SignsMetadata(tenant) {
		signer = nil
	} else if signer == nil {
		return nil, errors.New("render SP metadata: there is no key to sign it")
	}
	spMetadata, err := spMetadata(config, sp.Certificates, signer)
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

// SignsMetadata tells whether the tenant wants its SP metadata to be signed.
func SignsMetadata(tenant *v1alpha1.SAMLTenant) bool {
	return tenant.Spec.ServiceProvider != nil && tenant.Spec.ServiceProvider.SignMetadata
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
	if wanted := spec.ServiceProvider; wanted != nil {
		if sign := wanted.SignAuthnRequests; sign != nil {
			sp.SignAuthnRequests = *sign
		}
		sp.NameIDFormat = wanted.NameIDFormat
		sp.ForceAuthn = wanted.ForceAuthn
		sp.WantAssertionsEncrypted = wanted.WantAssertionsEncrypted
		if context := wanted.RequestedAuthnContext; context != nil {
			sp.RequestedAuthnContext = &tenantconfig.RequestedAuthnContext{
				ClassRefs: context.ClassRefs, Comparison: cmp.Or(context.Comparison, tenantconfig.ComparisonExact),
			}
		}
		if wanted.AllowIDPInitiated != v1alpha1.IDPInitiatedRefuse {
			sp.IDPInitiated = tenantconfig.IDPInitiated(wanted.AllowIDPInitiated)
		}
	}
	certificates := make([]string, len(trusted))
	for i, c := range trusted {
		certificates[i] = base64.StdEncoding.EncodeToString(c.Raw)
	}
	var acceptExpiredUntil int64
	if until := spec.AcceptExpiredCertificatesUntil; until != nil {
		acceptExpiredUntil = until.Unix()
	}
	lifetime := session(spec.Session)
	if at := tenant.Status.SessionsNotBefore; at != nil {
		lifetime.NotBefore = at.Unix()
	}
	mapping := attributeMapping(spec.AttributeMapping)
	mapping.TolerateGroupOverage = spec.Authorization != nil && spec.Authorization.GroupOverage == v1alpha1.GroupOverageTolerate
	return tenantconfig.Config{
		Tenant:          tenant.Name,
		CustomerName:    spec.CustomerName,
		DisplayName:     spec.DisplayName,
		Host:            base.Host(spec.CustomerName),
		Disabled:        spec.Access == v1alpha1.AccessDisabled,
		ServiceProvider: sp,
		IdentityProvider: tenantconfig.IdentityProvider{
			EntityID:            idp.EntityID,
			SSO:                 ssoEndpoints(tenant, idp),
			SLO:                 endpoints(idp.SLO, false),
			SigningCertificates: certificates,
			AcceptExpiredUntil:  acceptExpiredUntil,
		},
		AttributeMapping: mapping,
		Authorization:    authorization(spec.Authorization),
		Provisioning:     provisioning(spec.Provisioning),
		Session:          lifetime,
	}
}

// ssoEndpoints returns the https endpoints, those of the binding that the tenant
// wants first. A wish that the IdP does not meet must not keep a configuration
// from being written, since that may have to keep people out.
func ssoEndpoints(tenant *v1alpha1.SAMLTenant, idp *idpmetadata.Descriptor) []tenantconfig.Endpoint {
	sp := tenant.Spec.ServiceProvider
	return endpoints(idp.SSO, sp != nil && sp.RequestBinding == v1alpha1.RequestBindingPOST)
}

// endpoints returns those with https, Redirect first unless POST is to be: a
// redirect needs no script in the browser.
func endpoints(published []idpmetadata.Endpoint, postFirst bool) []tenantconfig.Endpoint {
	const https = "https://"
	bindings := []string{tenantconfig.BindingRedirect, tenantconfig.BindingPOST}
	if postFirst {
		slices.Reverse(bindings)
	}
	var ordered []tenantconfig.Endpoint
	for _, binding := range bindings {
		for _, e := range published {
			secure := strings.HasPrefix(e.Location, https) && (e.ResponseLocation == "" || strings.HasPrefix(e.ResponseLocation, https))
			if e.Binding == binding && secure {
				ordered = append(ordered, tenantconfig.Endpoint(e))
			}
		}
	}
	return ordered
}

// SSOURL is where the tenant's users are sent to sign in.
func SSOURL(tenant *v1alpha1.SAMLTenant, idp *idpmetadata.Descriptor) string {
	return first(ssoEndpoints(tenant, idp))
}

// SLOURL is where users are sent when they sign out; empty if the IdP has no
// single logout.
func SLOURL(idp *idpmetadata.Descriptor) string { return first(endpoints(idp.SLO, false)) }

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
