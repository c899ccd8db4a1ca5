package storetest

import (
	"errors"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/store"
)

func assertionOnce(t *testing.T, s *suite) {
	s.record(t, s.signIn(1))
	replay := s.signIn(2)
	replay.AssertionID, replay.AssertionExpires = "assertion-1", s.clock.Now().Add(time.Hour)
	s.refuse(t, replay, store.ErrReplayed)

	s.clock.Advance(5*time.Minute - time.Millisecond)
	s.refuse(t, replay, store.ErrReplayed)

	elsewhere := replay
	elsewhere.Tenant = "globex"
	s.record(t, elsewhere)

	s.clock.Advance(time.Millisecond)
	replay.SessionID = "session-3"
	s.record(t, replay)
}

func requestOnce(t *testing.T, s *suite) {
	s.record(t, s.signIn(1))
	second := s.signIn(2)
	second.RequestID = "request-1"
	s.refuse(t, second, store.ErrRequestAnswered)

	second.AssertionExpires = s.clock.Now().Add(time.Hour)
	s.clock.Advance(15 * time.Minute)
	s.record(t, second)
}

func unsolicited(t *testing.T, s *suite) {
	for n := range 2 {
		in := s.signIn(n)
		in.RequestID = ""
		s.record(t, in)
		in.SessionID = "session-of-the-replay"
		s.refuse(t, in, store.ErrReplayed)
	}
}

// Otherwise it could be used again and again: each use would be forgotten at
// once.
func assertionExpired(t *testing.T, s *suite) {
	for _, age := range []time.Duration{0, time.Millisecond, time.Hour} {
		late := s.signIn(1)
		late.AssertionExpires = s.clock.Now().Add(-age)
		s.refuse(t, late, store.ErrAssertionExpired)
	}
	in := s.signIn(1)
	in.AssertionExpires = s.clock.Now().Add(time.Millisecond)
	if got := s.record(t, in); got.User.SignIns != 1 {
		t.Errorf("a refused sign-in counted: %+v", got.User)
	}
}

func refusalLeavesNothing(t *testing.T, s *suite) {
	first := s.record(t, s.signIn(1))
	second := s.signIn(2)
	second.RequestID = "request-1"
	second.Profile.Email = "mallory@acme.example"
	s.refuse(t, second, store.ErrRequestAnswered)

	if _, err := s.GetSession(t.Context(), "acme", "session-2"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the refused sign-in left a session: %v", err)
	}
	// Its assertion was not used up, and it did not count.
	second.RequestID = "request-2"
	if again := s.record(t, second); again.User.ID != first.User.ID || again.User.SignIns != 2 {
		t.Errorf("the next sign-in: %+v", again)
	}
}

func parallelReplay(t *testing.T, s *suite) {
	replayAt(t, s, s.Store)
}

// replayAt posts one assertion to all replicas at once.
func replayAt(t *testing.T, s *suite, replicas ...store.Store) {
	t.Helper()
	const posts = 100
	errs := parallel(posts, func(i int) error {
		in := s.signIn(i)
		in.AssertionID, in.RequestID = "assertion-one", "request-one"
		_, err := replicas[i%len(replicas)].RecordSignIn(t.Context(), in)
		return err
	})
	succeeded := 0
	for _, err := range errs {
		switch {
		case err == nil:
			succeeded++
		case !errors.Is(err, store.ErrReplayed):
			t.Errorf("got error %v, want %v", err, store.ErrReplayed)
		}
	}
	if succeeded != 1 {
		t.Errorf("%d of %d posts of one assertion succeeded, want 1", succeeded, posts)
	}
}
