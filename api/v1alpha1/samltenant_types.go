package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SAMLTenantSpec is what a customer wants: its name and its identity provider.
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
	// in Entra ID the "App Federation Metadata Url" of the application.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self)",message="must be an absolute URL; in Entra ID copy the application's \"App Federation Metadata Url\""
	// +kubebuilder:validation:XValidation:rule="!isURL(self) || (url(self).getScheme() == 'https' && url(self).getHostname() != '')",message="must start with https://, since the signing certificates in it decide who may sign in"
	// +kubebuilder:validation:XValidation:rule="!self.contains('#')",message="must not have a fragment; remove everything from '#' on"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[A-Za-z]+://[^/?#]*@')",message="must not have user information; metadata is public, remove everything up to '@' in the host part"
	// +required
	MetadataURL string `json:"metadataURL"`

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

	// RefreshInterval is the time between two fetches of the metadata, from 5m
	// to 24h. Unset: the operator's --refresh-interval.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5m') && duration(self) <= duration('24h')",message="must be between 5m and 24h; 1h is the default"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`

	// AttributeMapping names the SAML attributes that describe a user. Unset
	// ones: the names that Entra ID sends, then other common names.
	// +optional
	AttributeMapping *AttributeMapping `json:"attributeMapping,omitempty"`

	// Session bounds the life of a user's session.
	// +optional
	Session *Session `json:"session,omitempty"`

	// ServiceProvider says how requests to the identity provider are made.
	// +optional
	ServiceProvider *ServiceProvider `json:"serviceProvider,omitempty"`
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
	// Groups is the multi-valued attribute with the user's groups.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Groups string `json:"groups,omitempty"`
}

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
}

// SAMLTenantStatus is what the operator knows of the tenant.
type SAMLTenantStatus struct {
	// ObservedGeneration is the generation that the rest of the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions tell the state; see the documentation of the API.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// LastHandledReconcileAt is the value of the annotation
	// sso.cequence.cloud/reconcile-requested-at that was handled last.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`

	// ServiceProvider has the values that the customer's administrator enters
	// at the identity provider.
	// +optional
	ServiceProvider *ServiceProviderStatus `json:"serviceProvider,omitempty"`

	// IDP describes the metadata that is in use.
	// +optional
	IDP *IDPStatus `json:"idp,omitempty"`

	// Certificates are the identity provider's signing certificates in use.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	// +optional
	Certificates []CertificateStatus `json:"certificates,omitempty"`

	// EarliestNotAfter is when the first of the certificates that are still
	// valid expires.
	// +optional
	EarliestNotAfter *metav1.Time `json:"earliestNotAfter,omitempty"`

	// LastFetchTime is when the identity provider last answered a fetch with a
	// document, or with "not modified".
	// +optional
	LastFetchTime *metav1.Time `json:"lastFetchTime,omitempty"`

	// NextRefreshTime is when the metadata is fetched next. It survives a
	// restart of the operator.
	// +optional
	NextRefreshTime *metav1.Time `json:"nextRefreshTime,omitempty"`

	// ConsecutiveFailures counts the fetches that failed, or whose document was
	// refused, since the last success.
	// +optional
	ConsecutiveFailures int32 `json:"consecutiveFailures,omitempty"`

	// SecretRef names the Secret with the rendered configuration.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`

	// ConfigHash is the hash of the configuration in the Secret.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ConfigHash string `json:"configHash,omitempty"`

	// ConfigResourceVersion is the resourceVersion that the Secret got with that
	// configuration. A rollout of the gateway includes what it has seen.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ConfigResourceVersion string `json:"configResourceVersion,omitempty"`
}

// ServiceProviderStatus has the values to enter at the identity provider.
type ServiceProviderStatus struct {
	// SignOnURL is where users start ("Sign on URL").
	SignOnURL string `json:"signOnURL"`
	// EntityID is ours ("Identifier").
	EntityID string `json:"entityID"`
	// ACSURL receives assertions ("Reply URL").
	ACSURL string `json:"acsURL"`
	// MetadataURL serves our SAML metadata.
	MetadataURL string `json:"metadataURL"`
}

// IDPStatus describes the identity provider's metadata in use.
type IDPStatus struct {
	// EntityID of the identity provider; pinned.
	EntityID string `json:"entityID"`
	// SSOURL is where users are sent to sign in.
	SSOURL string `json:"ssoURL"`
	// Digest is over the meaning of the metadata, not over its bytes.
	Digest string `json:"digest"`
	// MetadataURL is where it was fetched.
	MetadataURL string `json:"metadataURL"`
	// ValidUntil is the document's own end of validity.
	// +optional
	ValidUntil *metav1.Time `json:"validUntil,omitempty"`
	// CacheDuration is how long the document may be kept by its own word.
	// +optional
	CacheDuration *metav1.Duration `json:"cacheDuration,omitempty"`
	// ETag of the last document, for conditional requests.
	// +optional
	ETag string `json:"etag,omitempty"`
	// LastModified of the last document, for conditional requests.
	// +optional
	LastModified string `json:"lastModified,omitempty"`
}

// CertificateStatus describes one signing certificate.
type CertificateStatus struct {
	// FingerprintSHA256 is over the DER bytes, in lower-case hex.
	FingerprintSHA256 string `json:"fingerprintSHA256"`
	// Subject is the certificate's distinguished name.
	// +optional
	Subject string `json:"subject,omitempty"`
	// NotBefore is the begin of validity.
	NotBefore metav1.Time `json:"notBefore"`
	// NotAfter is the end of validity.
	NotAfter metav1.Time `json:"notAfter"`
}

// SecretReference names a Secret in the tenant's namespace.
type SecretReference struct {
	// Name of the Secret.
	Name string `json:"name"`
}

// SAMLTenant is one customer and its identity provider.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=samlt,categories=sso
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
