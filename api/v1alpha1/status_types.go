package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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

	// Key describes the key pair of our side.
	// +optional
	Key *KeyStatus `json:"key,omitempty"`

	// IDP describes the metadata that is in use.
	// +optional
	IDP *IDPStatus `json:"idp,omitempty"`

	// RejectedDigest identifies the last document when it was refused and could
	// be read. Where the entity ID was the reason, an administrator accepts the
	// document by the annotation sso.cequence.cloud/accept-metadata with this
	// value.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	RejectedDigest string `json:"rejectedDigest,omitempty"`

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

	// SourceVersion is the resourceVersion of the ConfigMap or Secret that
	// metadataFrom names, as it was read last.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	SourceVersion string `json:"sourceVersion,omitempty"`

	// ConsecutiveFailures counts the fetches that failed, or whose document was
	// refused, since the last success.
	// +optional
	ConsecutiveFailures int32 `json:"consecutiveFailures,omitempty"`

	// SecretRef names the Secret with the rendered configuration.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`

	// Access is what the configuration in the Secret says; empty is Enabled.
	// +optional
	Access Access `json:"access,omitempty"`

	// SessionsNotBefore is when the access of the tenant's users was last
	// disabled or enabled again. Sessions that began before are ended.
	// +optional
	SessionsNotBefore *metav1.Time `json:"sessionsNotBefore,omitempty"`

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
	// SLOURL takes logout messages ("Logout Url").
	// +optional
	SLOURL string `json:"sloURL,omitempty"`
	// SCIMURL is where the customer's directory keeps users ("Tenant URL"), if
	// provisioning.scim is set.
	// +optional
	SCIMURL string `json:"scimURL,omitempty"`
}

// IDPStatus describes the identity provider's metadata in use.
type IDPStatus struct {
	// EntityID of the identity provider; pinned.
	EntityID string `json:"entityID"`
	// SSOURL is where users are sent to sign in.
	SSOURL string `json:"ssoURL"`
	// SLOURL is where users are sent when they sign out; empty if the identity
	// provider has no single logout.
	// +optional
	SLOURL string `json:"sloURL,omitempty"`
	// Digest is over the meaning of the metadata, not over its bytes.
	Digest string `json:"digest"`
	// Source is where it came from: the URL, or configmap/NAME/KEY or
	// secret/NAME/KEY in the tenant's namespace.
	Source string `json:"source"`
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
	// TrustedUntil is set when the metadata no longer lists the certificate: it
	// is trusted until then (spec.rolloverGrace).
	// +optional
	TrustedUntil *metav1.Time `json:"trustedUntil,omitempty"`
}

// KeyStatus describes the SP's key pair in use, which signs requests and
// decrypts assertions, and its successor.
type KeyStatus struct {
	KeyPairStatus `json:",inline"`
	// NextRotationTime is when a successor is made.
	// +optional
	NextRotationTime *metav1.Time `json:"nextRotationTime,omitempty"`
	// Next is published already and takes over at its time. Give its
	// certificate to the identity provider before.
	// +optional
	Next *NextKeyStatus `json:"next,omitempty"`
	// LastHandledRotateAt is the value of the annotation
	// sso.cequence.cloud/rotate-key-requested-at that was handled last.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	LastHandledRotateAt string `json:"lastHandledRotateAt,omitempty"`
}

// KeyPairStatus describes a key pair by its certificate.
type KeyPairStatus struct {
	// FingerprintSHA256 is over the DER bytes, in lower-case hex.
	FingerprintSHA256 string `json:"fingerprintSHA256"`
	// NotBefore is the begin of validity.
	NotBefore metav1.Time `json:"notBefore"`
	// NotAfter is the end of validity.
	NotAfter metav1.Time `json:"notAfter"`
}

// NextKeyStatus describes the key pair that takes over next.
type NextKeyStatus struct {
	KeyPairStatus `json:",inline"`
	// SignsFrom is when it takes over.
	SignsFrom metav1.Time `json:"signsFrom"`
}
