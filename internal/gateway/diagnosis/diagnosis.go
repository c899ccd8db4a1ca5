// Package diagnosis says, to an administrator who need not know SAML, what a
// test of a tenant's connection has found: what arrived, what became of it, and
// what to change. It is pure: what it is given becomes parts of a page, in all
// languages, and nothing else happens.
//
// What it shows of a response that was not verified is set apart, and is never of
// the user: whoever sends an administrator a forged response must not have it
// taken for the truth, nor have what is encrypted in it read.
package diagnosis

import (
	"errors"
	"strings"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/identity"
	"cequence.cloud/saml-operator/internal/gateway/pages"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/store"
)

// Result is what a test has found.
type Result struct {
	Tenant *tenant.Tenant
	// Now is when the response arrived, and RequestID what was asked.
	Now       time.Time
	RequestID string
	// Outline is of the response as it came, and Trace the checks that were made.
	Outline sp.Outline
	Trace   sp.Trace
	// Code is that of the refusal, empty if the user would be let in. Cause is
	// the refusal.
	Code  string
	Cause error

	// The others count only if Assertion, which was verified, is not nil.
	Assertion *sp.Assertion
	// Stale: the IdP has not authenticated the user anew, as it was asked to.
	Stale bool
	// UsedUp: the assertion was good for its one use. What is false has failed, or
	// was not reached.
	UsedUp bool
	// Identity is nil if the assertion identifies nobody.
	Identity *identity.Identity
	// Admission and Provisioning are the refusals of the tenant's rules and of
	// what may be created, nil for none. Known: the user is there already.
	Admission, Provisioning error
	Known                   bool
}

// Outcome is how a test has ended.
type Outcome int

// The outcomes.
const (
	// Failed: the IdP's answer is of no use.
	Failed Outcome = iota
	// KeptOut: the answer is in order, but the tenant does not let its user in.
	KeptOut
	Passed
)

// Outcome of the test.
func (r Result) Outcome() Outcome {
	switch {
	case r.Code == "":
		return Passed
	case r.Identity != nil && r.UsedUp && r.Code != CodeAuthenticationTooOld:
		return KeptOut
	}
	return Failed
}

// Lead is what is wrong and what to do next.
func (r Result) Lead() []pages.Said {
	if r.Code == "" {
		return nil
	}
	e := r.explanation()
	return []pages.Said{
		r.filled(e.What),
		r.filled(pages.Said{"Next step: " + e.Next[0], "Nächster Schritt: " + e.Next[1]}),
	}
}

// explanation is the most special one there is.
func (r Result) explanation() Explanation {
	if refusal := r.refusal(); refusal != nil && len(refusal.StatusCodes) > 0 {
		if _, e, known := entraOf(refusal.StatusMessage); known {
			return e
		}
		if e, known := statusOf(refusal.StatusCodes); known {
			return e
		}
	}
	e, known := ExplanationOf(r.Code)
	if !known {
		e, _ = ExplanationOf(string(sp.CodeInternal))
	}
	return e
}

func (r Result) filled(said pages.Said) pages.Said { return filled(said, r.Tenant) }

// filled puts the tenant's values into a text.
func filled(said pages.Said, t *tenant.Tenant) pages.Said {
	config := t.Config
	values := strings.NewReplacer("{tenant}", t.Name(), "{entityID}", config.ServiceProvider.EntityID,
		"{acs}", config.ServiceProvider.ACSURL, "{metadata}", config.ServiceProvider.MetadataURL, "{idp}", config.IdentityProvider.EntityID)
	for i := range said {
		said[i] = values.Replace(said[i])
	}
	return said
}

// StoreCode is the code of a refusal of the store, empty for other errors.
func StoreCode(err error) string {
	for _, refusal := range []struct {
		err  error
		code string
	}{
		{store.ErrUserDisabled, CodeUserDisabled},
		{store.ErrUserInactive, CodeUserInactive},
		{store.ErrUserUnknown, CodeUserUnknown},
		{store.ErrTooManyUsers, CodeUserLimitReached},
		{store.ErrReplayed, CodeReplayed},
		{store.ErrRequestAnswered, CodeRequestAnswered},
		{store.ErrAssertionExpired, string(sp.CodeExpired)},
		{store.ErrLoggedOut, CodeLoggedOut},
	} {
		if errors.Is(err, refusal.err) {
			return refusal.code
		}
	}
	return ""
}
