// Package testidp is a SAML 2.0 identity provider for tests and the demo. It
// behaves as Microsoft Entra ID does towards one enterprise application:
// metadata with a byte order mark, its refusals of AuthnRequests, its claims,
// its 70 minutes of validity and its group overage. It rotates keys and
// misbehaves on request.
//
// It shares no code with the gateway or the operator, so that a mistake of
// theirs is not repeated here. It protects nothing: passwords are plain text
// and, unless service providers are registered, anybody gets an assertion.
package testidp

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// DefaultTenantID is the directory (tenant) ID unless Options name another.
const DefaultTenantID = "7d0c8a51-94a3-4c55-9e0e-1b8f3c2b6a40"

// Options of an IDP. The zero value is usable once SetBaseURL was called.
type Options struct {
	// BaseURL is where the handler is reached, without a trailing slash:
	// metadata and sign-on URLs are made from it. SetBaseURL may follow.
	BaseURL string
	// TenantID is the directory ID in the entity ID and in claims.
	TenantID string
	// EntityID is https://sts.windows.net/<TenantID>/ if empty.
	EntityID string
	// Users who can sign in.
	Users []User
	// ServiceProviders by entity ID. If nil, requests of any service provider
	// are answered at the URL that they name.
	ServiceProviders map[string]ServiceProvider
	// Keys to publish, of which the first signs. If empty, one is generated.
	Keys []*Key
	// Signing says what to sign: the assertion, if it is SignDefault.
	Signing Signing
	// NameIDFormat is emailAddress if empty. A request can ask for another.
	NameIDFormat string
	// Clock is time.Now if nil.
	Clock func() time.Time
}

// User of the IdP, with the values of the claims.
type User struct {
	// Name is the user principal name: what the user types, and the claim name.
	Name     string
	Password string
	// NameID is Name if empty.
	NameID      string
	GivenName   string
	Surname     string
	Email       string
	DisplayName string
	// ObjectID is derived from Name if empty.
	ObjectID string
	// Groups are sent as the multi-valued attribute Group, or above GroupLimit
	// as a link to them.
	Groups []string
	// Attributes are added to the claims; one named like a claim replaces it,
	// and one without values removes it.
	Attributes map[string][]string
}

// ServiceProvider is a registered relying party.
type ServiceProvider struct {
	// ACSURL is the only reply URL.
	ACSURL string
	// LogoutURL is where LogoutResponses go. Without it a logout ends at the
	// IdP.
	LogoutURL string
	// VerificationCertificates, if any, make signed requests mandatory. The last
	// two are tried.
	VerificationCertificates []*x509.Certificate
	// EncryptionCertificate, if any, makes assertions encrypted.
	EncryptionCertificate *x509.Certificate
}

// Counts of what an IDP did since it was made.
type Counts struct {
	// MetadataFetches are all requests for metadata, NotModified those which
	// were answered 304.
	MetadataFetches, NotModified int
	// SignIns are the successful responses that were sent by HTTP.
	SignIns int
	// LogoutRequests and LogoutResponses are those that were taken from
	// service providers.
	LogoutRequests, LogoutResponses int
}

// IDP is an identity provider and its http.Handler. It serves
//
//	GET /metadata
//	GET, POST /sso
//	POST /signin
//	GET /{directory}/federationmetadata/2007-06/federationmetadata.xml
//	GET /{directory}/saml2/{application}
//	GET /slo
//
// All methods are safe for concurrent use.
type IDP struct {
	tenantID           string
	entityID           string
	signing            Signing
	nameIDFormat       string
	clock              func() time.Time
	anyServiceProvider bool
	mux                *http.ServeMux
	mu                 sync.Mutex
	baseURL            string
	users              map[string]User
	serviceProviders   map[string]ServiceProvider
	keys               []publishedKey
	nextKeyID          int
	activeKeyID        int
	metadataChanged    time.Time
	metadataHandler    http.Handler
	directoryKey       func() (*Key, error)
	pending            pendingRequests
	counts             Counts
}

// New makes an IDP. It generates an RSA key, which takes a tenth of a second,
// unless Options hold one.
func New(o Options) (*IDP, error) {
	p := &IDP{
		tenantID:           cmp.Or(o.TenantID, DefaultTenantID),
		signing:            cmp.Or(o.Signing, SignAssertion),
		nameIDFormat:       cmp.Or(o.NameIDFormat, nameIDEmailAddress),
		clock:              o.Clock,
		anyServiceProvider: o.ServiceProviders == nil,
		baseURL:            strings.TrimSuffix(o.BaseURL, "/"),
		users:              map[string]User{},
		serviceProviders:   maps.Clone(o.ServiceProviders),
	}
	p.entityID = cmp.Or(o.EntityID, "https://sts.windows.net/"+p.tenantID+"/")
	if p.clock == nil {
		p.clock = time.Now
	}
	if p.serviceProviders == nil {
		p.serviceProviders = map[string]ServiceProvider{}
	}
	for _, u := range o.Users {
		if u.Name == "" {
			return nil, errors.New("a user without a name")
		}
		p.users[userKey(u.Name)] = u
	}
	if len(o.Keys) == 0 {
		key, err := NewKey(KeyOptions{NotBefore: p.now()})
		if err != nil {
			return nil, err
		}
		o.Keys = []*Key{key}
	}
	for _, key := range o.Keys {
		p.publish(key)
	}
	p.directoryKey = sync.OnceValues(func() (*Key, error) { return NewKey(KeyOptions{CommonName: "directory"}) })
	p.activeKeyID = p.keys[0].id
	p.metadataChanged = p.now()
	p.mux = p.routes()
	return p, nil
}

// ServeHTTP implements http.Handler.
func (p *IDP) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

// SetBaseURL says where the handler is reached, once that is known.
func (p *IDP) SetBaseURL(u string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.baseURL = strings.TrimSuffix(u, "/")
	p.metadataChanged = p.now()
}

// EntityID of the IdP.
func (p *IDP) EntityID() string { return p.entityID }

// MetadataURL is where the metadata is served.
func (p *IDP) MetadataURL() string { return p.url("/metadata") }

// SSOURL is the single sign-on service for both bindings.
func (p *IDP) SSOURL() string { return p.url("/sso") }

// SLOURL is the single logout service, for the Redirect binding only.
func (p *IDP) SLOURL() string { return p.url("/slo") }

// SetUser adds a user, or replaces the one of the same name.
func (p *IDP) SetUser(u User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[userKey(u.Name)] = u
}

// SetServiceProvider registers a service provider or replaces its
// registration. From then on only registered ones are answered.
func (p *IDP) SetServiceProvider(entityID string, sp ServiceProvider) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serviceProviders[entityID] = sp
	p.anyServiceProvider = false
}

// Counts so far.
func (p *IDP) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

func (p *IDP) count(add func(*Counts)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	add(&p.counts)
}

func (p *IDP) url(path string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.baseURL + path
}

func (p *IDP) user(name string) (User, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u, ok := p.users[userKey(name)]
	if !ok {
		return User{}, fmt.Errorf("no user %q", name)
	}
	return u, nil
}

// serviceProvider returns the registration of an entity ID, or false if it is
// not known. In the open mode every one is known and has no reply URL.
func (p *IDP) serviceProvider(entityID string) (ServiceProvider, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sp, ok := p.serviceProviders[entityID]
	return sp, ok || p.anyServiceProvider
}

// now is UTC in milliseconds, the finest that SAML promises [SAMLCore 1.3.3].
func (p *IDP) now() time.Time { return p.clock().UTC().Truncate(time.Millisecond) }

// userKey: user principal names do not differ by case.
func userKey(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

func (u User) nameID() string { return cmp.Or(u.NameID, u.Name) }

func (u User) objectID() string {
	if u.ObjectID != "" {
		return u.ObjectID
	}
	h := sha256.Sum256([]byte(userKey(u.Name)))
	s := hex.EncodeToString(h[:16])
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
}

// randomID is an xs:ID: it does not begin with a digit.
func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return "_" + hex.EncodeToString(b[:])
}
