package server

import (
	"context"
	"sync"

	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/store"
)

// maxCachedGroups bounds the cache, in sessions. Few sessions need it: only
// those with more groups than a cookie holds. Others are read again.
const maxCachedGroups = 2000

// groupCache has the groups of sessions whose groups are in the store. They
// never change during a session.
type groupCache struct {
	store store.Store
	mu    sync.RWMutex
	byID  map[string][]string
}

func newGroupCache(s store.Store) *groupCache {
	return &groupCache{store: s, byID: map[string][]string{}}
}

func (c *groupCache) of(ctx context.Context, tenant string, s session.Session) ([]string, error) {
	if !s.GroupsInStore {
		return s.Groups, nil
	}
	c.mu.RLock()
	groups, ok := c.byID[s.ID]
	c.mu.RUnlock()
	if ok {
		return groups, nil
	}
	stored, err := c.store.GetSession(ctx, tenant, s.ID)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byID) >= maxCachedGroups {
		for id := range c.byID { // any will do
			delete(c.byID, id)
			break
		}
	}
	c.byID[s.ID] = stored.Groups
	return stored.Groups, nil
}
