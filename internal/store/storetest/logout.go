package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/store"
)

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
