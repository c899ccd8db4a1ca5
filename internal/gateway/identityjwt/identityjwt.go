// Package identityjwt tells the application who is signed in, in tokens that it
// can verify for itself: JSON Web Tokens [RFC 7519], signed with Ed25519
// [RFC 8037], under keys that are published as a JWK Set [RFC 7517].
package identityjwt

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// Lifetime is how long a token counts, unless the session ends before.
	Lifetime = 5 * time.Minute
	// reuse is how long a token is given out: then there is still enough of its
	// life for what the application does with it.
	reuse = Lifetime / 2
	// backdate is how far the application's clock may be behind ours.
	backdate = 30 * time.Second
	// maxGroupsBytes keeps a token below what servers take for one header.
	maxGroupsBytes = 8 << 10
)

// Claims are what a token says of a user.
type Claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub"`
	Tenant   string `json:"tenant"`
	Email    string `json:"email,omitempty"`
	Name     string `json:"name,omitempty"`
	// Groups are not there if they are left out because they are too many; a
	// user without groups has none of them, which is said.
	Groups []string `json:"groups,omitzero"`
	// GroupsIncomplete: there are more groups than Groups says.
	GroupsIncomplete bool     `json:"groups_incomplete,omitempty"`
	Roles            []string `json:"roles"`
}

func (c *Claims) equal(o *Claims) bool {
	return c.Issuer == o.Issuer && c.Audience == o.Audience && c.Subject == o.Subject && c.Tenant == o.Tenant &&
		c.Email == o.Email && c.Name == o.Name && c.GroupsIncomplete == o.GroupsIncomplete &&
		slices.Equal(c.Groups, o.Groups) && slices.Equal(c.Roles, o.Roles)
}

// Issuer makes tokens. It may be used concurrently.
type Issuer struct {
	now   func() time.Time
	keys  atomic.Pointer[keys]
	cache cache
}

// keys are one generation of them.
type keys struct {
	signer    jose.Signer
	published []byte
}

// New returns an Issuer with these keys, each a PEM file as CheckKey takes it.
// The first one signs, and all of them are published.
func New(now func() time.Time, files ...[]byte) (*Issuer, error) {
	i := &Issuer{now: now}
	if err := i.SetKeys(files...); err != nil {
		return nil, err
	}
	return i, nil
}

// SetKeys replaces the keys. No token is given out any more that was signed
// before.
func (i *Issuer) SetKeys(files ...[]byte) error {
	if len(files) == 0 {
		return errors.New("there is no identity key")
	}
	var (
		set   jose.JSONWebKeySet
		first jose.JSONWebKey
	)
	for n, file := range files {
		private, err := parseKey(file)
		if err != nil {
			return fmt.Errorf("identity key: %w", err)
		}
		key := jose.JSONWebKey{Key: private, Algorithm: string(jose.EdDSA), Use: "sig"}
		thumbprint, err := key.Thumbprint(crypto.SHA256) // [RFC 7638]
		if err != nil {
			return fmt.Errorf("identity key: %w", err)
		}
		key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
		if n == 0 {
			first = key
		}
		if len(set.Key(key.KeyID)) == 0 { // a key may be in two files in the midst of a rotation
			set.Keys = append(set.Keys, key.Public())
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: first}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return fmt.Errorf("identity key: %w", err)
	}
	published, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("identity keys: %w", err)
	}
	i.keys.Store(&keys{signer: signer, published: published})
	return nil
}

// JWKS is the document with the public keys.
func (i *Issuer) JWKS() []byte { return i.keys.Load().published }

// Token returns a token for a session that ends at a time, at the latest. It is
// signed only if the one before is getting old or would say something else.
func (i *Issuer) Token(session string, c Claims, end time.Time) (string, error) {
	now, current := i.now(), i.keys.Load()
	if t := i.cache.get(session); t != nil && t.keys == current && now.Before(t.until) && !t.expires.After(end) && t.claims.equal(&c) {
		return t.text, nil
	}
	t := &token{keys: current, claims: c, expires: now.Add(Lifetime), until: now.Add(reuse)}
	if end.Before(t.expires) {
		t.expires, t.until = end, end // a new one would count no longer
	}
	var err error
	if t.text, err = current.sign(c, now, t.expires); err != nil {
		return "", fmt.Errorf("sign identity: %w", err)
	}
	i.cache.put(session, t)
	return t.text, nil
}

func (k *keys) sign(c Claims, now, expires time.Time) (string, error) {
	if c.Roles == nil {
		c.Roles = []string{}
	}
	if c.Groups == nil {
		c.Groups = []string{}
	}
	groups, err := json.Marshal(c.Groups)
	if err != nil {
		return "", err
	}
	if len(groups) > maxGroupsBytes {
		c.Groups, c.GroupsIncomplete = nil, true
	}
	payload, err := json.Marshal(struct {
		Claims
		IssuedAt  int64  `json:"iat"`
		NotBefore int64  `json:"nbf"`
		Expires   int64  `json:"exp"`
		ID        string `json:"jti"`
	}{c, now.Unix(), now.Add(-backdate).Unix(), expires.Unix(), rand.Text()})
	if err != nil {
		return "", err
	}
	signed, err := k.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// pemType is that of PKCS #8. [RFC 7468 10]
const pemType = "PRIVATE KEY"

// NewKey returns a new key, as CheckKey takes it.
func NewKey() ([]byte, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// CheckKey says what keeps a file from being an Ed25519 key, PKCS #8 in PEM.
func CheckKey(file []byte) error {
	_, err := parseKey(file)
	return err
}

// parseKey has errors that never quote what it read.
func parseKey(file []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(file)
	if block == nil || block.Type != pemType {
		return nil, errors.New("there is no " + pemType + " in it, PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is not PKCS #8")
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("it is no Ed25519 key")
	}
	return private, nil
}
