// Package tenantconfig is the contract between the operator, which writes a
// tenant's configuration, and the gateway, which serves it: a versioned Config
// in canonical JSON, the names of the files around it, and the hash over them.
//
// The same files are the data of two Kubernetes Secrets or lie in a directory
// DIR/<tenant>/. The package knows neither Kubernetes nor SAML libraries.
package tenantconfig

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Version is the latest version of Config that this code reads and writes. It
// changes only when a reader of the version before would misunderstand a
// configuration; new fields that a reader may ignore do not change it.
//
// A configuration has the first version whose readers understand it, so that a
// release changes nothing for tenants that do not use what is new. Version 2
// has rules on who may come in: a reader of version 1 would let everybody in,
// and so does not get to read them. Version 3 has rules on who may go where in
// the application, and tenants with an application of their own.
const (
	Version            = 3
	firstVersion       = 1
	restrictedVersion  = 2
	applicationVersion = 3
)

// ErrUnsupportedVersion says that a configuration is of a version this code
// cannot read. A gateway that meets it keeps what it served before.
var ErrUnsupportedVersion = errors.New("unsupported configuration version")

// SAML bindings that an endpoint may have. [SAMLBind 3.4, 3.5]
const (
	BindingRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	BindingPOST     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
)

// Config is all that the gateway must know to serve one tenant, but for the
// private key.
type Config struct {
	// Version is set by Encode.
	Version int `json:"version"`
	// Tenant is the name of the SAMLTenant.
	Tenant string `json:"tenant"`
	// CustomerName is the first label of Host.
	CustomerName string `json:"customerName"`
	// DisplayName is for people; it may be empty.
	DisplayName string `json:"displayName,omitempty"`
	// Host is the lower-case host name that selects this tenant, without a port.
	Host string `json:"host"`
	// Disabled: sign-ins are refused, and nobody has a session.
	Disabled         bool             `json:"disabled,omitempty"`
	ServiceProvider  ServiceProvider  `json:"serviceProvider"`
	IdentityProvider IdentityProvider `json:"identityProvider"`
	AttributeMapping AttributeMapping `json:"attributeMapping"`
	Authorization    Authorization    `json:"authorization,omitzero"`
	Provisioning     Provisioning     `json:"provisioning,omitzero"`
	Application      Application      `json:"application,omitzero"`
	Session          Session          `json:"session"`
}

// restricted says whether c has rules that keep users out.
func (c Config) restricted() bool {
	return c.Authorization.AllowedGroups != nil || c.Authorization.AllowedEmailDomains != nil ||
		c.Provisioning.Mode != ProvisioningJustInTime || c.Provisioning.MaxUsers != 0
}

// version is the first one whose readers understand c.
func (c Config) version() int {
	switch {
	case c.Application.restricted():
		return applicationVersion
	case c.restricted():
		return restrictedVersion
	}
	return firstVersion
}

// ServiceProvider is our side: what the customer's administrator has entered
// at the IdP, and how requests are made.
type ServiceProvider struct {
	EntityID    string `json:"entityID"`
	SignOnURL   string `json:"signOnURL"`
	ACSURL      string `json:"acsURL"`
	MetadataURL string `json:"metadataURL"`
	// SLOURL takes the IdP's logout messages. Without it, as configurations of
	// earlier releases are, there is no single logout.
	SLOURL string `json:"sloURL,omitempty"`
	// SignAuthnRequests: requests carry an RSA-SHA256 signature by the SP key.
	SignAuthnRequests bool `json:"signAuthnRequests,omitempty"`
	// NameIDFormat is asked for in requests; empty leaves the choice to the IdP.
	NameIDFormat string `json:"nameIDFormat,omitempty"`
	// ForceAuthn: every request asks for an authentication anew, and an older
	// one is refused.
	ForceAuthn            bool                   `json:"forceAuthn,omitempty"`
	RequestedAuthnContext *RequestedAuthnContext `json:"requestedAuthnContext,omitempty"`
	// WantAssertionsEncrypted: a plain assertion is refused.
	WantAssertionsEncrypted bool `json:"wantAssertionsEncrypted,omitempty"`
	// IDPInitiated says what becomes of a response to no request; empty is
	// IDPInitiatedRefuse.
	IDPInitiated IDPInitiated `json:"allowIDPInitiated,omitempty"`
}

// RequestedAuthnContext is a wish for ways of authentication.
// [SAMLCore 3.3.2.2.1]
type RequestedAuthnContext struct {
	ClassRefs []string `json:"classRefs"`
	// Comparison is one of SAML's; with ComparisonExact the answer has to name
	// one of ClassRefs.
	Comparison string `json:"comparison"`
}

// ComparisonExact is the comparison that the gateway can hold an answer to.
const ComparisonExact = "exact"

// IDPInitiated says what becomes of a response to no request.
type IDPInitiated string

// Values of IDPInitiated.
const (
	IDPInitiatedRefuse IDPInitiated = ""
	// IDPInitiatedRestart begins a sign-in by a request of our own.
	IDPInitiatedRestart IDPInitiated = "Restart"
	// IDPInitiatedAccept signs the user in by the response.
	IDPInitiatedAccept IDPInitiated = "Accept"
)

// IdentityProvider is the customer's side, as accepted from its metadata.
type IdentityProvider struct {
	EntityID string `json:"entityID"`
	// SSO has https endpoints with the Redirect or POST binding, best first.
	SSO []Endpoint `json:"sso"`
	// SLO has the same for single logout; many IdPs have none.
	SLO []Endpoint `json:"slo,omitempty"`
	// SigningCertificates are base64 DER; only their keys verify assertions.
	SigningCertificates []string `json:"signingCertificates"`
	// AcceptExpiredUntil, in Unix seconds, is the end of the grace in which those
	// that have expired verify assertions too; zero is no grace. AcceptsExpired
	// tells when it counts.
	AcceptExpiredUntil int64 `json:"acceptExpiredUntil,omitempty"`
}

// MaxExpiredGrace is how long before its end a grace for expired certificates
// begins to count, so that none lasts for good.
const MaxExpiredGrace = 90 * 24 * time.Hour

// AcceptsExpired tells whether signing certificates that have expired verify
// assertions at the time now. Its end needs no new configuration.
func (p IdentityProvider) AcceptsExpired(now time.Time) bool {
	return p.AcceptExpiredUntil != 0 && ExpiredGraceCounts(time.Unix(p.AcceptExpiredUntil, 0), now)
}

// ExpiredGraceCounts tells whether a grace that ends at that time counts now.
func ExpiredGraceCounts(until, now time.Time) bool {
	left := until.Sub(now)
	return 0 < left && left <= MaxExpiredGrace
}

// Endpoint is a place at the IdP and the binding it speaks.
type Endpoint struct {
	Binding  string `json:"binding"`
	Location string `json:"location"`
	// ResponseLocation is where our responses go, if not to Location; of an
	// SLO endpoint only. [SAMLMeta 2.2.2]
	ResponseLocation string `json:"responseLocation,omitempty"`
}

// ForResponses is where our responses go.
func (e Endpoint) ForResponses() string { return cmp.Or(e.ResponseLocation, e.Location) }

// AttributeMapping lists, for each property of a user, the names of SAML
// attributes that may carry it, the best first. Of UserID, UserIDWithoutNameID
// and Groups the first one present counts, of the others the first that is not
// empty.
type AttributeMapping struct {
	// UserID identifies the user. Unless UserIDRequired, an assertion without
	// any of these attributes may identify the user by its NameID.
	UserID         []string `json:"userID"`
	UserIDRequired bool     `json:"userIDRequired,omitempty"`
	// UserIDWithoutNameID identifies the user when UserID does not, and the
	// NameID is transient or absent.
	UserIDWithoutNameID []string `json:"userIDWithoutNameID,omitempty"`

	Email       []string `json:"email"`
	GivenName   []string `json:"givenName"`
	Surname     []string `json:"surname"`
	DisplayName []string `json:"displayName"`
	Groups      []string `json:"groups"`
	// GroupsInNamespace are local names that carry the groups in whatever
	// namespace, when none of Groups is present: "Group" for
	// "https://acme.example/claims/Group".
	GroupsInNamespace []string `json:"groupsInNamespace,omitempty"`
	// TolerateGroupOverage lets a user in although the IdP has withheld groups
	// because they are too many.
	TolerateGroupOverage bool `json:"tolerateGroupOverage,omitempty"`
}

// Authorization says who of those whom the IdP vouches for may come in, and in
// which roles. It counts for sessions that go on, too.
type Authorization struct {
	// AllowedGroups, unless nil, keeps out who is in none of them. Groups
	// compare byte by byte.
	AllowedGroups []string `json:"allowedGroups,omitempty"`
	// AllowedEmailDomains, unless nil, keeps out who has no e-mail address in
	// one of them. They are in lower case.
	AllowedEmailDomains []string `json:"allowedEmailDomains,omitempty"`
	// RoleMappings give roles to the members of groups.
	RoleMappings []RoleMapping `json:"roleMappings,omitempty"`
	// TestRole may open the test of the connection; empty is nobody by a role.
	TestRole string `json:"testRole,omitempty"`
}

// RoleMapping gives a role to the members of a group.
type RoleMapping struct {
	Group string `json:"group"`
	Role  string `json:"role"`
}

// Provisioning says which users are created, and what of them is updated.
type Provisioning struct {
	// Mode is ProvisioningJustInTime when it is empty.
	Mode ProvisioningMode `json:"mode,omitempty"`
	// MaxUsers is how many users the tenant may have for one more to be created.
	// Limit has the default.
	MaxUsers int `json:"maxUsers,omitempty"`
	// KeepAttributes are the properties of a user, as in AttributeMapping, that no
	// sign-in but the first changes in the store.
	KeepAttributes []string `json:"keepAttributes,omitempty"`
	// SCIM lets the customer's directory keep the users; nil for not.
	SCIM *SCIM `json:"scim,omitempty"`
}

// SCIM says who may keep a tenant's users by SCIM, and who they are.
type SCIM struct {
	// TokenSHA256 are hashes of bearer tokens, in hexadecimal; with none of them
	// nobody may. A token is random and long, so that its hash tells nothing.
	TokenSHA256 []string `json:"tokenSHA256"`
	// IdentifiedBy is the attribute by whose value users sign in: it is the stable
	// ID of Profile. Empty is IdentifiedByExternalID.
	IdentifiedBy string `json:"identifiedBy,omitempty"`
}

// SCIMPath is where SCIM is on a tenant's host.
const SCIMPath = "/saml/scim/v2"

// Values of SCIM.IdentifiedBy.
const (
	IdentifiedByExternalID = ""
	IdentifiedByUserName   = "UserName"
)

// ProvisioningMode says who is created.
type ProvisioningMode string

// Values of ProvisioningMode.
const (
	// ProvisioningJustInTime creates a user at the first sign-in.
	ProvisioningJustInTime ProvisioningMode = ""
	// ProvisioningExisting refuses who is not known.
	ProvisioningExisting ProvisioningMode = "Existing"
)

// DefaultMaxUsers keeps one tenant's IdP from filling the store of all.
const DefaultMaxUsers = 100_000

// Limit is how many users the tenant may have.
func (p Provisioning) Limit() int { return cmp.Or(p.MaxUsers, DefaultMaxUsers) }

// The elements of KeepAttributes.
const (
	KeepEmail       = "email"
	KeepGivenName   = "givenName"
	KeepSurname     = "surname"
	KeepDisplayName = "displayName"
)

// Session bounds a session's life.
type Session struct {
	MaxDuration Seconds `json:"maxDurationSeconds"`
	IdleTimeout Seconds `json:"idleTimeoutSeconds"`
	// NotBefore, in Unix seconds, ends the sessions that began before it; zero
	// ends none.
	NotBefore int64 `json:"notBefore,omitempty"`
}

// Seconds is a duration in whole seconds.
type Seconds int64

// Duration converts s.
func (s Seconds) Duration() time.Duration { return time.Duration(s) * time.Second }

// Encode returns the canonical JSON of c: the same Config is always the same
// bytes.
func Encode(c Config) ([]byte, error) {
	c.Version = c.version()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(c); err != nil {
		return nil, fmt.Errorf("encode tenant configuration: %w", err)
	}
	return b.Bytes(), nil
}

// Decode reads what Encode wrote, by this or another release: unknown fields
// are ignored, an unknown version is ErrUnsupportedVersion, and a
// configuration that must not be served is an error.
func Decode(data []byte) (Config, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Config{}, fmt.Errorf("decode tenant configuration: %w", err)
	}
	if head.Version < firstVersion || head.Version > Version {
		return Config{}, fmt.Errorf("%w: got %d, this release reads %d to %d", ErrUnsupportedVersion, head.Version, firstVersion, Version)
	}
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, fmt.Errorf("decode tenant configuration: %w", err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Validate says what makes c unfit to be served. A configuration without a
// signing certificate is one: it must never mean "accept anything".
func (c Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if c.Version < c.version() || c.Version > Version {
		fail("version is %d, want %d to %d", c.Version, c.version(), Version)
	}
	for _, required := range []struct{ field, value string }{
		{"tenant", c.Tenant},
		{"customerName", c.CustomerName},
		{"serviceProvider.entityID", c.ServiceProvider.EntityID},
		{"identityProvider.entityID", c.IdentityProvider.EntityID},
	} {
		if required.value == "" {
			fail("%s is empty", required.field)
		}
	}
	if c.Host == "" || c.Host != strings.ToLower(c.Host) || strings.ContainsAny(c.Host, ":/ ") {
		fail("host %q is not a lower-case host name without a port", c.Host)
	}
	// All of our URLs are on the tenant's own host, so that nothing a gateway
	// compares with them can belong to another tenant.
	for _, own := range []struct {
		field, value string
		optional     bool
	}{
		{"serviceProvider.signOnURL", c.ServiceProvider.SignOnURL, false},
		{"serviceProvider.acsURL", c.ServiceProvider.ACSURL, false},
		{"serviceProvider.metadataURL", c.ServiceProvider.MetadataURL, false},
		{"serviceProvider.sloURL", c.ServiceProvider.SLOURL, true},
	} {
		if own.value == "" && own.optional {
			continue
		}
		if u, err := url.Parse(own.value); err != nil || u.Scheme != "https" || u.Hostname() != c.Host {
			fail("%s %q is not an https URL on the host %s", own.field, own.value, c.Host)
		}
	}
	if len(c.IdentityProvider.SSO) == 0 {
		fail("identityProvider.sso is empty")
	}
	for _, e := range c.IdentityProvider.SSO {
		errs = append(errs, e.validate("identityProvider.sso"))
	}
	for _, e := range c.IdentityProvider.SLO {
		errs = append(errs, e.validate("identityProvider.slo"))
	}
	if len(c.IdentityProvider.SigningCertificates) == 0 {
		fail("identityProvider.signingCertificates is empty: no assertion could be verified")
	}
	for i, der := range c.IdentityProvider.SigningCertificates {
		if _, err := base64.StdEncoding.DecodeString(der); err != nil || der == "" {
			fail("identityProvider.signingCertificates[%d] is not base64", i)
		}
	}
	c.ServiceProvider.validate(fail)
	c.Authorization.validate(fail)
	c.Provisioning.validate(fail)
	c.Application.validate(fail)
	if c.Session.MaxDuration <= 0 || c.Session.IdleTimeout <= 0 {
		fail("session.maxDurationSeconds and session.idleTimeoutSeconds must be positive")
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("tenant configuration: %w", err)
	}
	return nil
}

// validate is for what must not be guessed: a wish that is not understood would
// go out as another one, or not be held to.
func (sp ServiceProvider) validate(fail func(format string, args ...any)) {
	switch sp.IDPInitiated {
	case IDPInitiatedRefuse, IDPInitiatedRestart:
	case IDPInitiatedAccept:
		if sp.ForceAuthn {
			fail("serviceProvider.forceAuthn cannot be held to for responses to no request, which allowIDPInitiated accepts")
		}
	default:
		fail("serviceProvider.allowIDPInitiated is %q, want Restart, Accept or nothing", sp.IDPInitiated)
	}
	if wish := sp.RequestedAuthnContext; wish != nil {
		if len(wish.ClassRefs) == 0 || slices.Contains(wish.ClassRefs, "") {
			fail("serviceProvider.requestedAuthnContext.classRefs is empty, or one of them is")
		}
		if !slices.Contains([]string{ComparisonExact, "minimum", "maximum", "better"}, wish.Comparison) {
			fail("serviceProvider.requestedAuthnContext.comparison %q is none of SAML's", wish.Comparison)
		}
	}
}

// validate refuses what looks like a rule and is none: a list that is there and
// empty, or that nothing can match.
func (a Authorization) validate(fail func(format string, args ...any)) {
	for field, list := range map[string][]string{
		"allowedGroups": a.AllowedGroups, "allowedEmailDomains": a.AllowedEmailDomains,
	} {
		if list != nil && len(list) == 0 || slices.Contains(list, "") {
			fail("authorization.%s is empty, or an element of it is", field)
		}
	}
	for _, domain := range a.AllowedEmailDomains {
		if domain != strings.ToLower(domain) || strings.ContainsAny(domain, "@* ") {
			fail("authorization.allowedEmailDomains: %q is not a lower-case domain", domain)
		}
	}
	for i, mapping := range a.RoleMappings {
		if mapping.Group == "" || mapping.Role == "" {
			fail("authorization.roleMappings[%d] lacks its group or its role", i)
		}
	}
}

// validate refuses a mode of another release, whose users may be fewer. An
// attribute of another release is no matter of who comes in.
func (p Provisioning) validate(fail func(format string, args ...any)) {
	if p.Mode != ProvisioningJustInTime && p.Mode != ProvisioningExisting {
		fail("provisioning.mode is %q, want Existing or nothing", p.Mode)
	}
	if p.MaxUsers < 0 {
		fail("provisioning.maxUsers is %d, want more than 0, or nothing", p.MaxUsers)
	}
}

func (e Endpoint) validate(field string) error {
	if e.Binding != BindingRedirect && e.Binding != BindingPOST {
		return fmt.Errorf("%s has the binding %q, want HTTP-Redirect or HTTP-POST", field, e.Binding)
	}
	for _, location := range []string{e.Location, e.ForResponses()} {
		if u, err := url.Parse(location); err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("%s location %q is not an https URL", field, location)
		}
	}
	return nil
}
