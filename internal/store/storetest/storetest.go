// Package storetest is what every engine of package store must fulfil.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/store"
)

// Clock is a clock that tests set. It may be used concurrently.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that shows a fixed time.
func NewClock() *Clock {
	return &Clock{now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
}

// Now returns the time that the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Open opens the same database at each call within one test, and an empty one
// in another test. The suite closes what it opens.
type Open func(t *testing.T, now func() time.Time) store.Store

// Run runs the suite. For each test, newOpen is called once.
func Run(t *testing.T, newOpen func(t *testing.T) Open) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"first sign-in creates the user, the next updates it", createThenUpdate},
		{"users are separate by tenant, IdP, stable ID and its source only", separateUsers},
		{"no stable ID is another's with its source", noForgedKey},
		{"a sign-in may be for known users only", knownUsersOnly},
		{"a tenant has no more users than it may", tooManyUsers},
		{"parallel first sign-ins make no more users than the tenant may have", func(t *testing.T, s *suite) { limitAt(t, s, s.Store) }},
		{"what is kept is not updated", kept},
		{"an assertion is used once until it expires", assertionOnce},
		{"a request is answered once until it expires", requestOnce},
		{"an assertion that answers no request is used once all the same", unsolicited},
		{"an assertion that has expired is refused", assertionExpired},
		{"a refused sign-in leaves nothing", refusalLeavesNothing},
		{"a test uses up the assertion and changes nothing else", testLeavesNothing},
		{"100 parallel posts of one assertion sign in once", parallelReplay},
		{"50 parallel first sign-ins make one user", parallelFirstSignIns},
		{"sessions keep their groups until they expire", sessions},
		{"revocations hold until the session's end", revocations},
		{"a logout ends the sessions that it means", logoutMeans},
		{"a logout is used once until it expires", logoutOnce},
		{"a session that was ended before it begins does not begin", logoutFirst},
		{"a logout and a sign-in at once leave no session", logoutMeanwhile},
		{"a disabled user is kept out until enabled", disabledUser},
		{"whoever signs in while being disabled is out afterwards", func(t *testing.T, s *suite) { keepOutAt(t, s, disable, s.Store) }},
		{"a user of the directory and the sign-in are one user", directoryUserSignsIn},
		{"who has signed in before is the user of the directory", directoryAdopts},
		{"an inactive user is kept out until active", inactiveUser},
		{"whoever signs in while becoming inactive is out afterwards", func(t *testing.T, s *suite) { keepOutAt(t, s, deactivate, s.Store) }},
		{"names and IDs of a directory are taken once in a tenant", directoryNames},
		{"who signs in by another ID has no sessions any more", directoryRenames},
		{"a deleted user of the directory has no sessions, and begins anew", directoryDeletes},
		{"a directory has no more users than the tenant may", directoryLimit},
		{"groups of a directory have its users as members", directoryGroups},
		{"parallel changes of members all count", func(t *testing.T, s *suite) { membersAt(t, s, s.Store) }},
		{"users and groups of a directory are found by page and by filter", directoryLists},
		{"users and sessions are listed by page and by filter", lists},
		{"sessions end by user, by ID and by tenant", endSessions},
		{"audit entries are found until they expire", auditEntries},
		{"revocations are told in their order", revocationOrder},
		{"no revocation is missed", noRevocationIsMissed},
		{"a revocation is heard of", awaitRevocation},
		{"everything survives a restart", restart},
		{"a cancelled context ends a call", cancelled},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{clock: NewClock(), open: newOpen(t)}
			s.reopen(t)
			t.Cleanup(func() { _ = s.Close() })
			test.run(t, s)
		})
	}
}

// RunReplicas runs what an engine for several processes must fulfil beyond Run.
func RunReplicas(t *testing.T, newOpen func(t *testing.T) Open) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *suite, other store.Store)
	}{
		{"100 parallel posts of one assertion sign in once", func(t *testing.T, s *suite, other store.Store) {
			replayAt(t, s, s.Store, other)
		}},
		{"50 parallel first sign-ins make one user", func(t *testing.T, s *suite, other store.Store) {
			firstSignInsAt(t, s, s.Store, other)
		}},
		{"parallel first sign-ins make no more users than the tenant may have", func(t *testing.T, s *suite, other store.Store) {
			limitAt(t, s, s.Store, other)
		}},
		{"parallel sign-ins of unknown users leave nothing", func(t *testing.T, s *suite, other store.Store) {
			unknownAt(t, s, s.Store, other)
		}},
		{"whoever signs in while being disabled is out afterwards", func(t *testing.T, s *suite, other store.Store) {
			keepOutAt(t, s, disable, s.Store, other)
		}},
		{"whoever signs in while becoming inactive is out afterwards", func(t *testing.T, s *suite, other store.Store) {
			keepOutAt(t, s, deactivate, s.Store, other)
		}},
		{"parallel changes of members all count", func(t *testing.T, s *suite, other store.Store) {
			membersAt(t, s, s.Store, other)
		}},
		{"a revocation is heard of by the other replica", func(t *testing.T, s *suite, other store.Store) {
			awaitRevoked(t, s.Store, other, s.clock)
		}},
		{"a clock that is behind does not make an assertion good again", behind},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{clock: NewClock(), open: newOpen(t)}
			s.reopen(t)
			t.Cleanup(func() { _ = s.Close() })
			other := s.open(t, s.clock.Now)
			t.Cleanup(func() { _ = other.Close() })
			test.run(t, s, other)
		})
	}
}

func behind(t *testing.T, s *suite, _ store.Store) {
	s.record(t, s.signIn(1))
	begin := s.clock.Now()
	late := s.open(t, func() time.Time { return begin })
	t.Cleanup(func() { _ = late.Close() })
	replay := s.signIn(1)
	s.clock.Advance(6 * time.Minute)
	s.record(t, s.signIn(2)) // which deletes what has expired
	replay.SessionID = "session-3"
	if _, err := late.RecordSignIn(t.Context(), replay); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("got error %v, want %v", err, store.ErrReplayed)
	}
}

type suite struct {
	store.Store
	clock *Clock
	open  Open
}

func (s *suite) reopen(t *testing.T) {
	t.Helper()
	if s.Store != nil {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	s.Store = s.open(t, s.clock.Now)
}

// signIn returns the n-th sign-in of alice at acme.
func (s *suite) signIn(n int) store.SignIn {
	now := s.clock.Now()
	return store.SignIn{
		Tenant: "acme", IDPEntityID: "https://idp.example/acme",
		AssertionID: fmt.Sprintf("assertion-%d", n), AssertionExpires: now.Add(5 * time.Minute),
		RequestID: fmt.Sprintf("request-%d", n), RequestExpires: now.Add(15 * time.Minute),
		NewUserID: store.NewUserID(),
		Profile: store.Profile{
			StableID: "alice@acme.example", UserIDSource: "NameID", Email: "alice@acme.example",
			GivenName: "Alice", Surname: "Adams", DisplayName: "Alice Adams",
			Groups: []string{"staff", "admins"},
		},
		SessionID: fmt.Sprintf("session-%d", n), SessionExpires: now.Add(8 * time.Hour),
		SessionGroups: []string{"staff", "admins"},
	}
}

func (s *suite) record(t *testing.T, in store.SignIn) store.SignInResult {
	t.Helper()
	result, err := s.RecordSignIn(t.Context(), in)
	if err != nil {
		t.Fatalf("RecordSignIn: %v", err)
	}
	return result
}

func (s *suite) refuse(t *testing.T, in store.SignIn, want error) {
	t.Helper()
	if _, err := s.RecordSignIn(t.Context(), in); !errors.Is(err, want) {
		t.Fatalf("RecordSignIn: got error %v, want %v", err, want)
	}
}

func restart(t *testing.T, s *suite) {
	user := s.record(t, s.signIn(1)).User
	if err := s.RevokeSession(t.Context(), "session-9", s.clock.Now().Add(time.Hour)); err != nil {
		t.Fatalf("RevokeSession: %v", err)
	}
	s.reopen(t)

	s.refuse(t, s.signIn(1), store.ErrReplayed)
	if got := s.record(t, s.signIn(2)); got.Created || got.User.ID != user.ID || got.User.SignIns != 2 {
		t.Errorf("the next sign-in: %+v", got)
	}
	if _, err := s.GetSession(t.Context(), "acme", "session-1"); err != nil {
		t.Errorf("GetSession: %v", err)
	}
	if revoked, _, err := s.RevokedSessions(t.Context(), 0); err != nil || len(revoked) != 1 {
		t.Errorf("RevokedSessions: %v, %v", revoked, err)
	}
}

func cancelled(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.RecordSignIn(ctx, s.signIn(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	s.record(t, s.signIn(1))
}

// parallel runs do n times at once and returns the errors.
func parallel(n int, do func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}
