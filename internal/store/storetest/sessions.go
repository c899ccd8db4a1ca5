package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/store"
)

func sessions(t *testing.T, s *suite) {
	user := s.record(t, s.signIn(1)).User
	session, err := s.GetSession(t.Context(), "acme", "session-1")
	if err != nil {
		t.Fatalf("GetSession: %v", err)
	}
	if session.UserID != user.ID || !slices.Equal(session.Groups, []string{"staff", "admins"}) ||
		!session.ExpiresAt.Equal(s.clock.Now().Add(8*time.Hour)) {
		t.Errorf("session: %+v", session)
	}
	// A later sign-in with other groups leaves this session's alone, and keeps
	// only what it is told to.
	other := s.signIn(2)
	other.SessionGroups = nil
	if got := s.record(t, other); !slices.Equal(got.User.Profile.Groups, []string{"staff", "admins"}) {
		t.Errorf("the user's groups: %v", got.User.Profile.Groups)
	}
	if session, err := s.GetSession(t.Context(), "acme", "session-2"); err != nil || len(session.Groups) != 0 {
		t.Errorf("a session without groups: %+v, %v", session, err)
	}
	if session, err := s.GetSession(t.Context(), "acme", "session-1"); err != nil || len(session.Groups) != 2 {
		t.Errorf("session after another sign-in: %+v, %v", session, err)
	}
	if _, err := s.GetSession(t.Context(), "globex", "session-1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's session: got error %v, want %v", err, store.ErrNotFound)
	}
	s.clock.Advance(8 * time.Hour)
	if _, err := s.GetSession(t.Context(), "acme", "session-1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("expired session: got error %v, want %v", err, store.ErrNotFound)
	}
}

func revocations(t *testing.T, s *suite) {
	end := s.clock.Now().Add(time.Hour)
	for _, until := range []time.Time{end, end.Add(-time.Minute)} { // the second must not shorten it
		if err := s.RevokeSession(t.Context(), "session-1", until); err != nil {
			t.Fatalf("RevokeSession: %v", err)
		}
	}
	s.clock.Advance(time.Hour - time.Millisecond)
	revoked, _, err := s.RevokedSessions(t.Context(), 0)
	if err != nil || len(revoked) != 1 || !revoked["session-1"].Equal(end) {
		t.Errorf("RevokedSessions: %v, %v", revoked, err)
	}
	s.clock.Advance(time.Millisecond)
	if revoked, _, err := s.RevokedSessions(t.Context(), 0); err != nil || len(revoked) != 0 {
		t.Errorf("RevokedSessions after the session's end: %v, %v", revoked, err)
	}
}

func revocationOrder(t *testing.T, s *suite) {
	end := s.clock.Now().Add(time.Hour)
	position := int64(0)
	for _, step := range []struct{ revoke, want []string }{
		{nil, nil},
		{[]string{"a", "b"}, []string{"a", "b"}},
		{nil, nil},
		{[]string{"c"}, []string{"c"}},
		{[]string{"a"}, []string{"a"}}, // again: it may last longer
	} {
		for _, id := range step.revoke {
			if err := s.RevokeSession(t.Context(), id, end); err != nil {
				t.Fatalf("RevokeSession: %v", err)
			}
		}
		revoked, last, err := s.RevokedSessions(t.Context(), position)
		if err != nil {
			t.Fatalf("RevokedSessions: %v", err)
		}
		if got := slices.Sorted(maps.Keys(revoked)); !slices.Equal(got, step.want) {
			t.Errorf("after position %d: %v, want %v", position, got, step.want)
		}
		position = last
	}
	// A position that has not been reached is one of a database that was
	// replaced by an older one.
	if revoked, last, err := s.RevokedSessions(t.Context(), position+1); err != nil || len(revoked) != 3 || last != position {
		t.Errorf("after a position to come: %v, position %d, %v", revoked, last, err)
	}
}

// A position that was read must never hide a revocation that becomes visible
// later.
func noRevocationIsMissed(t *testing.T, s *suite) {
	const revocations = 60
	end := s.clock.Now().Add(time.Hour)
	done := make(chan []error, 1)
	go func() {
		done <- parallel(revocations, func(i int) error { return s.RevokeSession(t.Context(), fmt.Sprint(i), end) })
	}()
	seen, position := map[string]bool{}, int64(0)
	read := func() {
		revoked, last, err := s.RevokedSessions(t.Context(), position)
		if err != nil {
			t.Fatalf("RevokedSessions: %v", err)
		}
		for id := range revoked {
			seen[id] = true
		}
		position = last
	}
	for running := true; running; read() {
		select {
		case errs := <-done:
			running = false
			for _, err := range errs {
				if err != nil {
					t.Errorf("RevokeSession: %v", err)
				}
			}
		default:
		}
	}
	if len(seen) != revocations {
		t.Errorf("%d of %d revocations were seen", len(seen), revocations)
	}
}

func awaitRevocation(t *testing.T, s *suite) {
	awaitRevoked(t, s.Store, s.Store, s.clock)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var err error
	for err == nil { // one may be left to be heard of
		err = s.AwaitRevocation(ctx)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("AwaitRevocation: got error %v, want %v", err, context.Canceled)
	}
}

// awaitRevoked revokes a session at one replica and waits until another learns
// of it without polling.
func awaitRevoked(t *testing.T, here, there store.Store, clock *Clock) {
	t.Helper()
	position := int64(0)
	awaited := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		for {
			revoked, last, err := there.RevokedSessions(ctx, position)
			if _, seen := revoked["awaited"]; seen || err != nil {
				awaited <- err
				return
			}
			position = last
			if err := there.AwaitRevocation(ctx); err != nil {
				awaited <- err
				return
			}
		}
	}()
	if err := here.RevokeSession(t.Context(), "awaited", clock.Now().Add(time.Hour)); err != nil {
		t.Fatalf("RevokeSession: %v", err)
	}
	if err := <-awaited; err != nil {
		t.Errorf("the revocation was not heard of: %v", err)
	}
}
