// Package storetest is what every engine of package store must fulfil.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
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

func createThenUpdate(t *testing.T, s *suite) {
	begin := s.clock.Now()
	first := s.record(t, s.signIn(1))
	if !first.Created || first.User.SignIns != 1 || first.User.ID == "" {
		t.Errorf("first sign-in: %+v", first)
	}
	if !first.User.CreatedAt.Equal(begin) || first.User.CreatedAt.Location() != time.UTC {
		t.Errorf("created at %v, want %v in UTC", first.User.CreatedAt, begin)
	}

	s.clock.Advance(time.Hour)
	again := s.signIn(2)
	again.Profile.Email = "alice.adams@acme.example"
	again.Profile.Groups = nil
	second := s.record(t, again)
	if second.Created || second.User.SignIns != 2 || second.User.ID != first.User.ID {
		t.Errorf("second sign-in: %+v, first %+v", second, first)
	}

	user := second.User
	if user.Profile.Email != "alice.adams@acme.example" || len(user.Profile.Groups) != 0 || user.Profile.Surname != "Adams" {
		t.Errorf("profile was not updated: %+v", user.Profile)
	}
	if !user.CreatedAt.Equal(begin) || !user.LastSignInAt.Equal(begin.Add(time.Hour)) {
		t.Errorf("times: created %v, last %v", user.CreatedAt, user.LastSignInAt)
	}
}

func separateUsers(t *testing.T, s *suite) {
	base := s.record(t, s.signIn(1)).User.ID
	n := 1
	for name, change := range map[string]func(*store.SignIn){
		"tenant":                func(in *store.SignIn) { in.Tenant = "globex" },
		"IdP":                   func(in *store.SignIn) { in.IDPEntityID = "https://idp.example/other" },
		"stable ID":             func(in *store.SignIn) { in.Profile.StableID = "bob@acme.example" },
		"stable ID's case":      func(in *store.SignIn) { in.Profile.StableID = "Alice@acme.example" },
		"stable ID's last byte": func(in *store.SignIn) { in.Profile.StableID += "\u00a0" },
		"source":                func(in *store.SignIn) { in.Profile.UserIDSource = "uid" },
		"source's case":         func(in *store.SignIn) { in.Profile.UserIDSource = "nameid" },
	} {
		n++
		in := s.signIn(n)
		change(&in)
		if got := s.record(t, in); !got.Created || got.User.ID == base {
			t.Errorf("another %s is the same user", name)
		} else if got.User.Profile.StableID != in.Profile.StableID || got.User.Profile.UserIDSource != in.Profile.UserIDSource {
			t.Errorf("another %s: %+v", name, got.User.Profile)
		}
	}
}

func knownUsersOnly(t *testing.T, s *suite) {
	unknownAt(t, s, s.Store)
	known := s.record(t, s.signIn(1)).User
	again := s.signIn(2)
	again.Provisioning.ExistingOnly = true
	if got := s.record(t, again); got.Created || got.User.ID != known.ID || got.User.SignIns != 2 {
		t.Errorf("a known user: %+v", got)
	}
	again.AssertionID, again.RequestID, again.SessionID = "assertion-3", "request-3", "session-3"
	again.Profile.UserIDSource = "uid"
	s.refuse(t, again, store.ErrUserUnknown)
}

// unknownAt has users sign in at once whom nobody may create.
func unknownAt(t *testing.T, s *suite, replicas ...store.Store) {
	t.Helper()
	unknown := func(i int) store.SignIn {
		in := s.signIn(100 + i)
		in.Profile.StableID = "bob@acme.example"
		in.Provisioning.ExistingOnly = true
		return in
	}
	const signIns = 20
	for i, err := range parallel(signIns, func(i int) error {
		_, err := replicas[i%len(replicas)].RecordSignIn(t.Context(), unknown(i))
		return err
	}) {
		if !errors.Is(err, store.ErrUserUnknown) {
			t.Errorf("got error %v, want %v", err, store.ErrUserUnknown)
		}
		if _, err := s.GetSession(t.Context(), "acme", fmt.Sprintf("session-%d", 100+i)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a refused sign-in left a session: %v", err)
		}
	}
	// Neither assertion nor request were used up, and nobody was created.
	in := unknown(0)
	in.Provisioning.ExistingOnly = false
	if got := s.record(t, in); !got.Created {
		t.Errorf("a refused sign-in left a user: %+v", got)
	}
}

func tooManyUsers(t *testing.T, s *suite) {
	n := 0
	signIn := func(change func(*store.SignIn)) store.SignIn {
		n++
		in := s.signIn(n)
		in.Provisioning.MaxUsers = 2
		change(&in)
		return in
	}
	as := func(stableID string) func(*store.SignIn) {
		return func(in *store.SignIn) { in.Profile.StableID = stableID }
	}
	s.record(t, signIn(as("a")))
	s.record(t, signIn(as("b")))
	s.refuse(t, signIn(as("c")), store.ErrTooManyUsers)
	if _, err := s.GetSession(t.Context(), "acme", "session-3"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a refused sign-in left a session: %v", err)
	}
	s.refuse(t, signIn(func(in *store.SignIn) { in.IDPEntityID = "https://idp.example/2" }), store.ErrTooManyUsers)
	// Who is known comes in, also below what there are by now.
	s.record(t, signIn(as("a")))
	s.record(t, signIn(func(in *store.SignIn) { as("b")(in); in.Provisioning.MaxUsers = 1 }))
	s.record(t, signIn(func(in *store.SignIn) { in.Tenant = "globex" }))
	s.record(t, signIn(func(in *store.SignIn) { as("c")(in); in.Provisioning.MaxUsers = 3 }))
	s.record(t, signIn(func(in *store.SignIn) { as("d")(in); in.Provisioning.MaxUsers = 0 }))
}

// limitAt signs more people in at once than the tenant may have.
func limitAt(t *testing.T, s *suite, replicas ...store.Store) {
	t.Helper()
	const people, limit = 30, 7
	created := 0
	for _, err := range parallel(people, func(i int) error {
		in := s.signIn(i)
		in.Profile.StableID, in.Provisioning.MaxUsers = fmt.Sprint(i), limit
		_, err := replicas[i%len(replicas)].RecordSignIn(t.Context(), in)
		return err
	}) {
		switch {
		case err == nil:
			created++
		case !errors.Is(err, store.ErrTooManyUsers):
			t.Errorf("got error %v, want %v", err, store.ErrTooManyUsers)
		}
	}
	if created != limit {
		t.Errorf("%d users, want %d", created, limit)
	}
}

func kept(t *testing.T, s *suite) {
	first := s.record(t, s.signIn(1)).User.Profile
	changed := store.Profile{StableID: first.StableID, UserIDSource: first.UserIDSource,
		Email: "e", GivenName: "g", Surname: "s", DisplayName: "d", Groups: []string{"r"}}
	for i, test := range []struct {
		keep store.Provisioning
		want store.Profile
	}{
		{store.Provisioning{KeepEmail: true, KeepGivenName: true, KeepSurname: true, KeepDisplayName: true},
			store.Profile{Email: first.Email, GivenName: first.GivenName, Surname: first.Surname, DisplayName: first.DisplayName}},
		{store.Provisioning{KeepEmail: true, KeepSurname: true},
			store.Profile{Email: first.Email, GivenName: "g", Surname: first.Surname, DisplayName: "d"}},
		{store.Provisioning{}, store.Profile{Email: "e", GivenName: "g", Surname: "s", DisplayName: "d"}},
	} {
		in := s.signIn(2 + i)
		in.Profile, in.Provisioning = changed, test.keep
		got := s.record(t, in).User.Profile
		test.want.StableID, test.want.UserIDSource, test.want.Groups = first.StableID, first.UserIDSource, changed.Groups
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%+v: %+v, want %+v", test.keep, got, test.want)
		}
	}
}

func noForgedKey(t *testing.T, s *suite) {
	s.record(t, s.signIn(1))
	for _, id := range []string{"alice@acme.example\n", "alice@acme.example\nNameID", "\n"} {
		in := s.signIn(2)
		in.Profile.StableID = id
		if got, err := s.RecordSignIn(t.Context(), in); err == nil {
			t.Errorf("%q signs in as %+v", id, got)
		}
	}
}

// RunOlderUser runs what an engine must fulfil for a user of acme's that a
// release before the source of stable IDs counted has left: its ID is olderID,
// its stable ID that of the other tests.
func RunOlderUser(t *testing.T, olderID string, replicas ...store.Store) {
	t.Helper()
	s := &suite{clock: NewClock()}
	sources := []string{"NameID", "uid"}
	results := make([]store.SignInResult, 20)
	for _, err := range parallel(len(results), func(i int) (err error) {
		in := s.signIn(1000 + i)
		in.Profile.UserIDSource = sources[i%len(sources)]
		results[i], err = replicas[i%len(replicas)].RecordSignIn(t.Context(), in)
		return err
	}) {
		if err != nil {
			t.Fatalf("RecordSignIn: %v", err)
		}
	}
	older, created := 0, 0
	for i, source := range sources {
		id := results[i].User.ID
		if id == olderID {
			older++
		}
		for j := i; j < len(results); j += len(sources) {
			if results[j].User.ID != id {
				t.Errorf("two users of the source %s: %s and %s", source, id, results[j].User.ID)
			}
			if results[j].Created {
				created++
			}
		}
	}
	if older != 1 || created != 1 {
		t.Errorf("of two sources %d are the user of before, and %d users were made; want one of each", older, created)
	}
}

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

func parallelFirstSignIns(t *testing.T, s *suite) {
	firstSignInsAt(t, s, s.Store)
}

// firstSignInsAt signs one person in at all replicas at once.
func firstSignInsAt(t *testing.T, s *suite, replicas ...store.Store) {
	t.Helper()
	const signIns = 50
	results := make([]store.SignInResult, signIns)
	for _, err := range parallel(signIns, func(i int) (err error) {
		results[i], err = replicas[i%len(replicas)].RecordSignIn(t.Context(), s.signIn(i))
		return err
	}) {
		if err != nil {
			t.Fatalf("RecordSignIn: %v", err)
		}
	}
	created, last := 0, int64(0)
	for _, r := range results {
		last = max(last, r.User.SignIns)
		if r.Created {
			created++
		}
		if r.User.ID != results[0].User.ID {
			t.Errorf("two users: %s and %s", r.User.ID, results[0].User.ID)
		}
	}
	if created != 1 {
		t.Errorf("created %d users, want 1", created)
	}
	if last != signIns {
		t.Errorf("counted %d sign-ins, want %d", last, signIns)
	}
}

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

// logout returns the n-th request for alice's logout at acme.
func (s *suite) logout(n int, indexes ...string) store.Logout {
	now := s.clock.Now()
	return store.Logout{
		Tenant: "acme", IDPEntityID: "https://idp.example/acme",
		RequestID: fmt.Sprintf("logout-%d", n), RequestIssued: now, RequestExpires: now.Add(5 * time.Minute),
		NameID: store.NameID{Value: "alice", Format: "persistent"}, SessionIndexes: indexes,
	}
}

func (s *suite) recordLogout(t *testing.T, l store.Logout) map[string]time.Time {
	t.Helper()
	ended, err := s.RecordLogout(t.Context(), l)
	if err != nil {
		t.Fatalf("RecordLogout: %v", err)
	}
	return ended
}

func logoutMeans(t *testing.T, s *suite) {
	n := 0
	begin := func(change func(*store.SignIn)) {
		n++
		in := s.signIn(n)
		in.NameID = store.NameID{Value: "alice", Format: "persistent", NameQualifier: "idp", SPNameQualifier: "sp", SPProvidedID: "x"}
		in.SessionIndex = fmt.Sprint(n)
		change(&in)
		s.record(t, in)
	}
	begin(func(*store.SignIn) {})                                              // 1
	begin(func(in *store.SignIn) { in.SessionIndex = "" })                     // 2
	begin(func(in *store.SignIn) { in.NameID.Value = "Alice" })                // 3
	begin(func(in *store.SignIn) { in.NameID.Format = "transient" })           // 4
	begin(func(in *store.SignIn) { in.NameID = store.NameID{Value: "alice"} }) // 5
	begin(func(in *store.SignIn) { in.NameID.NameQualifier = "other" })        // 6
	begin(func(in *store.SignIn) { in.Tenant = "globex" })                     // 7
	begin(func(in *store.SignIn) { in.IDPEntityID = "https://idp.example/2" }) // 8
	begin(func(in *store.SignIn) { in.NameID = store.NameID{} })               // 9
	begin(func(in *store.SignIn) { in.SessionIndex = in.AssertionID })         // 10
	begin(func(in *store.SignIn) { in.NameID.Value = "bob"; in.SessionIndex = in.AssertionID })

	whole := store.NameID{Value: "alice", Format: "persistent", NameQualifier: "idp", SPNameQualifier: "sp"}
	unspecified := store.NameID{Value: "alice", Format: "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"}
	for i, test := range []struct {
		nameID  store.NameID
		indexes []string
		want    []string
	}{
		{whole, nil, []string{"1", "10", "2", "5"}},
		{store.NameID{Value: "alice"}, nil, []string{"1", "10", "2", "4", "5", "6"}},
		{unspecified, nil, []string{"1", "10", "2", "4", "5", "6"}},
		{whole, []string{"1"}, []string{"1", "2"}},
		{whole, []string{"1", "6", "3", "7", "8"}, []string{"1", "2"}},
		{whole, []string{"nobody's"}, []string{"2"}},
		{whole, []string{""}, []string{"2"}},
		{store.NameID{Value: "carol"}, nil, nil},
		{store.NameID{}, nil, nil},
		{store.NameID{Value: "carol"}, []string{"1", "2", "", "9"}, nil},
		{store.NameID{Value: "carol"}, []string{"assertion-10", "assertion-1"}, []string{"10"}},
		{store.NameID{Value: "carol"}, []string{"assertion-11"}, []string{"11"}},
	} {
		l := s.logout(i, test.indexes...)
		l.NameID = test.nameID
		var got []string
		for id, until := range s.recordLogout(t, l) {
			got = append(got, strings.TrimPrefix(id, "session-"))
			if !until.Equal(s.clock.Now().Add(8 * time.Hour)) {
				t.Errorf("%s is remembered until %v", id, until)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v %q: ended %v, want %v", test.nameID, test.indexes, got, test.want)
		}
	}
	s.reopen(t)
	if revoked, _, err := s.RevokedSessions(t.Context(), 0); err != nil || len(revoked) != 7 {
		t.Errorf("RevokedSessions: %v, %v", revoked, err)
	}
	session, err := s.GetSession(t.Context(), "acme", "session-1")
	if err != nil || session.NameID.SPProvidedID != "x" || session.NameID.Format != "persistent" || session.SessionIndex != "1" {
		t.Errorf("session: %+v, %v", session, err)
	}
}

func logoutOnce(t *testing.T, s *suite) {
	refuse := func(l store.Logout) {
		t.Helper()
		if ended, err := s.RecordLogout(t.Context(), l); !errors.Is(err, store.ErrReplayed) || ended != nil {
			t.Errorf("got %v, %v, want %v", ended, err, store.ErrReplayed)
		}
	}
	l := s.logout(1)
	s.recordLogout(t, l)
	l.RequestExpires = l.RequestExpires.Add(time.Hour)
	refuse(l)
	elsewhere := l
	elsewhere.Tenant = "globex"
	s.recordLogout(t, elsewhere)
	s.reopen(t)
	refuse(l)

	expired := s.logout(2)
	expired.RequestExpires = s.clock.Now()
	refuse(expired)

	succeeded := 0
	for _, err := range parallel(20, func(int) error {
		_, err := s.RecordLogout(t.Context(), s.logout(3))
		return err
	}) {
		if err == nil {
			succeeded++
		}
	}
	if succeeded != 1 {
		t.Errorf("%d of 20 uses of one request succeeded, want 1", succeeded)
	}
}

// The messages take their own ways through the browser, so one may overtake
// another.
func logoutFirst(t *testing.T, s *suite) {
	early := s.signIn(1)
	early.AssertionIssued, early.NameID, early.SessionIndex = s.clock.Now(), store.NameID{Value: "alice"}, "index"
	other := early
	other.SessionIndex = "other"
	s.clock.Advance(time.Second)
	s.recordLogout(t, s.logout(1, "index"))
	s.refuse(t, early, store.ErrLoggedOut)
	s.record(t, other)

	// Whoever signs in once more is let in.
	later := s.signIn(2)
	later.AssertionIssued, later.NameID, later.SessionIndex = s.clock.Now().Add(time.Millisecond), early.NameID, "index"
	s.record(t, later)
	for _, session := range []string{"session-1", "session-2"} {
		if revoked, _, err := s.RevokedSessions(t.Context(), 0); err != nil || !revoked[session].IsZero() {
			t.Errorf("%s is over: %v, %v", session, revoked, err)
		}
	}
}

// Whichever is first, the other one must see it.
func logoutMeanwhile(t *testing.T, s *suite) {
	const pairs = 20
	issued := s.clock.Now()
	s.clock.Advance(time.Second)
	refused := make([]bool, pairs)
	for _, err := range parallel(2*pairs, func(i int) error {
		n, name := i/2, store.NameID{Value: fmt.Sprint(i / 2)}
		if i%2 == 0 {
			l := s.logout(n)
			l.NameID = name
			_, err := s.RecordLogout(t.Context(), l)
			return err
		}
		in := s.signIn(n)
		in.AssertionIssued, in.NameID = issued, name
		_, err := s.RecordSignIn(t.Context(), in)
		if refused[n] = errors.Is(err, store.ErrLoggedOut); refused[n] {
			return nil
		}
		return err
	}) {
		if err != nil {
			t.Errorf("at once: %v", err)
		}
	}
	revoked, _, err := s.RevokedSessions(t.Context(), 0)
	if err != nil {
		t.Fatalf("RevokedSessions: %v", err)
	}
	for n, refused := range refused {
		if _, ended := revoked[fmt.Sprintf("session-%d", n)]; !refused && !ended {
			t.Errorf("session %d has outlived the logout", n)
		}
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
