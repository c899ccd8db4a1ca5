package session

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeyBytes is the length of the key that all cookies are sealed under.
const KeyBytes = 32

// Purposes: a cookie or link sealed for one is worthless for another.
const (
	purposeSession = "session"
	purposeRequest = "request"
	purposeLogout  = "logout"
	// A test of the connection, and the link to begin one.
	purposeTest     = "test"
	purposeTestLink = "test link"
)

// errUnsealed covers whatever is wrong with a cookie: nobody is to learn more.
var errUnsealed = errors.New("cookie is not one of ours")

// Binding is what a cookie is bound to besides its purpose: it is worthless at
// another host, for another tenant that gets the host later, and once the
// tenant trusts another IdP.
type Binding struct {
	Tenant      string
	Host        string
	IDPEntityID string
}

// Codec seals and opens cookies. It may be used concurrently.
type Codec struct {
	// ring has the keys in use: the first one seals, all of them open.
	ring atomic.Pointer[[]ciphers]
}

// ciphers are derived from one key, for each purpose one.
type ciphers map[string]cipher.AEAD

// NewCodec returns a Codec with these keys, each of KeyBytes random bytes. The
// first one seals, and all of them open.
func NewCodec(keys ...[]byte) (*Codec, error) {
	c := &Codec{}
	if err := c.SetKeys(keys...); err != nil {
		return nil, err
	}
	return c, nil
}

// NewKey returns a new key.
func NewKey() ([]byte, error) {
	key := make([]byte, KeyBytes)
	_, _ = rand.Read(key) // never fails
	return key, nil
}

// CheckKey says what keeps key from being one.
func CheckKey(key []byte) error {
	if len(key) != KeyBytes {
		return fmt.Errorf("it has %d bytes, want %d", len(key), KeyBytes)
	}
	return nil
}

// SetKeys replaces the keys: what was sealed with one that is not among them is
// worthless from now on.
func (c *Codec) SetKeys(keys ...[]byte) error {
	if len(keys) == 0 {
		return errors.New("there is no cookie key")
	}
	ring := make([]ciphers, len(keys))
	for i, key := range keys {
		if err := CheckKey(key); err != nil {
			return fmt.Errorf("cookie key: %w", err)
		}
		ring[i] = ciphers{}
		for _, purpose := range []string{purposeSession, purposeRequest, purposeLogout, purposeTest, purposeTestLink} {
			aead, err := newAEAD(key, purpose)
			if err != nil {
				return err
			}
			ring[i][purpose] = aead
		}
	}
	c.ring.Store(&ring)
	return nil
}

// newAEAD derives a key for one purpose. XChaCha20-Poly1305 has nonces long
// enough to be random under a key that lives for years.
func newAEAD(key []byte, purpose string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, "saml-operator cookie v1 "+purpose, chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive cookie key: %w", err)
	}
	aead, err := chacha20poly1305.NewX(derived)
	if err != nil {
		return nil, fmt.Errorf("derive cookie key: %w", err)
	}
	return aead, nil
}

func (c *Codec) seal(purpose string, to Binding, value any) (string, error) {
	aead := (*c.ring.Load())[0][purpose]
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false) // "&" would take six bytes
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("encode cookie: %w", err)
	}
	plain := bytes.TrimSuffix(encoded.Bytes(), []byte("\n"))
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	_, _ = rand.Read(nonce) // never fails
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, to.associated(purpose))), nil
}

func (c *Codec) open(purpose string, from Binding, text string, value any) error {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return errUnsealed
	}
	associated := from.associated(purpose)
	for _, key := range *c.ring.Load() {
		aead := key[purpose]
		if len(sealed) < aead.NonceSize() {
			return errUnsealed
		}
		plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], associated)
		if err != nil {
			continue
		}
		if err := json.Unmarshal(plain, value); err != nil {
			return errUnsealed
		}
		return nil
	}
	return errUnsealed
}

// associated is unambiguous: neither names nor hosts nor URIs contain NUL.
func (b Binding) associated(purpose string) []byte {
	return []byte(purpose + "\x00" + b.Tenant + "\x00" + b.Host + "\x00" + b.IDPEntityID)
}
