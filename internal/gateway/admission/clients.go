package admission

import (
	"sync"
	"sync/atomic"
)

// Clients bounds how many requests of each client, or of whoever else is named,
// are open at once. Nobody waits. Its methods may be called concurrently.
type Clients struct {
	most int

	mu      sync.Mutex
	open    map[string]int
	refused atomic.Int64
}

// NewClients returns a bound of so many requests.
func NewClients(most int) *Clients { return &Clients{most: most, open: map[string]int{}} }

// Enter returns true if the client may have one more request open, which Leave
// ends.
func (c *Clients) Enter(client string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[client] >= c.most {
		c.refused.Add(1)
		return false
	}
	c.open[client]++
	return true
}

// Leave ends a request.
func (c *Clients) Leave(client string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[client]--; c.open[client] == 0 {
		delete(c.open, client)
	}
}

// Refused is how many were not let in.
func (c *Clients) Refused() int64 { return c.refused.Load() }
