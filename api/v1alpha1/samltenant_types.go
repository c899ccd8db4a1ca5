package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SAMLTenantSpec is what a customer wants: its name and its identity provider.
// +kubebuilder:validation:XValidation:rule="has(self.metadataURL) != has(self.metadataFrom)",message="set exactly one of metadataURL (in Entra ID the \"App Federation Metadata Url\") and metadataFrom"
// +kubebuilder:validation:XValidation:rule="!has(self.metadataCA) || has(self.metadataURL)",message="metadataCA verifies the host of metadataURL and has no meaning with metadataFrom; remove it"
type SAMLTenantSpec struct {
	// CustomerName is the customer's host below the base domain: a DNS label.
	// It is part of the entity ID that the customer has entered at its identity
	// provider and cannot change.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=50
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be a DNS label: lower-case letters, digits and '-', starting and ending with a letter or digit; for \"Acme Inc.\" write \"acme-inc\""
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('xn--')",message="must not be a punycode label (xn--…); write an ASCII name and put the customer's own spelling into displayName"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="is immutable, because the customer has entered it at its identity provider; create a new SAMLTenant for another name"
	// +required
	CustomerName string `json:"customerName"`

	// DisplayName is the customer's name for people, as pages show it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +optional
	DisplayName string `json:"displayName,omitempty"`

	// MetadataURL is where the identity provider publishes its SAML metadata;
	// in Entra ID the "App Federation Metadata Url" of the application. Exactly
	// one of it and metadataFrom is set.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self)",message="must be an absolute URL; in Entra ID copy the application's \"App Federation Metadata Url\""
	// +kubebuilder:validation:XValidation:rule="!isURL(self) || (url(self).getScheme() == 'https' && url(self).getHostname() != '')",message="must start with https://, since the signing certificates in it decide who may sign in"
	// +kubebuilder:validation:XValidation:rule="!self.contains('#')",message="must not have a fragment; remove everything from '#' on"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[A-Za-z]+://[^/?#]*@')",message="must not have user information; metadata is public, remove everything up to '@' in the host part"
	// +optional
	MetadataURL string `json:"metadataURL,omitempty"`

	// MetadataFrom takes the metadata from a ConfigMap or Secret of the tenant's
	// namespace, for an identity provider that publishes no URL, such as Google
	// Workspace.
	// +optional
	MetadataFrom *MetadataSource `json:"metadataFrom,omitempty"`

	// IDPEntityID picks one identity provider of a document that holds several,
	// and pins it: a document with another entity ID is not taken over. Unset,
	// the entity ID of the first accepted document is pinned.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	IDPEntityID string `json:"idpEntityID,omitempty"`

	// MetadataCA is a PEM bundle that verifies the metadata host's TLS
	// certificate, for a private identity provider. Unset: the system's roots.
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:XValidation:rule="self.contains('-----BEGIN CERTIFICATE-----')",message="must be one or more PEM certificates (-----BEGIN CERTIFICATE-----)"
	// +optional
	MetadataCA string `json:"metadataCA,omitempty"`

	// MetadataSigningCertificates are PEM certificates of which one must have
	// signed the metadata document. Unset: a signature is not asked for.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=16384
	// +kubebuilder:validation:XValidation:rule="self.all(c, c.contains('-----BEGIN CERTIFICATE-----'))",message="each must be a PEM certificate (-----BEGIN CERTIFICATE-----)"
	// +listType=atomic
	// +optional
	MetadataSigningCertificates []string `json:"metadataSigningCertificates,omitempty"`

	// RefreshInterval is the time between two fetches of the metadata, from 5m
	// to 24h. Unset: the operator's --refresh-interval.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5m') && duration(self) <= duration('24h')",message="must be between 5m and 24h; 1h is the default"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`

	// RolloverGrace is how long a signing key that the metadata no longer lists
	// is still trusted, from 0s to 24h: an identity provider needs minutes to
	// switch everywhere. 0s distrusts it at once. Unset: 30m.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('24h')",message="must be between 0s and 24h; 30m is the default"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	RolloverGrace *metav1.Duration `json:"rolloverGrace,omitempty"`

	// AcceptExpiredCertificatesUntil accepts, until that time, signatures by a
	// trusted key whose certificate has expired, as Entra ID makes them until
	// somebody activates another one. It counts from 90 days before that time
	// on, so that nobody can switch the check off for good. Unset: such
	// signatures are refused.
	// +optional
	AcceptExpiredCertificatesUntil *metav1.Time `json:"acceptExpiredCertificatesUntil,omitempty"`

	// Access is Enabled when unset. Disabled keeps the configuration, refuses
	// sign-ins and ends the sessions of the tenant's users.
	// +optional
	Access Access `json:"access,omitempty"`

	// Suspend stops the operator's work on the tenant. Sign-ins go on with what
	// was configured last, and a grace or an overlap of keys that would end goes
	// on as well. An edit of access takes effect only when the work goes on: to
	// keep people out, set access and leave suspend unset.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// AttributeMapping names the SAML attributes that describe a user. Unset
	// ones: the names that Entra ID sends, then other common names.
	// +optional
	AttributeMapping *AttributeMapping `json:"attributeMapping,omitempty"`

	// Authorization says who may come in, of those whom the identity provider
	// vouches for.
	// +optional
	Authorization *Authorization `json:"authorization,omitempty"`

	// Provisioning says which users are created when they sign in, and what is
	// updated when they do so again.
	// +optional
	Provisioning *Provisioning `json:"provisioning,omitempty"`

	// Application says where the tenant's application is, and what of it is for
	// whom.
	// +optional
	Application *Application `json:"application,omitempty"`

	// Session bounds the life of a user's session.
	// +optional
	Session *Session `json:"session,omitempty"`

	// ServiceProvider says how requests to the identity provider are made.
	// +optional
	ServiceProvider *ServiceProvider `json:"serviceProvider,omitempty"`
}

// Access says whether the users of a tenant may sign in.
// +kubebuilder:validation:Enum=Enabled;Disabled
type Access string

// Values of Access.
const (
	AccessEnabled  Access = "Enabled"
	AccessDisabled Access = "Disabled"
)

// MetadataSource is a place in the tenant's namespace that holds metadata.
// +kubebuilder:validation:XValidation:rule="has(self.configMapKeyRef) != has(self.secretKeyRef)",message="set exactly one of configMapKeyRef and secretKeyRef"
type MetadataSource struct {
	// ConfigMapKeyRef names a key of a ConfigMap.
	// +optional
	ConfigMapKeyRef *KeyReference `json:"configMapKeyRef,omitempty"`
	// SecretKeyRef names a key of a Secret.
	// +optional
	SecretKeyRef *KeyReference `json:"secretKeyRef,omitempty"`
}

// KeyReference names a key of a ConfigMap or Secret in the tenant's namespace.
type KeyReference struct {
	// Name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key within its data.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// SecretReference names a Secret in the tenant's namespace.
type SecretReference struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// AttributeMapping maps properties of a user to names of SAML attributes.
type AttributeMapping struct {
	// UserID is the attribute with the user's stable identifier; a sign-in
	// without it is refused. Unset: the object identifier of Entra ID when it is
	// sent, else the NameID, or when that is transient an identifier such as
	// subject-id or eduPersonPrincipalName.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	UserID string `json:"userID,omitempty"`
	// Email is the attribute with the e-mail address.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Email string `json:"email,omitempty"`
	// GivenName is the attribute with the given name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	GivenName string `json:"givenName,omitempty"`
	// Surname is the attribute with the family name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Surname string `json:"surname,omitempty"`
	// DisplayName is the attribute with the name to show.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	DisplayName string `json:"displayName,omitempty"`
	// Groups is the multi-valued attribute with the user's groups, by its full
	// name. Unset: the names that identity providers use by default, and
	// "Group", "groups" and "Groups" in any namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Groups string `json:"groups,omitempty"`
}

// Authorization says who may come in, and in which roles. A user has to satisfy
// both allowedGroups and allowedEmailDomains where both are set. A change counts
// for sessions that go on as well, within seconds.
// +kubebuilder:validation:XValidation:rule="!has(self.testRole) || has(self.roleMappings) && self.roleMappings.exists(m, m.role == self.testRole)",message="testRole must be a role that roleMappings give to some group, since nobody else has it"
type Authorization struct {
	// AllowedGroups lets in only who is in one of these groups, written as the
	// identity provider sends them: Entra ID's are object IDs by default. They
	// are compared byte by byte. Unset: groups keep nobody out.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=200
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.all(g, !g.matches('^[[:space:]]|[[:cntrl:]]|[[:space:]]$'))",message="a group must not begin or end with a space or have control characters, since no user is in such a group"
	// +listType=atomic
	// +optional
	AllowedGroups []string `json:"allowedGroups,omitempty"`

	// AllowedEmailDomains lets in only who has an e-mail address in one of these
	// domains, such as acme.example. Case does not matter; a subdomain is another
	// domain. An address that is not plain ASCII name@domain is in none. The
	// identity provider must not let users choose their address. Unset: e-mail
	// addresses keep nobody out.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.all(d, d.matches('^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*$'))",message="must be domains such as acme.example, without '@' and '*': each subdomain is named by itself, and a name in another script in its form xn--"
	// +listType=atomic
	// +optional
	AllowedEmailDomains []string `json:"allowedEmailDomains,omitempty"`

	// RoleMappings give roles of the application to the members of groups. A user
	// has the roles of all groups that the session has; the application gets them
	// as X-Auth-Request-Roles.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=200
	// +listType=atomic
	// +optional
	RoleMappings []RoleMapping `json:"roleMappings,omitempty"`

	// TestRole may open the test of the connection at /saml/test, which shows what
	// the identity provider says of whoever signs in there. It is one of the roles
	// that roleMappings give. Unset: the test opens only with a link of kubectl
	// saml check, as it does anyway.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	TestRole string `json:"testRole,omitempty"`

	// GroupOverage says what becomes of a user whose groups Entra ID withholds
	// because they are more than 150. Refuse, when unset, lets nobody in whose
	// groups are not known. Tolerate lets the user in with the groups that were
	// sent, mostly none; the application is told that they are incomplete. It
	// lets nobody in whom allowedGroups keeps out.
	// +optional
	GroupOverage GroupOverage `json:"groupOverage,omitempty"`
}

// RoleMapping gives a role to the members of a group.
type RoleMapping struct {
	// Group as the identity provider sends it, compared byte by byte.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[[:space:]]|[[:cntrl:]]|[[:space:]]$')",message="must not begin or end with a space or have control characters, since no user is in such a group"
	Group string `json:"group"`
	// Role is a name of the application's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9._:/]*[A-Za-z0-9])?$')",message="must be letters, digits, '-', '.', '_', ':' and '/', beginning and ending with a letter or digit"
	Role string `json:"role"`
}

// Provisioning says which users are created, and what is updated.
type Provisioning struct {
	// Mode is JustInTime when unset: who signs in for the first time becomes a
	// user. Existing lets in only who is a user already.
	// +optional
	Mode ProvisioningMode `json:"mode,omitempty"`

	// MaxUsers is how many users the tenant may have. When it has them, nobody
	// signs in for the first time any more; those who are users do. Unset:
	// 100000, so that no identity provider fills the store.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	// +optional
	MaxUsers int32 `json:"maxUsers,omitempty"`

	// KeepAttributes are left as they were at the user's first sign-in. All others
	// are updated at each sign-in, groups always. Sessions and the application
	// have what the identity provider said at the sign-in in any case.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +listType=atomic
	// +optional
	KeepAttributes []ProfileAttribute `json:"keepAttributes,omitempty"`

	// SCIM lets the customer's directory keep users and groups by SCIM 2.0, at
	// status.serviceProvider.scimURL. Unset: it does not.
	// +optional
	SCIM *SCIM `json:"scim,omitempty"`
}

// SCIM says who may keep a tenant's users, and who they are.
type SCIM struct {
	// TokenSecretRef names a Secret in the tenant's namespace. The value of each
	// of its keys is a bearer token, of 32 to 1024 random letters, digits or signs;
	// there are at most 5, so that one replaces another without a pause.
	TokenSecretRef SecretReference `json:"tokenSecretRef"`

	// IdentifiedBy is the attribute whose value is the user's ID at a sign-in, as
	// attributeMapping.userID or the NameID has it. Unset: ExternalID.
	// +optional
	IdentifiedBy SCIMIdentifier `json:"identifiedBy,omitempty"`
}

// SCIMIdentifier is an attribute of a user of the directory.
// +kubebuilder:validation:Enum=ExternalID;UserName
type SCIMIdentifier string

// Values of SCIMIdentifier.
const (
	SCIMExternalID SCIMIdentifier = "ExternalID"
	SCIMUserName   SCIMIdentifier = "UserName"
)

// ProvisioningMode says who is created.
// +kubebuilder:validation:Enum=JustInTime;Existing
type ProvisioningMode string

// Values of ProvisioningMode.
const (
	ProvisioningJustInTime ProvisioningMode = "JustInTime"
	ProvisioningExisting   ProvisioningMode = "Existing"
)

// ProfileAttribute is a property of a user, as in attributeMapping.
// +kubebuilder:validation:Enum=email;givenName;surname;displayName
type ProfileAttribute string

// GroupOverage is what becomes of a user with too many groups.
// +kubebuilder:validation:Enum=Refuse;Tolerate
type GroupOverage string

// Values of GroupOverage.
const (
	GroupOverageRefuse   GroupOverage = "Refuse"
	GroupOverageTolerate GroupOverage = "Tolerate"
)

// Session bounds a session. What the identity provider says
// (SessionNotOnOrAfter) wins when it is shorter.
// +kubebuilder:validation:XValidation:rule="!has(self.maxDuration) || !has(self.idleTimeout) || duration(self.idleTimeout) <= duration(self.maxDuration)",message="idleTimeout must not be longer than maxDuration"
type Session struct {
	// MaxDuration is how long a session lasts at most, from 5m to 720h. Unset: 8h.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5m') && duration(self) <= duration('720h')",message="must be between 5m and 720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	MaxDuration *metav1.Duration `json:"maxDuration,omitempty"`
	// IdleTimeout ends a session that made no request for this long, from 1m to
	// 720h. Unset: 1h, or maxDuration when that is shorter.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('720h')",message="must be between 1m and 720h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	IdleTimeout *metav1.Duration `json:"idleTimeout,omitempty"`
}

// ServiceProvider configures our side of the SAML exchange.
// +kubebuilder:validation:XValidation:rule="!has(self.forceAuthn) || !self.forceAuthn || !has(self.allowIDPInitiated) || self.allowIDPInitiated != 'Accept'",message="forceAuthn cannot be asked for in a sign-in that nobody requested; with it, set allowIDPInitiated to Restart or Refuse"
type ServiceProvider struct {
	// SignAuthnRequests signs requests by RSA-SHA256 with the tenant's own key,
	// whose certificate is in the SP metadata. Unset: only when the identity
	// provider's metadata wants it.
	// +optional
	SignAuthnRequests *bool `json:"signAuthnRequests,omitempty"`
	// NameIDFormat is the format to ask for in requests. Unset, as Entra ID
	// wants it: the identity provider's own setting decides.
	// +kubebuilder:validation:Enum="urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";"urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	// +optional
	NameIDFormat string `json:"nameIDFormat,omitempty"`
	// SignMetadata puts a signature by the tenant's own key, the one that signs
	// requests, into the SP metadata: for an identity provider that reads the
	// metadata again and again and has pinned that key.
	// +optional
	SignMetadata bool `json:"signMetadata,omitempty"`
	// RequestBinding is how requests travel to the identity provider, if its
	// metadata has an endpoint for that: Redirect, the default, or POST. Else
	// they travel the other way.
	// +optional
	RequestBinding RequestBinding `json:"requestBinding,omitempty"`
	// ForceAuthn has the identity provider ask for credentials at each sign-in,
	// whether it knows the user already or not. A sign-in by an authentication
	// from before the request is refused.
	// +optional
	ForceAuthn bool `json:"forceAuthn,omitempty"`
	// RequestedAuthnContext asks for a way of authentication. Unset, as Entra ID
	// wants it: the identity provider's own policy decides.
	// +optional
	RequestedAuthnContext *RequestedAuthnContext `json:"requestedAuthnContext,omitempty"`
	// WantAssertionsEncrypted refuses assertions that are not encrypted for the
	// tenant's own key. The identity provider has to be told to encrypt.
	// +optional
	WantAssertionsEncrypted bool `json:"wantAssertionsEncrypted,omitempty"`
	// AllowIDPInitiated says what becomes of a sign-in that begins at the
	// identity provider, so of a response to no request. Refuse when unset.
	// Restart does not use the response but begins a sign-in of our own at the
	// identity provider, which knows the user by then. Accept uses it, so that
	// others can sign users in under their own name without their knowledge:
	// prefer Restart.
	// +optional
	AllowIDPInitiated IDPInitiated `json:"allowIDPInitiated,omitempty"`
	// KeySecretRef names a Secret of type kubernetes.io/tls in the tenant's
	// namespace whose RSA key pair is used, such as one that cert-manager keeps.
	// A new pair in it takes effect after keyRotation.overlap. Unset: the
	// operator makes the pair.
	// +optional
	KeySecretRef *SecretReference `json:"keySecretRef,omitempty"`
	// KeyRotation says when the SP key is replaced.
	// +optional
	KeyRotation *KeyRotation `json:"keyRotation,omitempty"`
}

// RequestBinding is a SAML binding for requests.
// +kubebuilder:validation:Enum=Redirect;POST
type RequestBinding string

// Values of RequestBinding.
const (
	// RequestBindingRedirect puts requests into the address (HTTP-Redirect).
	RequestBindingRedirect RequestBinding = "Redirect"
	// RequestBindingPOST puts them into a form that a page sends (HTTP-POST).
	RequestBindingPOST RequestBinding = "POST"
)

// IDPInitiated says what becomes of responses to no request.
// +kubebuilder:validation:Enum=Refuse;Restart;Accept
type IDPInitiated string

// Values of IDPInitiated.
const (
	// IDPInitiatedRefuse shows the user a page that offers to sign in.
	IDPInitiatedRefuse IDPInitiated = "Refuse"
	// IDPInitiatedRestart begins a sign-in by a request of our own.
	IDPInitiatedRestart IDPInitiated = "Restart"
	// IDPInitiatedAccept signs the user in by the response.
	IDPInitiatedAccept IDPInitiated = "Accept"
)

// RequestedAuthnContext names ways of authentication, in the words of SAML.
type RequestedAuthnContext struct {
	// ClassRefs are the classes to ask for, in order of preference, such as
	// https://refeds.org/profile/mfa.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.all(c, c.matches('^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$'))",message="each must be a URI, such as urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken"
	// +listType=atomic
	ClassRefs []string `json:"classRefs"`
	// Comparison is exact when unset: the user must have been authenticated by
	// one of the classes, or is refused. With minimum, maximum and better the
	// identity provider alone decides what is as good; Entra ID knows exact only.
	// +kubebuilder:validation:Enum=exact;minimum;maximum;better
	// +optional
	Comparison string `json:"comparison,omitempty"`
}

// KeyRotation replaces the SP key in two steps: the next key is published in
// the SP metadata and decrypts, and after the overlap it takes over, signs, and
// the one before is removed.
// +kubebuilder:validation:XValidation:rule="!has(self.interval) || !has(self.overlap) || duration(self.overlap) < duration(self.interval)",message="overlap must be shorter than interval"
type KeyRotation struct {
	// Interval is the age at which a key that the operator made gets a
	// successor, from 720h (30 days) to 87600h (10 years). Unset: only before
	// its certificate expires, or when the annotation
	// sso.cequence.cloud/rotate-key-requested-at asks for it.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('720h') && duration(self) <= duration('87600h')",message="must be between 720h (30 days) and 87600h (10 years)"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Overlap is how long both keys are published, from 0s to 2160h (90 days):
	// in that time the identity provider has to learn the next one. Unset: 336h
	// (14 days).
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('2160h')",message="must be between 0s and 2160h (90 days); 336h is the default"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Overlap *metav1.Duration `json:"overlap,omitempty"`
}

// SAMLTenant is one customer and its identity provider.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=samlt,categories=sso
// +kubebuilder:selectablefield:JSONPath=`.spec.customerName`
// +kubebuilder:selectablefield:JSONPath=`.spec.metadataURL`
// +kubebuilder:selectablefield:JSONPath=`.spec.idpEntityID`
// +kubebuilder:selectablefield:JSONPath=`.spec.access`
// +kubebuilder:selectablefield:JSONPath=`.spec.suspend`
// +kubebuilder:printcolumn:name="Customer",type=string,JSONPath=`.spec.customerName`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Cert-Expiry",type=string,format=date-time,JSONPath=`.status.earliestNotAfter`
// +kubebuilder:printcolumn:name="Sign-On-URL",type=string,JSONPath=`.status.serviceProvider.signOnURL`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Entity ID",type=string,priority=1,JSONPath=`.status.serviceProvider.entityID`
// +kubebuilder:printcolumn:name="Last-Fetch",type=date,priority=1,JSONPath=`.status.lastFetchTime`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must have at most 63 characters, since the names of its Secrets are made from it"
type SAMLTenant struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the customer wants.
	// +required
	Spec SAMLTenantSpec `json:"spec"`
	// Status is what the operator knows.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status SAMLTenantStatus `json:"status,omitempty"`
}

// SAMLTenantList is a list of SAMLTenants.
//
// +kubebuilder:object:root=true
type SAMLTenantList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SAMLTenant `json:"items"`
}
