// Package refresh is how the gateway asks the operator to fetch one tenant's
// metadata at once: when it meets a signature by a key that it does not know,
// the identity provider may just have changed to that key. One call, POST
// /refresh/TENANT, with a service account's token and without a body.
//
// A caller can cause fetches that would happen anyway, later, and bounded in
// number: each tenant's at most once in Interval, all tenants' by the rate of
// a token bucket. It learns which tenants there are, and nothing else: what is
// fetched goes to the tenant's Secret only, after the same checks as always.
// That is all that a stolen token is good for, until it expires: it is bound to
// an Audience that the API server does not accept.
package refresh

import (
	"errors"
	"time"
)

const (
	// Audience is whom the gateway's token must be for, and nobody else.
	Audience = "saml-operator"
	// Interval is the least time between two refreshes of one tenant.
	Interval = 30 * time.Second

	// rate, per second, and burst bound the refreshes of all tenants together.
	rate  = 10
	burst = 50

	pathPrefix = "/refresh/"
)

// Errors that say why nothing is refreshed.
var (
	// ErrLimited: it was asked for too often.
	ErrLimited = errors.New("asked for too often")
	// ErrUnknownTenant: there is no such tenant, or it is not to be refreshed.
	ErrUnknownTenant = errors.New("no tenant to refresh")
	// ErrUnauthenticated: the token is not valid, or not for us.
	ErrUnauthenticated = errors.New("token not accepted")
)
