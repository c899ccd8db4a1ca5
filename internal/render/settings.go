// Package render turns a tenant's spec and its identity provider's accepted
// metadata into the files that a gateway serves from. It is pure: the same
// input is the same bytes, on a cluster and in a pipeline.
package render

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Lifetimes of a session whose tenant says nothing.
const (
	defaultMaxDuration = 8 * time.Hour
	defaultIdleTimeout = time.Hour
)

// DefaultBaseDomain is the base domain when none is configured.
const DefaultBaseDomain = "s.cequence.cloud"

// BaseDomain is the domain below which each customer has a host, and the port
// at which browsers reach it.
type BaseDomain struct {
	name string
	port int
}

var dnsName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// ParseBaseDomain reads "s.example.com", or "s.localhost:8443" when browsers do
// not use port 443.
func ParseBaseDomain(s string) (BaseDomain, error) {
	name, portText, hasPort := strings.Cut(s, ":")
	port := 443
	if hasPort {
		var err error
		if port, err = strconv.Atoi(portText); err != nil || port < 1 || port > 65535 {
			return BaseDomain{}, fmt.Errorf("base domain %q: the port must be a number from 1 to 65535", s)
		}
	}
	// 50 characters of customer name and a dot go before it. [RFC 1035 2.3.4]
	if !dnsName.MatchString(name) || len(name) > 253-51 {
		return BaseDomain{}, fmt.Errorf("base domain %q: must be a lower-case DNS name such as s.example.com, optionally with a port", s)
	}
	return BaseDomain{name: name, port: port}, nil
}

// String returns what ParseBaseDomain reads, without the port when it is 443.
func (b BaseDomain) String() string {
	if b.port == 443 {
		return b.name
	}
	return b.name + ":" + strconv.Itoa(b.port)
}

// Host returns the host of a customer, without a port.
func (b BaseDomain) Host(customerName string) string { return customerName + "." + b.name }

// ServiceProvider returns the values that a customer's administrator enters at
// the identity provider. The entity ID has a literal ":443" whatever the port:
// it is a name, and must not change with the way a gateway is reached.
func (b BaseDomain) ServiceProvider(customerName string) v1alpha1.ServiceProviderStatus {
	origin := "https://" + b.Host(customerName)
	entityID := origin + ":443/saml/metadata"
	if b.port != 443 {
		origin += ":" + strconv.Itoa(b.port)
	}
	return v1alpha1.ServiceProviderStatus{
		SignOnURL:   origin,
		EntityID:    entityID,
		ACSURL:      origin + "/saml/acs",
		MetadataURL: origin + "/saml/metadata",
		SLOURL:      origin + "/saml/slo",
	}
}

// entraClaims prefix the names of Entra ID's default attributes.
const entraClaims = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"

// defaultMapping has the names of Entra ID first, then those of LDAP by OID
// (Shibboleth, SimpleSAMLphp) and of AD FS, then plain ones (Okta, Google,
// Keycloak).
func defaultMapping() tenantconfig.AttributeMapping {
	return tenantconfig.AttributeMapping{
		UserID: []string{"http://schemas.microsoft.com/identity/claims/objectidentifier"},
		UserIDWithoutNameID: []string{
			"urn:oasis:names:tc:SAML:attribute:subject-id",
			"urn:oasis:names:tc:SAML:attribute:pairwise-id",
			"urn:oid:1.3.6.1.4.1.5923.1.1.1.13", // eduPersonUniqueId
			"urn:oid:1.3.6.1.4.1.5923.1.1.1.6",  // eduPersonPrincipalName
			"urn:oid:0.9.2342.19200300.100.1.1", // uid
			"uid",
		},
		Email:       []string{entraClaims + "emailaddress", "urn:oid:0.9.2342.19200300.100.1.3", "urn:oid:1.2.840.113549.1.9.1", "email", "mail", "emailaddress", "Email"},
		GivenName:   []string{entraClaims + "givenname", "urn:oid:2.5.4.42", "givenName", "firstName", "first_name", "FirstName"},
		Surname:     []string{entraClaims + "surname", "urn:oid:2.5.4.4", "sn", "surname", "lastName", "last_name", "LastName"},
		DisplayName: []string{"http://schemas.microsoft.com/identity/claims/displayname", "urn:oid:2.16.840.1.113730.3.1.241", "displayName", "urn:oid:2.5.4.3", "cn", "name", entraClaims + "name"},
		Groups: []string{
			"Group", "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups", "http://schemas.xmlsoap.org/claims/Group",
			"http://schemas.microsoft.com/ws/2008/06/identity/claims/groupsid",
			"urn:oid:1.3.6.1.4.1.5923.1.5.1.1", "isMemberOf", "urn:oid:1.2.840.113556.1.2.102", "memberOf", "groups", "Groups", "member",
		},
		GroupsInNamespace: []string{"Group", "groups", "Groups"},
	}
}

func attributeMapping(spec *v1alpha1.AttributeMapping) tenantconfig.AttributeMapping {
	mapping := defaultMapping()
	if spec == nil {
		return mapping
	}
	if spec.UserID != "" {
		// The tenant has decided what identifies its users: nothing else may.
		mapping.UserIDRequired = true
		mapping.UserIDWithoutNameID = nil
	}
	if spec.Groups != "" {
		mapping.GroupsInNamespace = nil
	}
	for _, field := range []struct {
		wanted string
		names  *[]string
	}{
		{spec.UserID, &mapping.UserID},
		{spec.Email, &mapping.Email},
		{spec.GivenName, &mapping.GivenName},
		{spec.Surname, &mapping.Surname},
		{spec.DisplayName, &mapping.DisplayName},
		{spec.Groups, &mapping.Groups},
	} {
		if field.wanted != "" {
			*field.names = []string{field.wanted}
		}
	}
	return mapping
}

func authorization(spec *v1alpha1.Authorization) tenantconfig.Authorization {
	if spec == nil {
		return tenantconfig.Authorization{}
	}
	rules := tenantconfig.Authorization{AllowedGroups: spec.AllowedGroups, TestRole: spec.TestRole}
	for _, domain := range spec.AllowedEmailDomains {
		rules.AllowedEmailDomains = append(rules.AllowedEmailDomains, strings.ToLower(domain)) // ASCII
	}
	for _, mapping := range spec.RoleMappings {
		rules.RoleMappings = append(rules.RoleMappings, tenantconfig.RoleMapping(mapping))
	}
	return rules
}

func provisioning(spec *v1alpha1.Provisioning) tenantconfig.Provisioning {
	if spec == nil {
		return tenantconfig.Provisioning{}
	}
	wanted := tenantconfig.Provisioning{MaxUsers: int(spec.MaxUsers)}
	if spec.Mode != v1alpha1.ProvisioningJustInTime {
		wanted.Mode = tenantconfig.ProvisioningMode(spec.Mode)
	}
	for _, attribute := range spec.KeepAttributes {
		wanted.KeepAttributes = append(wanted.KeepAttributes, string(attribute))
	}
	if spec.SCIM != nil {
		wanted.SCIM = &tenantconfig.SCIM{}
		if spec.SCIM.IdentifiedBy == v1alpha1.SCIMUserName {
			wanted.SCIM.IdentifiedBy = tenantconfig.IdentifiedByUserName
		}
	}
	return wanted
}

func session(spec *v1alpha1.Session) tenantconfig.Session {
	maxDuration, idleTimeout := defaultMaxDuration, defaultIdleTimeout
	if spec != nil && spec.MaxDuration != nil {
		maxDuration = spec.MaxDuration.Duration
	}
	if spec != nil && spec.IdleTimeout != nil {
		idleTimeout = spec.IdleTimeout.Duration
	}
	return tenantconfig.Session{
		MaxDuration: tenantconfig.Seconds(maxDuration / time.Second),
		IdleTimeout: tenantconfig.Seconds(min(idleTimeout, maxDuration) / time.Second),
	}
}
