// Package store keeps what must outlive a gateway process: the users that were
// created just in time or by the customer's directory, the one-time use of assertions and requests, the
// sessions' groups, and which sessions were ended.
//
// SQLite serves one process, PostgreSQL any number. The engines share their
// statements, and both pass the suite in storetest.
package store

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"
)

var (
	// ErrReplayed says that an assertion, or a request for logout, was used
	// before.
	ErrReplayed = errors.New("message was used before")
	// ErrRequestAnswered says that the request which an assertion answers was
	// answered before, by another assertion.
	ErrRequestAnswered = errors.New("request was answered before")
	// ErrAssertionExpired says that an assertion has expired by the store's
	// clock, so that its use would not be remembered.
	ErrAssertionExpired = errors.New("assertion has expired")
	// ErrLoggedOut says that the IdP has ended the session at its side after it
	// had issued the assertion.
	ErrLoggedOut = errors.New("the identity provider has ended this session")
	// ErrUserUnknown says that a user would have to be created, and must not be.
	ErrUserUnknown = errors.New("user is not known")
	// ErrTooManyUsers says that the tenant has as many users as it may.
	ErrTooManyUsers = errors.New("the tenant has as many users as it may have")
	// ErrUserDisabled says that the user was disabled.
	ErrUserDisabled = errors.New("user is disabled")
	// ErrUserInactive says that the customer's directory has the user as inactive.
	ErrUserInactive = errors.New("user is inactive in the customer's directory")
	// ErrNotFound says that there is no such session, user or group.
	ErrNotFound = errors.New("not found")
)

// Store is shared by all requests of a gateway; its methods may be called
// concurrently. Times are kept in UTC with a resolution of a millisecond.
// Rows that have expired are never returned, and go away by themselves.
type Store interface {
	// RecordSignIn does in one transaction what makes a sign-in count: it uses
	// up the assertion and the request, creates or updates the user, and keeps
	// the session. Of concurrent calls with one assertion or one request,
	// exactly one succeeds; the others get ErrReplayed or ErrRequestAnswered.
	// One with an assertion that has expired gets ErrAssertionExpired. After an
	// error nothing of the sign-in remains.
	RecordSignIn(ctx context.Context, s SignIn) (SignInResult, error)
	// RecordTest uses up the assertion and the request as RecordSignIn does, with
	// the same errors, and says what would have become of the sign-in. It creates,
	// changes and begins nothing. Without a stable ID in the profile it only uses
	// up.
	RecordTest(ctx context.Context, s SignIn) (TestResult, error)
	// GetSession returns a session that was recorded and has not expired, or
	// ErrNotFound. It says nothing about revocation.
	GetSession(ctx context.Context, tenant, id string) (Session, error)
	// RevokeSession ends a session; until is when it would have ended anyway.
	// The session need not have been recorded, and may be revoked already.
	RevokeSession(ctx context.Context, id string, until time.Time) error
	// RecordLogout does in one transaction what an IdP's request for logout
	// asks for: it uses the request up, or returns ErrReplayed, ends the
	// sessions that the request means, and keeps those from beginning whose
	// assertion was issued before it. It returns the sessions that it ended,
	// each with the time until which that must be remembered.
	RecordLogout(ctx context.Context, l Logout) (map[string]time.Time, error)
	// RevokedSessions returns the sessions that were revoked after a position
	// in the order of revocations, each with the time until which that must be
	// remembered, and the position to go on from. Position 0 is before all.
	RevokedSessions(ctx context.Context, after int64) (revoked map[string]time.Time, last int64, err error)
	// AwaitRevocation returns nil when a session may have been revoked since
	// the last call, by any process that shares the database, and an error when
	// ctx ends before. It may miss some: poll as well.
	AwaitRevocation(ctx context.Context) error
	// ListUsers returns users in the order of their IDs.
	ListUsers(ctx context.Context, q UserQuery) ([]User, error)
	// GetUser returns a user of a tenant, or ErrNotFound.
	GetUser(ctx context.Context, tenant, id string) (User, error)
	// SetUserDisabled keeps a user out, or lets the user in again whoever kept the
	// user out, or returns ErrNotFound. Disabling ends all of the user's sessions in the same
	// transaction and returns them as RecordLogout does. A sign-in at the same
	// time gets ErrUserDisabled, or its session ends.
	SetUserDisabled(ctx context.Context, tenant, id string, disabled bool) (User, map[string]time.Time, error)
	// ListSessions returns sessions in the order of their IDs.
	ListSessions(ctx context.Context, q SessionQuery) ([]Session, error)
	// EndSessions ends sessions, and returns them as RecordLogout does.
	EndSessions(ctx context.Context, q SessionQuery) (map[string]time.Time, error)
	// AppendAudit keeps entries of the audit log until they expire, all or none.
	// One that is there already stays as it is.
	AppendAudit(ctx context.Context, entries []AuditEntry) error
	// ListAudit returns entries, the latest first.
	ListAudit(ctx context.Context, q AuditQuery) ([]AuditEntry, error)
	Directory
	// Close releases what the engine holds.
	Close() error
}

// Open opens the store at a location: the URL of a PostgreSQL database, which
// need not be there yet, or else a file of SQLite.
func Open(ctx context.Context, location string, now func() time.Time) (Store, error) {
	if IsURL(location) {
		return OpenPostgreSQL(func() (string, error) { return location, nil }, now)
	}
	return OpenSQLite(ctx, location, now)
}

// IsURL says whether a location is a URL of whatever kind, and no file.
func IsURL(location string) bool { return strings.Contains(location, "://") }

// SignIn is one verified assertion and what is to be done with it.
type SignIn struct {
	Tenant string
	// IDPEntityID is the issuer: assertion IDs and stable IDs are unique
	// within it only.
	IDPEntityID string

	AssertionID     string
	AssertionIssued time.Time
	// AssertionExpires is when the assertion is refused for its age anyway.
	AssertionExpires time.Time
	// RequestID is empty if the assertion answers no request.
	RequestID string
	// RequestExpires is when an answer to the request is refused anyway.
	RequestExpires time.Time

	// NewUserID is the user's ID if the sign-in creates one.
	NewUserID    string
	Profile      Profile
	Provisioning Provisioning
	// SessionID, SessionExpires and SessionGroups are of the session that
	// begins. The groups are those that its cookie is too small for.
	SessionID      string
	SessionExpires time.Time
	SessionGroups  []string
	// NameID and SessionIndex are what the IdP calls the user and the session
	// when one of us logs out.
	NameID       NameID
	SessionIndex string
}

// NameID names a user between an IdP and us [SAMLCore 2.2.2].
type NameID struct {
	Value           string `json:"value"`
	Format          string `json:"format,omitempty"`
	NameQualifier   string `json:"nameQualifier,omitempty"`
	SPNameQualifier string `json:"spNameQualifier,omitempty"`
	SPProvidedID    string `json:"spProvidedID,omitempty"`
}

// Logout is one verified request of an IdP to end sessions.
type Logout struct {
	Tenant      string
	IDPEntityID string

	RequestID     string
	RequestIssued time.Time
	// RequestExpires is when the request is refused for its age anyway.
	RequestExpires time.Time

	NameID NameID
	// SessionIndexes are those to end; none means all sessions of the user.
	SessionIndexes []string
}

// Means says whether l is to end the session that begins with s.
//
// The NameID has to be the same, but for attributes that one of them lacks:
// Entra ID leaves the format out. A session whose index the IdP has not told
// ends with any of them. An index that is the ID of the assertion names its
// session by itself, since such an ID is unique [SAMLCore 1.3.4]: Entra ID may
// call the user by another name than it did in the assertion.
func (l Logout) Means(s SignIn) bool {
	if l.Tenant != s.Tenant || l.IDPEntityID != s.IDPEntityID {
		return false
	}
	named := slices.Contains(l.SessionIndexes, s.SessionIndex)
	if named && s.SessionIndex != "" && s.SessionIndex == s.AssertionID {
		return true
	}
	return l.NameID.matches(s.NameID) && (named || len(l.SessionIndexes) == 0 || s.SessionIndex == "")
}

// matches is [SAMLCore 3.3.4] for identifiers of which one may say less.
func (n NameID) matches(other NameID) bool {
	same := func(a, b string) bool { return a == "" || b == "" || a == b }
	return n.Value != "" && n.Value == other.Value && same(formatOf(n), formatOf(other)) &&
		same(n.NameQualifier, other.NameQualifier) && same(n.SPNameQualifier, other.SPNameQualifier)
}

// formatOf returns nothing for the format that says nothing [SAMLCore 8.3.1].
func formatOf(n NameID) string {
	if n.Format == "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified" {
		return ""
	}
	return n.Format
}

// Provisioning says what a sign-in may do to the users of its tenant.
type Provisioning struct {
	// ExistingOnly: it creates none, but gets ErrUserUnknown.
	ExistingOnly bool
	// MaxUsers is how many users the tenant may have, of all its IdPs; a sign-in
	// that would create one more gets ErrTooManyUsers. Zero is no limit.
	MaxUsers int
	// What is kept stays as it was at the user's first sign-in.
	KeepEmail, KeepGivenName, KeepSurname, KeepDisplayName bool
}

// NewUserID returns an ID for SignIn: random, and as long as any other.
func NewUserID() string { return rand.Text() }

// Profile is what an assertion says about a user.
type Profile struct {
	// StableID identifies the user within tenant, IdP and UserIDSource. These
	// decide who somebody is; the e-mail address never does. It has no line
	// breaks.
	StableID string
	// UserIDSource is where StableID is from. What one attribute says and another
	// says, too, are two users. It is empty for a user who has not signed in
	// since before the store kept it.
	UserIDSource string

	Email       string
	GivenName   string
	Surname     string
	DisplayName string
	Groups      []string
}

// SignInResult is what RecordSignIn did.
type SignInResult struct {
	User User
	// Created is true for the first sign-in of User.
	Created bool
}

// TestResult is what RecordTest found out.
type TestResult struct {
	// Known: the user is there already.
	Known bool
	// Refusal is nil if the user would be let in, else ErrUserUnknown,
	// ErrTooManyUsers, ErrUserDisabled or ErrUserInactive.
	Refusal error
}

// User is a person of a tenant, as of the last sign-in.
type User struct {
	// ID is random and never reused.
	ID          string
	Tenant      string
	IDPEntityID string
	Profile     Profile

	CreatedAt time.Time
	// LastSignInAt is zero before the first.
	LastSignInAt time.Time
	// SignIns counts them, the first included.
	SignIns int64
	// DisabledAt is zero unless an administrator keeps the user out, InactiveAt
	// unless the customer's directory does.
	DisabledAt, InactiveAt time.Time
}

// Session is what was recorded of a session. Groups are SignIn.SessionGroups.
type Session struct {
	ID     string
	Tenant string
	UserID string
	Groups []string
	// NameID and SessionIndex are empty in a session that began before this
	// release.
	NameID       NameID
	SessionIndex string
	CreatedAt    time.Time
	ExpiresAt    time.Time
}
