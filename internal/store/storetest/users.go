package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/store"
)

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
