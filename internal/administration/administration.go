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
	LastSignInAt time.Time `json:"lastSignInAt"`
	SignIns      int64     `json:"signIns"`
	// DisabledAt is nil unless the user is kept out.
	DisabledAt *time.Time `json:"disabledAt,omitempty"`
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

// Problem is the answer to a request that failed.
type Problem struct {
	Error string `json:"error"`
}
