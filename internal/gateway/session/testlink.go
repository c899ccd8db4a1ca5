package session

import "time"

// TestLinkLifetime is how long a link to the test of a connection is good: for
// an administrator who follows it, changes something and tries again.
const TestLinkLifetime = time.Hour

// maxTestKeyBytes is more than a key has.
const maxTestKeyBytes = 512

type testLink struct {
	ExpiresAt time.Time `json:"x"`
}

// SealTestKey returns a key, fit for a URL, to test a tenant's connection until
// a time.
func (c *Codec) SealTestKey(to Binding, expires time.Time) (string, error) {
	return c.seal(purposeTestLink, to, testLink{ExpiresAt: expires.UTC()})
}

// OpenTestKey returns until when a key is good, and whether it is now.
func (c *Codec) OpenTestKey(from Binding, key string, now time.Time) (expires time.Time, ok bool) {
	var l testLink
	if key == "" || len(key) > maxTestKeyBytes || c.open(purposeTestLink, from, key, &l) != nil || !now.Before(l.ExpiresAt) {
		return time.Time{}, false
	}
	return l.ExpiresAt, true
}
