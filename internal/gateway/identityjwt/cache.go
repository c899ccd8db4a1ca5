package identityjwt

import (
	"sync"
	"time"
)

// maxCachedBytes bounds the cache: 20,000 sessions, or 2,000 of users with many
// groups. Others are signed again.
const maxCachedBytes = 32 << 20

// token is one that was signed.
type token struct {
	keys   *keys
	claims Claims
	text   string
	// until is when it is no longer given out, expires when it counts no more.
	until, expires time.Time
}

// size is about what it takes in memory.
func (t *token) size() int {
	size := 512 + len(t.text) + len(t.claims.Issuer) + len(t.claims.Audience) + len(t.claims.Subject) + len(t.claims.Email) + len(t.claims.Name)
	for _, values := range [][]string{t.claims.Groups, t.claims.Roles} {
		for _, value := range values {
			size += 16 + len(value)
		}
	}
	return size
}

// cache has the newest token of each session.
type cache struct {
	mu        sync.RWMutex
	bySession map[string]*token
	bytes     int
}

func (c *cache) get(session string) *token {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.bySession[session]
}

func (c *cache) put(session string, t *token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySession == nil {
		c.bySession = map[string]*token{}
	}
	c.remove(session)
	for other := range c.bySession { // any will do
		if c.bytes+t.size() <= maxCachedBytes {
			break
		}
		c.remove(other)
	}
	c.bySession[session] = t
	c.bytes += t.size()
}

func (c *cache) remove(session string) {
	if t, ok := c.bySession[session]; ok {
		c.bytes -= t.size()
		delete(c.bySession, session)
	}
}
