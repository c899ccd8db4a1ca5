// Package tenant holds the tenants that a gateway serves: it loads each from
// its files once, keeps the last good one when a new set is of no use, and
// finds them by host.
package tenant

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"

	"cequence.cloud/saml-operator/internal/gateway/authorization"
	"cequence.cloud/saml-operator/internal/gateway/pathrules"
	"cequence.cloud/saml-operator/internal/gateway/upstreams"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// minKeyBits is the smallest RSA modulus that we sign or decrypt with.
const minKeyBits = 2048

// Tenant is one tenant, ready to be served: nothing of it is parsed again. It
// is never changed, so any number of requests may share it.
type Tenant struct {
	Config tenantconfig.Config
	// Authorization are the rules of Config.Authorization.
	Authorization *authorization.Rules
	// Paths are the rules of Config.Application.Paths, nil if there are none.
	Paths *pathrules.Rules
	// Upstream is the tenant's own application, nil if it has the gateway's.
	Upstream *url.URL
	// UpstreamRefused says why no request may go to Upstream; nil if they may.
	UpstreamRefused error
	// SigningCertificates are the IdP's, parsed.
	SigningCertificates []*x509.Certificate
	// Key is the SP's own key that signs, nil if the tenant has none.
	Key *rsa.PrivateKey
	// DecryptionKeys are Key and, while it is being replaced, its successor,
	// which comes first.
	DecryptionKeys []*rsa.PrivateKey
	// Metadata is the SP's metadata document.
	Metadata []byte
}

// Name is the tenant's name.
func (t *Tenant) Name() string { return t.Config.Tenant }

// Load makes a Tenant of its files. The name is what the source calls the
// tenant; a configuration that claims another name is refused, so that nobody
// who may write one tenant's files can take over another's.
func Load(name string, files tenantconfig.Files) (*Tenant, error) {
	data, ok := files[tenantconfig.FileConfig]
	if !ok {
		return nil, fmt.Errorf("%s is missing", tenantconfig.FileConfig)
	}
	config, err := tenantconfig.Decode(data)
	if err != nil {
		return nil, err
	}
	if config.Tenant != name {
		return nil, fmt.Errorf("the configuration is of tenant %q", config.Tenant)
	}
	metadata := files[tenantconfig.FileSPMetadata]
	if len(metadata) == 0 {
		return nil, fmt.Errorf("%s is missing", tenantconfig.FileSPMetadata)
	}
	certificates, err := parseCertificates(config.IdentityProvider.SigningCertificates)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(files[tenantconfig.FileCertificate], files[tenantconfig.FileKey])
	if err != nil {
		return nil, err
	}
	if key == nil && config.ServiceProvider.SignAuthnRequests {
		return nil, errors.New("requests must be signed, but the SP key is missing")
	}
	if key == nil && config.ServiceProvider.WantAssertionsEncrypted {
		return nil, errors.New("assertions must be encrypted, but the SP key is missing")
	}
	next, err := parseKey(files[tenantconfig.FileNextCertificate], files[tenantconfig.FileNextKey])
	if err != nil {
		return nil, fmt.Errorf("next: %w", err)
	}
	var decryption []*rsa.PrivateKey
	for _, k := range []*rsa.PrivateKey{next, key} {
		if k != nil {
			decryption = append(decryption, k)
		}
	}
	var upstream *url.URL
	if text := config.Application.Upstream; text != "" {
		if upstream, err = tenantconfig.ParseUpstream(text); err != nil {
			return nil, err
		}
	}
	return &Tenant{Config: config, Paths: pathrules.New(config.Application.Paths), Upstream: upstream, UpstreamRefused: upstreams.ErrNotAllowed, Authorization: authorization.New(config.Authorization), SigningCertificates: certificates, Key: key, DecryptionKeys: decryption, Metadata: metadata}, nil
}

func parseCertificates(encoded []string) ([]*x509.Certificate, error) {
	certificates := make([]*x509.Certificate, 0, len(encoded))
	for i, text := range encoded {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("identityProvider.signingCertificates[%d]: %w", i, err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("identityProvider.signingCertificates[%d]: %w", i, err)
		}
		certificates = append(certificates, certificate)
	}
	return certificates, nil
}

// parseKey returns nil when there is no key at all. Its errors never quote
// what they read.
func parseKey(certificate, key []byte) (*rsa.PrivateKey, error) {
	if len(certificate) == 0 && len(key) == 0 {
		return nil, nil
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("SP key and certificate: %w", err)
	}
	private, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the SP key is not an RSA key")
	}
	if private.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("the SP key has %d bits, want at least %d", private.N.BitLen(), minKeyBits)
	}
	return private, nil
}
