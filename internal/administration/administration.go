// Package administration is the gateway's administration API as its clients see
// it: what is exchanged, and a client. docs/reference/administration-api.yaml
// describes it for others.
package administration

import "time"

// Audience is whom a token has to be for: the API server takes none of those, so
// that a gateway cannot act for an administrator there.
const Audience = "saml-gateway-administration"

// Prefix of all paths.
const Prefix = "/api/v1/tenants/"

// The resources of the group sso.cequence.cloud on which the cluster's RBAC
// decides, with a tenant's name as the name of the resource.
const (
	ResourceUsers    = "users"
	ResourceSessions = "sessions"
	ResourceAudit    = "audit"
	ResourceTest     = "test"
)

// User is a person of a tenant, as of the last sign-in.
type User struct {
	ID          string `json:"id"`
	IDPEntityID string `json:"idpEntityID"`
	// StableID identifies the user within the identity provider, and
	// UserIDSource is where it is from.
	StableID     string    `json:"stableID"`
	UserIDSource string    `json:"userIDSource,omitempty"`
	Email        string    `json:"email"`
	GivenName    string    `json:"givenName"`
	Surname      string    `json:"surname"`
	DisplayName  string    `json:"displayName"`
	Groups       []string  `json:"groups"`
	CreatedAt    time.Time `json:"createdAt"`
	LastSignInAt time.Time `json:"lastSignInAt,omitzero"`
	SignIns      int64     `json:"signIns"`
	// DisabledAt is nil unless an administrator keeps the user out, InactiveAt
	// unless the customer's directory does.
	DisabledAt *time.Time `json:"disabledAt,omitempty"`
	InactiveAt *time.Time `json:"inactiveAt,omitempty"`
}

// UserPatch changes a user.
type UserPatch struct {
	// Disabled keeps the user out, and ends all of the user's sessions.
	Disabled *bool `json:"disabled"`
}

// Session is one that has not ended.
type Session struct {
	ID        string    `json:"id"`
	UserID    string    `json:"userID"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// AuditEntry is a line of the audit log. What is empty is left out.
// docs/reference/audit-log.md describes the fields for others.
type AuditEntry struct {
	// ID is unique, and later entries of one gateway have greater ones.
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
	Event   string    `json:"event"`
	Outcome string    `json:"outcome"`
	// Code is the stable reason of a refusal.
	Code string `json:"code,omitempty"`
	// Action is what was done to a user, to sessions or to a configuration.
	Action string `json:"action,omitempty"`
	Tenant string `json:"tenant"`
	// Actor is the account of an administrator, "identity provider" for a logout
	// that came from there, "directory" for what came by SCIM, else empty: the user, or whoever had the browser.
	Actor string `json:"actor,omitempty"`
	// User is the user's ID in the store.
	User        string `json:"user,omitempty"`
	AssertionID string `json:"assertionID,omitempty"`
	// RequestID is of the message that was answered, or that asked.
	RequestID string `json:"requestID,omitempty"`
	// Address is of the TCP connection, so that of a proxy if there is one.
	Address string `json:"address,omitempty"`
	// SupportID is what the user was shown.
	SupportID string `json:"supportID,omitempty"`
	// Sessions is how many were ended.
	Sessions int `json:"sessions,omitempty"`
	// ConfigHash is of the configuration that came into use, or went.
	ConfigHash string `json:"configHash,omitempty"`
}

// List is a page of a list.
type List[T any] struct {
	Items []T `json:"items"`
	// Next is what after has to be for the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

// Ended says how many sessions were ended.
type Ended struct {
	Sessions int `json:"sessions"`
}

// TestLink is where an administrator may test a tenant's connection.
type TestLink struct {
	URL string `json:"url"`
	// ExpiresAt is when it stops to open the test.
	ExpiresAt time.Time `json:"expiresAt"`
}

// Problem is the answer to a request that failed.
type Problem struct {
	Error string `json:"error"`
}
