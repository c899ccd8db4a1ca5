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
	// Published is since when the SP metadata lists both; zero while it does not
	// list Next yet.
	Published time.Time
	// Theirs: somebody else owns the pair that is to be used. Wanted is its
	// certificate, nil when it cannot be had.
	Theirs bool
	Wanted *x509.Certificate
	// Disowned: the newest pair is one that was Theirs before and is to be used
	// no longer.
	Disowned bool
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
	case s.Wanted != nil && (s.Next == nil || !s.Wanted.Equal(s.Next)), s.Disowned:
		return Publish, time.Time{}
	case s.Next != nil && s.Published.IsZero():
		return Keep, time.Time{}
	case s.Next != nil:
		at := s.SignsFrom()
		switch {
		case now.Before(at):
			return Keep, at
		case s.Requested:
			// First it has to be on record that this was the answer: otherwise an
			// operator that is stopped now would make another pair.
			return Keep, now
		}
		return Promote, time.Time{}
	case s.Theirs:
		return Keep, time.Time{}
	}
	due := s.NextRotation()
	if s.Requested || !now.Before(due) {
		return Publish, time.Time{}
	}
	return Keep, due
}

// SignsFrom is when a successor that is published takes over.
func (s State) SignsFrom() time.Time { return s.Published.Add(s.Overlap) }

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
