package session

import (
	"context"
	"log/slog"
	"time"
)

// pollInterval is how often the store is asked for revocations when it tells
// of none. Within two seconds they have to be everywhere.
const pollInterval = time.Second

// RevocationStore is the part of store.Store that Follow needs.
type RevocationStore interface {
	RevokeSession(ctx context.Context, id string, until time.Time) error
	RevokedSessions(ctx context.Context, after int64) (revoked map[string]time.Time, last int64, err error)
	AwaitRevocation(ctx context.Context) error
}

// Follower keeps Revocations and the store's alike.
type Follower struct {
	Revocations *Revocations
	Store       RevocationStore
	Now         func() time.Time
	Log         *slog.Logger

	position int64
	failing  bool
	// late are those that the store had not told of at the last look either:
	// whoever ended them has had the time to store them.
	late map[string]time.Time
}

// Load reads the revocations that are new in the store. Before it has succeeded
// once, no session counts.
func (f *Follower) Load(ctx context.Context) error {
	revoked, last, err := f.Store.RevokedSessions(ctx, f.position)
	if err != nil {
		return err
	}
	f.Revocations.stored(revoked, f.Now())
	f.position = last
	return nil
}

// Run follows the store until ctx ends. While the store is away what is known
// holds, and what is ended here is stored when it is back.
func (f *Follower) Run(ctx context.Context) {
	for ctx.Err() == nil {
		f.await(ctx)
		err := f.look(ctx)
		switch failed := err != nil && ctx.Err() == nil; {
		case failed && !f.failing:
			f.Log.Warn("revocations of sessions cannot be exchanged with the database", "error", err.Error())
			f.failing = true
		case err == nil && f.failing:
			f.Log.Info("revocations of sessions are exchanged with the database again")
			f.failing = false
		}
	}
}

func (f *Follower) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pollInterval)
	defer cancel()
	_ = f.Store.AwaitRevocation(ctx) // an error is the end of ctx
}

func (f *Follower) look(ctx context.Context) error {
	if err := f.Load(ctx); err != nil {
		return err
	}
	missing := f.Revocations.missing(f.Now())
	for id, until := range missing {
		if _, late := f.late[id]; !late {
			continue
		}
		if err := f.Store.RevokeSession(ctx, id, until); err != nil {
			return err
		}
	}
	f.late = missing
	return nil
}
