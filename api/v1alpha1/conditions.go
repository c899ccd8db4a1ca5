package v1alpha1

// Condition types of a SAMLTenant. All but Reconciling and Stalled are
// positive: True is the good state.
const (
	// ConditionReady is always present: this customer can sign in with the
	// current spec. Its reason is ReasonSucceeded, ReasonProgressing, or that
	// of the condition which blocks it.
	ConditionReady = "Ready"
	// ConditionReconciling is present only while the operator still works
	// towards the current generation. [kstatus]
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present only while nothing but a person can help.
	// [kstatus]
	ConditionStalled = "Stalled"
	// ConditionMetadataFetched tells how the last fetch from the IdP went.
	ConditionMetadataFetched = "MetadataFetched"
	// ConditionMetadataAccepted tells whether the last document that was
	// fetched has been taken over. While False, what was accepted before it
	// keeps serving.
	ConditionMetadataAccepted = "MetadataAccepted"
	// ConditionCertificatesValid tells whether the IdP's signing certificates
	// are within their dates.
	ConditionCertificatesValid = "CertificatesValid"
	// ConditionConfigRendered tells whether the Secrets hold the current
	// configuration.
	ConditionConfigRendered = "ConfigRendered"
	// ConditionGatewaySynced tells whether the gateway pods started from the
	// current configuration. Absent when the operator does not roll a gateway.
	ConditionGatewaySynced = "GatewaySynced"
	// ConditionSCIMReady tells whether the customer's directory has a token to
	// keep users with. Absent without provisioning.scim. Sign-ins do not depend on
	// it.
	ConditionSCIMReady = "SCIMReady"
)

// Reasons of Ready, Reconciling and several other conditions.
const (
	ReasonSucceeded   = "Succeeded"
	ReasonProgressing = "Progressing"
	// ReasonAccessDisabled: Ready is True, and sign-ins are refused as
	// spec.access says.
	ReasonAccessDisabled = "AccessDisabled"
	// ReasonSuspended: spec.suspend stops the operator's work. Ready is True
	// when users can sign in with what was configured before.
	ReasonSuspended = "Suspended"
)

// Reasons of MetadataFetched besides Succeeded.
const (
	ReasonNotModified        = "NotModified"
	ReasonDNSFailed          = "DNSFailed"
	ReasonConnectFailed      = "ConnectFailed"
	ReasonTLSFailed          = "TLSFailed"
	ReasonTimeout            = "Timeout"
	ReasonHTTPStatus         = "HTTPStatus"
	ReasonTooLarge           = "TooLarge"
	ReasonRedirectNotAllowed = "RedirectNotAllowed"
	ReasonURLNotAllowed      = "URLNotAllowed"
	ReasonSourceNotFound     = "SourceNotFound"
)

// Reasons of MetadataAccepted besides Succeeded.
const (
	ReasonParseFailed          = "ParseFailed"
	ReasonNoIDPRole            = "NoIDPRole"
	ReasonAmbiguousEntity      = "AmbiguousEntity"
	ReasonEntityIDMismatch     = "EntityIDMismatch"
	ReasonNoSigningCertificate = "NoSigningCertificate"
	ReasonInsecureEndpoint     = "InsecureEndpoint"
	ReasonExpired              = "Expired"
	ReasonSignatureInvalid     = "SignatureInvalid"
)

// Reasons of CertificatesValid.
const (
	ReasonValid        = "Valid"
	ReasonExpiringSoon = "ExpiringSoon"
	ReasonAllExpired   = "AllExpired"
	// ReasonExpiredAccepted: none is valid now, and sign-ins by expired ones go
	// on for a while as spec.acceptExpiredCertificatesUntil says.
	ReasonExpiredAccepted = "ExpiredAccepted"
	ReasonNotYetValid     = "NotYetValid"
)

// Reasons of ConfigRendered.
const (
	ReasonApplied              = "Applied"
	ReasonApplyFailed          = "ApplyFailed"
	ReasonKeySecretInvalid     = "KeySecretInvalid"
	ReasonNameConflict         = "NameConflict"
	ReasonCustomerNameConflict = "CustomerNameConflict"
)

// Reasons of GatewaySynced.
const (
	ReasonRolloutComplete = "RolloutComplete"
	// ReasonRolloutNotNeeded: the gateway's pods take configurations up as they
	// run. (--gateway-rollout=Structural)
	ReasonRolloutNotNeeded  = "RolloutNotNeeded"
	ReasonRolloutPending    = "RolloutPending"
	ReasonRolloutInProgress = "RolloutInProgress"
	ReasonRolloutStuck      = "RolloutStuck"
	ReasonGatewayNotFound   = "GatewayNotFound"
)

// Reasons of Events that are no condition's reason.
const (
	// EventMetadataChanged: other metadata than before was taken over.
	EventMetadataChanged = "MetadataChanged"
	// EventCertificateDropped: the IdP publishes a signing certificate that
	// cannot be used; the others are.
	EventCertificateDropped = "CertificateDropped"
	// EventSSOHostChanged: users are sent to another host of the IdP than before.
	EventSSOHostChanged = "SSOHostChanged"
	// EventKeyRotated: the SP key has a successor, or the successor took over.
	EventKeyRotated = "KeyRotated"
)

// Annotations by which people ask for something; the status says what was done.
const (
	// AnnotationReconcileRequestedAt asks for a fetch at once whenever its value
	// changes; status.lastHandledReconcileAt echoes the value that was handled.
	AnnotationReconcileRequestedAt = "sso.cequence.cloud/reconcile-requested-at"
	// AnnotationAcceptMetadata accepts the document of that digest
	// (status.rejectedDigest) although its entity ID is not the one before.
	AnnotationAcceptMetadata = "sso.cequence.cloud/accept-metadata"
	// AnnotationRotateKeyRequestedAt asks for a new SP key whenever its value
	// changes; status.key.lastHandledRotateAt echoes the value that was handled.
	AnnotationRotateKeyRequestedAt = "sso.cequence.cloud/rotate-key-requested-at"
)

// ReasonTokenSecretInvalid is the reason of SCIMReady besides Succeeded.
const ReasonTokenSecretInvalid = "TokenSecretInvalid"
