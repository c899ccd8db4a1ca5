package testidp

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// certificateYears is how long an application's certificate of Entra ID lasts.
const certificateYears = 3

// Key is a signing key with its certificate.
type Key struct {
	Signer      crypto.Signer
	Certificate *x509.Certificate
}

// KeyOptions of NewKey. The zero value makes what Entra ID makes: RSA with
// 2048 bits, self-signed, valid for three years.
type KeyOptions struct {
	CommonName string
	Bits       int
	// NotBefore is now if zero, NotAfter three years later.
	NotBefore, NotAfter time.Time
}

// NewKey generates a key.
func NewKey(o KeyOptions) (*Key, error) {
	signer, err := rsa.GenerateKey(rand.Reader, cmp.Or(o.Bits, 2048))
	if err != nil {
		return nil, fmt.Errorf("generate the key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("generate the serial number: %w", err)
	}
	if o.NotBefore.IsZero() {
		o.NotBefore = time.Now()
	}
	if o.NotAfter.IsZero() {
		o.NotAfter = o.NotBefore.AddDate(certificateYears, 0, 0)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: cmp.Or(o.CommonName, "Test IdP SSO Certificate")},
		NotBefore:    o.NotBefore,
		NotAfter:     o.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("make the certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the certificate: %w", err)
	}
	return &Key{Signer: signer, Certificate: certificate}, nil
}

type publishedKey struct {
	*Key
	id int
}

// AddKey generates a key and publishes it in the metadata beside the others.
// It signs nothing until ActivateKey is called with the number returned, as a
// new certificate of Entra ID is inactive at first, unless that of the active
// one has expired: then it signs at once, without a word to anybody.
func (p *IDP) AddKey() (int, error) {
	key, err := NewKey(KeyOptions{NotBefore: p.now()})
	if err != nil {
		return 0, err
	}
	return p.AddExistingKey(key), nil
}

// AddExistingKey is AddKey with a key of the caller's: expired or weak, say.
func (p *IDP) AddExistingKey(key *Key) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.metadataChanged = p.now()
	id := p.publish(key)
	active := p.keys[p.indexOf(p.activeKeyID)]
	if now := p.now(); now.After(active.Certificate.NotAfter) && !now.After(key.Certificate.NotAfter) {
		p.activeKeyID = id
	}
	return id
}

// ActivateKey makes the key sign from now on.
func (p *IDP) ActivateKey(id int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.indexOf(id) < 0 {
		return fmt.Errorf("no key %d", id)
	}
	p.activeKeyID = id
	return nil
}

// RemoveKey takes a key which is not active out of the metadata.
func (p *IDP) RemoveKey(id int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.indexOf(id)
	if i < 0 {
		return fmt.Errorf("no key %d", id)
	}
	if id == p.activeKeyID {
		return fmt.Errorf("key %d is active: activate another first", id)
	}
	p.keys = slices.Delete(p.keys, i, i+1)
	p.metadataChanged = p.now()
	return nil
}

// RotateAbruptly replaces all keys by a new one which signs at once, as in an
// emergency: nobody could see it in the metadata beforehand.
func (p *IDP) RotateAbruptly() error {
	key, err := NewKey(KeyOptions{NotBefore: p.now()})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = nil
	p.activeKeyID = p.publish(key)
	p.metadataChanged = p.now()
	return nil
}

// ActiveKey is the number of the key that signs. The first has number 0.
func (p *IDP) ActiveKey() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.activeKeyID
}

// Certificates in the order of the metadata.
func (p *IDP) Certificates() []*x509.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	certificates := make([]*x509.Certificate, len(p.keys))
	for i, key := range p.keys {
		certificates[i] = key.Certificate
	}
	return certificates
}

func (p *IDP) signingKey() *Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[p.indexOf(p.activeKeyID)].Key
}

func (p *IDP) publish(key *Key) int {
	id := p.nextKeyID
	p.nextKeyID++
	p.keys = append(p.keys, publishedKey{Key: key, id: id})
	return id
}

func (p *IDP) indexOf(id int) int {
	return slices.IndexFunc(p.keys, func(key publishedKey) bool { return key.id == id })
}
