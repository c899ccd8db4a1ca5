package gateway_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

const jwtHeader = "X-Auth-Request-Jwt"

// identityClaims are what an application reads.
type identityClaims struct {
	Issuer           string    `json:"iss"`
	Audience         string    `json:"aud"`
	Subject          string    `json:"sub"`
	Tenant           string    `json:"tenant"`
	Email            string    `json:"email"`
	Name             string    `json:"name"`
	Groups           *[]string `json:"groups"`
	GroupsIncomplete bool      `json:"groups_incomplete"`
	Roles            []string  `json:"roles"`
	IssuedAt         int64     `json:"iat"`
	NotBefore        int64     `json:"nbf"`
	Expires          int64     `json:"exp"`
	ID               string    `json:"jti"`
}

// publishedKeys are a tenant's keys by ID, in the order of the document.
func (w *world) publishedKeys(tenant string) (keys map[string]ed25519.PublicKey, order []string) {
	w.t.Helper()
	p := w.person()
	a := p.do(p.request(http.MethodGet, site(tenant)+"/saml/jwks", nil))
	var document struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal([]byte(a.body), &document); err != nil || a.StatusCode != http.StatusOK {
		w.t.Fatalf("keys: status %d, %v: %s", a.StatusCode, err, a.body)
	}
	keys = map[string]ed25519.PublicKey{}
	for _, key := range document.Keys {
		x, err := base64.RawURLEncoding.DecodeString(key["x"])
		if err != nil || key["kty"] != "OKP" || key["crv"] != "Ed25519" || key["alg"] != "EdDSA" || key["use"] != "sig" || len(x) != ed25519.PublicKeySize {
			w.t.Fatalf("key: %v", key)
		}
		if _, private := key["d"]; private {
			w.t.Fatal("a private key is published")
		}
		if _, twice := keys[key["kid"]]; twice {
			w.t.Errorf("%s is published twice", key["kid"])
		}
		keys[key["kid"]] = x
		order = append(order, key["kid"])
	}
	return keys, order
}

// token is what the application gets when it is asked for a page.
func (p *person) token(tenant string) string {
	p.t.Helper()
	a := p.get(site(tenant) + "/")
	if a.StatusCode != http.StatusOK {
		p.t.Fatalf("status %d: %s", a.StatusCode, a.body)
	}
	tokens := decodeEcho(p.t, a.body).Header.Values(jwtHeader)
	if len(tokens) != 1 {
		p.t.Fatalf("the application got %d tokens", len(tokens))
	}
	return tokens[0]
}

// verify checks a token by a tenant's published keys, and returns which key has
// signed it.
func (w *world) verify(tenant, token string) (claims identityClaims, kid string) {
	w.t.Helper()
	decode := func(text string) []byte {
		decoded, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			w.t.Fatal(err)
		}
		return decoded
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		w.t.Fatalf("not a token: %q", token)
	}
	var header map[string]string
	if err := json.Unmarshal(decode(parts[0]), &header); err != nil {
		w.t.Fatal(err)
	}
	if header["alg"] != "EdDSA" || header["typ"] != "JWT" || len(header) != 3 {
		w.t.Errorf("header: %v", header)
	}
	keys, _ := w.publishedKeys(tenant)
	key, ok := keys[header["kid"]]
	if !ok || !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), decode(parts[2])) {
		w.t.Fatalf("the signature is not by a published key: %v", header)
	}
	if err := json.Unmarshal(decode(parts[1]), &claims); err != nil {
		w.t.Fatal(err)
	}
	return claims, header["kid"]
}

// Row T8: the application need not believe headers.
func TestT8_IdentityIsSigned(t *testing.T) {
	w := newWorld(t, configured(func(c *tenantconfig.Config) {
		c.Authorization.RoleMappings = []tenantconfig.RoleMapping{{Group: "staff", Role: "member"}}
	}))
	ids := map[string]bool{}
	for _, tenant := range []string{acme, globex} {
		p := w.person()
		p.signIn(tenant)
		claims, _ := w.verify(tenant, p.token(tenant))
		now := w.clock.Now()
		switch {
		case claims.Issuer != site(tenant), claims.Audience != site(tenant), claims.Tenant != tenant:
			t.Errorf("%s: another tenant could take it for its own: %+v", tenant, claims)
		case claims.Subject != "alice@"+tenant+".example", claims.Email != "alice@"+tenant+".example", claims.Name != "Alice Adams":
			t.Errorf("%s: another user: %+v", tenant, claims)
		case claims.Groups == nil, !slices.Equal(*claims.Groups, []string{"staff", "a,b%"}), claims.GroupsIncomplete:
			t.Errorf("%s: groups: %+v", tenant, claims)
		case claims.Roles == nil, slices.Contains(claims.Roles, "member") != (tenant == acme):
			t.Errorf("%s: roles: %+v", tenant, claims)
		case claims.IssuedAt != now.Unix(), claims.NotBefore > now.Unix(), claims.NotBefore < now.Unix()-60, claims.Expires <= now.Unix(), claims.Expires > now.Unix()+300:
			t.Errorf("%s: times: %+v at %d", tenant, claims, now.Unix())
		case claims.ID == "", ids[claims.ID]:
			t.Errorf("%s: ID %q", tenant, claims.ID)
		}
		ids[claims.ID] = true
	}
}

func TestT8_IdentityTokenCannotBeSpoofed(t *testing.T) {
	w := newWorld(t)
	other, p := w.person(), w.person()
	other.signIn(globex)
	p.signIn(acme)
	foreign := other.token(globex)
	r := p.request(http.MethodGet, site(acme)+"/", nil)
	for _, name := range []string{jwtHeader, "x_auth_request_jwt", "X-Auth_Request.Jwt"} {
		r.Header[name] = []string{foreign}
	}
	got := decodeEcho(t, p.do(r).body).Header
	for name, values := range got {
		if slices.Contains(values, foreign) {
			t.Errorf("the application got %s as the client sent it", name)
		}
	}
	if claims, _ := w.verify(acme, got.Get(jwtHeader)); claims.Tenant != acme {
		t.Errorf("claims: %+v", claims)
	}
	// Off, it stays out all the same.
	w.options = append(w.options, func(_ *world, o *gateway.Options) { o.IdentityJWT = nil })
	w.restart()
	if got := decodeEcho(t, p.do(r.Clone(t.Context())).body).Header; len(got.Values(jwtHeader)) != 0 {
		t.Errorf("the application got %q", got.Values(jwtHeader))
	}
	if a := p.get(site(acme) + "/saml/jwks"); a.StatusCode != http.StatusNotFound || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("keys of nothing: status %d", a.StatusCode)
	}
}

func TestIdentityTokenHasTheAudienceThatIsAsked(t *testing.T) {
	w := newWorld(t, func(_ *world, o *gateway.Options) { o.IdentityJWT.Audience = "https://reports.example" })
	for _, tenant := range []string{acme, globex} {
		p := w.person()
		p.signIn(tenant)
		if claims, _ := w.verify(tenant, p.token(tenant)); claims.Audience != "https://reports.example" || claims.Issuer != site(tenant) {
			t.Errorf("claims: %+v", claims)
		}
	}
}

// A token is signed for one request of many, and says what counts now.
func TestT8_IdentityTokenFollowsTheSession(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	first := p.token(acme)
	w.clock.advance(2 * time.Minute)
	if p.token(acme) != first {
		t.Error("a token is signed for each request")
	}
	w.clock.advance(time.Minute)
	second := p.token(acme)
	if claims, _ := w.verify(acme, second); second == first || claims.Expires <= w.clock.Now().Add(4*time.Minute).Unix() {
		t.Errorf("the token is not made anew: %+v", claims)
	}

	c := w.config(acme)
	c.Authorization.RoleMappings = []tenantconfig.RoleMapping{{Group: "staff", Role: "admin"}}
	w.write(c)
	w.eventually("the role is in the token", func() bool {
		claims, _ := w.verify(acme, p.token(acme))
		return slices.Equal(claims.Roles, []string{"admin"})
	})
	c.Authorization.RoleMappings = nil
	w.write(c)
	w.eventually("the role is gone", func() bool {
		claims, _ := w.verify(acme, p.token(acme))
		return len(claims.Roles) == 0
	})

	last := p.token(acme)
	r := p.request(http.MethodPost, site(acme)+"/saml/logout", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	p.do(r)
	if a := p.get(site(acme) + "/"); a.StatusCode == http.StatusOK {
		t.Error("the application is asked after the sign-out")
	}
	p.signIn(acme, replace(testidp.ClaimGroup, "others"))
	claims, _ := w.verify(acme, p.token(acme))
	if p.token(acme) == last || claims.Groups == nil || !slices.Equal(*claims.Groups, []string{"others"}) {
		t.Errorf("after a new sign-in: %+v", claims)
	}
	// It does not outlive the session.
	who, in := p.whoami(acme)
	for remaining := time.Hour; in && remaining > 40*time.Minute; remaining = who.ExpiresAt.Sub(w.clock.Now()) {
		w.clock.advance(30 * time.Minute)
		p.get(site(acme) + "/")
	}
	w.clock.advance(who.ExpiresAt.Sub(w.clock.Now()) - time.Minute)
	claims, _ = w.verify(acme, p.token(acme))
	if !in || claims.Expires != who.ExpiresAt.Unix() {
		t.Errorf("the token counts until %d, the session until %d", claims.Expires, who.ExpiresAt.Unix())
	}
}

// A token that is too long for servers would keep people out.
func TestIdentityTokenLeavesOutTooManyGroups(t *testing.T) {
	for n, complete := range map[int]bool{0: true, 150: true, 300: false} {
		w := newWorld(t)
		p := w.person()
		groups := manyGroups(n)
		p.signIn(acme, replace(testidp.ClaimGroup, groups...))
		token := p.token(acme)
		claims, _ := w.verify(acme, token)
		switch {
		case len(token) > 12<<10:
			t.Errorf("%d groups: the token has %d bytes", n, len(token))
		case complete && (claims.Groups == nil || !slices.Equal(*claims.Groups, groups) || claims.GroupsIncomplete):
			t.Errorf("%d groups: %+v", n, claims)
		case !complete && (claims.Groups != nil || !claims.GroupsIncomplete):
			t.Errorf("%d groups: they are taken for all: %+v", n, claims)
		}
	}
}

// A rotation as docs/guides/identity-headers.md has it: whoever knows the keys
// that were published before it can verify what is signed during it.
func TestO5_RotationOfTheIdentityKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "identity.pem")
	write := func(suffix string, content []byte) {
		t.Helper()
		if err := os.WriteFile(file+suffix+"~", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+suffix+"~", file+suffix); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(suffix string) {
		t.Helper()
		if err := os.Remove(file + suffix); err != nil {
			t.Fatal(err)
		}
	}
	before, after := newIdentityKey(t), newIdentityKey(t)
	write("", before)
	write(".1", before)
	w := newWorld(t, func(_ *world, o *gateway.Options) { o.IdentityJWT.KeyFile = file })
	p := w.person()
	p.signIn(acme)
	old := p.token(acme)
	_, oldKey := w.verify(acme, old)

	remove(".1")
	write(".next", after)
	w.eventually("the next key is published", func() bool { keys, _ := w.publishedKeys(globex); return len(keys) == 2 })
	known, order := w.publishedKeys(acme)
	if _, kid := w.verify(acme, p.token(acme)); kid != oldKey || order[0] != oldKey {
		t.Error("the next key signs before everybody knows it")
	}

	write(".previous", before)
	write("", after)
	remove(".next")
	w.eventually("the next key signs", func() bool {
		_, kid := w.verify(acme, p.token(acme))
		_, ok := known[kid]
		return kid != oldKey && ok
	})
	w.verify(acme, old) // is good until it expires
	write("", []byte("no key"))
	w.eventually("the log tells of a file that is no key", func() bool {
		return strings.Contains(w.log.all(), "the identity keys cannot be used, the keys before stay")
	})
	w.verify(acme, p.token(acme))
	write("", after)

	remove(".previous")
	w.eventually("the key of before is gone", func() bool {
		keys, _ := w.publishedKeys(acme)
		_, there := keys[oldKey]
		return len(keys) == 1 && !there
	})
	w.verify(acme, p.token(acme))
	for _, key := range [][]byte{before, after} {
		if secret := strings.Split(string(key), "\n")[1]; strings.Contains(w.log.all(), secret) {
			t.Error("the log has a key")
		}
	}
}

// newIdentityKey is a key as OpenSSL makes it.
func newIdentityKey(t *testing.T) []byte {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// The key is made once, for its owner alone, and stays.
func TestO5_IdentityKeyIsMadeAtTheFirstStart(t *testing.T) {
	w := newWorld(t)
	_, first := w.publishedKeys(acme)
	info, err := os.Stat(filepath.Join(w.data, "identity.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info, err)
	}
	w.restart()
	if _, second := w.publishedKeys(acme); !slices.Equal(first, second) || len(first) != 1 {
		t.Errorf("keys %v, then %v", first, second)
	}
}
