package spkey

import (
	"crypto/rsa"
	"crypto/x509"
	"time"
)

// Action is what has to be done with a tenant's key pairs.
type Action int

// Actions of a rotation, which has two steps: the successor is published and
// decrypts, and when the overlap is over it takes over and signs.
const (
	// Keep leaves the pairs as they are.
	Keep Action = iota
	// Adopt makes the wanted pair, or a new one, the one in use: there is none,
	// or it has the same key, of which nobody notices a new certificate.
	Adopt
	// Publish puts the wanted pair, or a new one, beside the one in use.
	Publish
	// Promote makes the successor the one in use.
	Promote
)

// expiryNotice is how long before the end of its certificate a pair gets a
// successor at the latest, beside the overlap.
const expiryNotice = 30 * 24 * time.Hour

// State is what a rotation is decided on.
type State struct {
	// Current and Next are the certificates of the pair in use and of its
	// successor; nil when there is none.
	Current, Next *x509.Certificate
	// SignsFrom is when Next is to take over.
	SignsFrom time.Time
	// Wanted is the certificate of the pair that somebody else owns and that is
	// to be used; nil when we make the pairs.
	Wanted *x509.Certificate
	// Requested: a person asks for a new pair.
	Requested bool
	// Interval is the age of a pair at which it gets a successor; zero for none.
	// Overlap is how long both are published.
	Interval, Overlap time.Duration
}

// Decide tells what to do at now, and when to look again; the zero time when
// only a change of s makes a difference.
func Decide(s State, now time.Time) (Action, time.Time) {
	switch {
	case s.Current == nil:
		return Adopt, time.Time{}
	case s.Wanted != nil && sameKey(s.Wanted, s.Current):
		if !s.Wanted.Equal(s.Current) || s.Next != nil {
			return Adopt, time.Time{}
		}
		return Keep, time.Time{}
	case s.Wanted != nil && (s.Next == nil || !s.Wanted.Equal(s.Next)):
		return Publish, time.Time{}
	case s.Next != nil:
		// An overlap that was made shorter counts at once.
		at := s.SignsFrom
		if latest := now.Add(s.Overlap); at.After(latest) {
			at = latest
		}
		if !now.Before(at) {
			return Promote, time.Time{}
		}
		return Keep, at
	}
	due := s.NextRotation()
	if s.Requested || !now.Before(due) {
		return Publish, time.Time{}
	}
	return Keep, due
}

// NextRotation is when the pair in use gets a successor that we make.
func (s State) NextRotation() time.Time {
	due := s.Current.NotAfter.Add(-s.Overlap - expiryNotice)
	if byAge := s.Current.NotBefore.Add(s.Interval); s.Interval > 0 && byAge.Before(due) {
		return byAge
	}
	return due
}

// sameKey compares keys of certificates that [Certificate] has read: RSA.
func sameKey(a, b *x509.Certificate) bool {
	key, ok := a.PublicKey.(*rsa.PublicKey)
	return ok && key.Equal(b.PublicKey)
}
