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
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeyBytes is the length of the key that all cookies are sealed under.
const KeyBytes = 32

// Purposes: a cookie sealed for one is worthless for another.
const (
	purposeSession = "session"
	purposeRequest = "request"
	purposeLogout  = "logout"
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
	session, request, logout cipher.AEAD
}

// NewCodec returns a Codec with the given key of KeyBytes random bytes.
func NewCodec(key []byte) (*Codec, error) {
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("cookie key has %d bytes, want %d", len(key), KeyBytes)
	}
	c := &Codec{}
	for purpose, aead := range map[string]*cipher.AEAD{
		purposeSession: &c.session, purposeRequest: &c.request, purposeLogout: &c.logout,
	} {
		var err error
		if *aead, err = newAEAD(key, purpose); err != nil {
			return nil, err
		}
	}
	return c, nil
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

func seal(aead cipher.AEAD, purpose string, to Binding, value any) (string, error) {
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

func open(aead cipher.AEAD, purpose string, to Binding, text string, value any) error {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(sealed) < aead.NonceSize() {
		return errUnsealed
	}
	nonce, ciphertext := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
	plain, err := aead.Open(nil, nonce, ciphertext, to.associated(purpose))
	if err != nil {
		return errUnsealed
	}
	if err := json.Unmarshal(plain, value); err != nil {
		return errUnsealed
	}
	return nil
}

// associated is unambiguous: neither names nor hosts nor URIs contain NUL.
func (b Binding) associated(purpose string) []byte {
	return []byte(purpose + "\x00" + b.Tenant + "\x00" + b.Host + "\x00" + b.IDPEntityID)
}

// LoadOrCreateKey reads the cookie key from file, or creates it with mode 0600
// at the first start. Two processes that start at once get the same key.
func LoadOrCreateKey(file string) ([]byte, error) {
	key, err := LoadKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(file); err != nil {
			return nil, fmt.Errorf("create cookie key: %w", err)
		}
		return LoadKey(file)
	}
	return key, err
}

// LoadKey reads the cookie key from file.
func LoadKey(file string) ([]byte, error) {
	key, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("read cookie key: %w", err)
	}
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("cookie key %s has %d bytes, want %d: remove it to get a new one, which ends all sessions", file, len(key), KeyBytes)
	}
	return key, nil
}

// createKey writes the key beside file and links it into place, so that file
// is complete from its first moment, and a key that is there is never replaced.
func createKey(file string) (err error) {
	key := make([]byte, KeyBytes)
	_, _ = rand.Read(key)                                        // never fails
	f, err := os.CreateTemp(filepath.Dir(file), ".cookie-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
