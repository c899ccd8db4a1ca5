package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/store"
)

// of returns the n-th sign-in of another user than alice.
func (s *suite) of(n int, tenant, user string) store.SignIn {
	in := s.signIn(n)
	in.Tenant = tenant
	in.Profile.StableID, in.Profile.Email = user, user+"@"+tenant+".example"
	return in
}

func (s *suite) disable(t *testing.T, id string, disabled bool) (store.User, []string) {
	t.Helper()
	user, ended, err := s.SetUserDisabled(t.Context(), "acme", id, disabled)
	if err != nil {
		t.Fatalf("SetUserDisabled: %v", err)
	}
	return user, slices.Sorted(maps.Keys(ended))
}

func disabledUser(t *testing.T, s *suite) {
	alice := s.record(t, s.signIn(1)).User
	s.record(t, s.signIn(2))
	s.record(t, s.of(3, "acme", "bob"))
	if !alice.DisabledAt.IsZero() {
		t.Errorf("disabled at %v", alice.DisabledAt)
	}
	if _, _, err := s.SetUserDisabled(t.Context(), "globex", alice.ID, true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("by another tenant: got error %v, want %v", err, store.ErrNotFound)
	}

	begin := s.clock.Now()
	user, ended := s.disable(t, alice.ID, true)
	if !user.DisabledAt.Equal(begin) || !slices.Equal(ended, []string{"session-1", "session-2"}) {
		t.Errorf("disabled at %v, ended %v", user.DisabledAt, ended)
	}
	s.reopen(t)
	s.refuse(t, s.signIn(4), store.ErrUserDisabled)
	if user, err := s.GetUser(t.Context(), "acme", alice.ID); err != nil || user.SignIns != 2 {
		t.Errorf("the refused sign-in counts: %+v, %v", user, err)
	}
	revoked, _, err := s.RevokedSessions(t.Context(), 0)
	if err != nil || len(revoked) != 2 || !revoked["session-1"].Equal(begin.Add(8*time.Hour)) {
		t.Errorf("revoked %v, %v", revoked, err)
	}
	// Again changes nothing.
	s.clock.Advance(time.Minute)
	if user, ended := s.disable(t, alice.ID, true); !user.DisabledAt.Equal(begin) || len(ended) != 0 {
		t.Errorf("disabled again at %v, ended %v", user.DisabledAt, ended)
	}

	if user, ended := s.disable(t, alice.ID, false); !user.DisabledAt.IsZero() || len(ended) != 0 {
		t.Errorf("enabled: %+v, ended %v", user, ended)
	}
	// The assertion of before was not used up.
	if result := s.record(t, s.signIn(4)); result.Created || result.User.ID != alice.ID {
		t.Errorf("signed in as %+v", result)
	}
}

func disable(t *testing.T, at store.Store, user store.User) error {
	_, _, err := at.SetUserDisabled(t.Context(), user.Tenant, user.ID, true)
	return err
}

// Whichever is first, the other one must see it.
func keepOutAt(t *testing.T, s *suite, keepOut func(*testing.T, store.Store, store.User) error, stores ...store.Store) {
	const pairs = 20
	users := make([]store.User, pairs)
	for n := range users {
		users[n] = s.record(t, s.of(n, "acme", fmt.Sprint("user-", n))).User
	}
	refused := make([]bool, pairs)
	for _, err := range parallel(2*pairs, func(i int) error {
		n, at := i/2, stores[i%len(stores)]
		if i%2 == 0 {
			return keepOut(t, at, users[n])
		}
		_, err := at.RecordSignIn(t.Context(), s.of(pairs+n, "acme", fmt.Sprint("user-", n)))
		if refused[n] = errors.Is(err, store.ErrUserDisabled) || errors.Is(err, store.ErrUserInactive); refused[n] {
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
		if _, ended := revoked[fmt.Sprint("session-", pairs+n)]; !refused && !ended {
			t.Errorf("session %d has outlived its user", pairs+n)
		}
	}
}

func lists(t *testing.T, s *suite) {
	var ids []string
	for n := range 5 {
		ids = append(ids, s.record(t, s.of(n, "acme", fmt.Sprint("user-", n))).User.ID)
	}
	s.record(t, s.of(9, "globex", "user-1"))
	sorted := slices.Sorted(slices.Values(ids))

	users := func(q store.UserQuery) (got []string) {
		t.Helper()
		all, err := s.ListUsers(t.Context(), q)
		if err != nil {
			t.Fatalf("ListUsers: %v", err)
		}
		for _, u := range all {
			got = append(got, u.ID)
		}
		return got
	}
	for _, test := range []struct {
		q    store.UserQuery
		want []string
	}{
		{store.UserQuery{Tenant: "acme"}, sorted},
		{store.UserQuery{Tenant: "acme", Limit: 2}, sorted[:2]},
		{store.UserQuery{Tenant: "acme", Limit: 2, After: sorted[1]}, sorted[2:4]},
		{store.UserQuery{Tenant: "acme", After: sorted[4]}, nil},
		{store.UserQuery{Tenant: "acme", Email: "user-3@acme.example"}, ids[3:4]},
		{store.UserQuery{Tenant: "acme", Email: "User-3@acme.example"}, nil},
		{store.UserQuery{Tenant: "acme", StableID: "user-2"}, ids[2:3]},
		{store.UserQuery{Tenant: "acme", StableID: "user"}, nil},
		{store.UserQuery{Tenant: "acme", StableID: "user-2", Email: "user-3@acme.example"}, nil},
		{store.UserQuery{Tenant: "nobody"}, nil},
		{store.UserQuery{}, nil},
	} {
		if got := users(test.q); !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v, want %v", test.q, got, test.want)
		}
	}
	if user, err := s.GetUser(t.Context(), "acme", ids[0]); err != nil || user.Profile.StableID != "user-0" || user.Profile.UserIDSource != "NameID" {
		t.Errorf("GetUser: %+v, %v", user, err)
	}
	if _, err := s.GetUser(t.Context(), "globex", ids[0]); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("GetUser of another tenant: %v", err)
	}

	for _, test := range []struct {
		q    store.SessionQuery
		want []string
	}{
		{store.SessionQuery{Tenant: "acme"}, []string{"session-0", "session-1", "session-2", "session-3", "session-4"}},
		{store.SessionQuery{Tenant: "acme", Limit: 2, After: "session-1"}, []string{"session-2", "session-3"}},
		{store.SessionQuery{Tenant: "acme", UserID: ids[1]}, []string{"session-1"}},
		{store.SessionQuery{Tenant: "acme", SessionID: "session-4"}, []string{"session-4"}},
		{store.SessionQuery{Tenant: "globex", UserID: ids[1]}, nil},
		{store.SessionQuery{}, nil},
	} {
		if got := s.sessionIDs(t, test.q); !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v, want %v", test.q, got, test.want)
		}
	}
	s.clock.Advance(8 * time.Hour)
	if got := s.sessionIDs(t, store.SessionQuery{Tenant: "acme"}); len(got) != 0 {
		t.Errorf("expired: %v", got)
	}
}

func (s *suite) sessionIDs(t *testing.T, q store.SessionQuery) (ids []string) {
	t.Helper()
	sessions, err := s.ListSessions(t.Context(), q)
	if err != nil {
		t.Fatalf("ListSessions: %v", err)
	}
	for _, session := range sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

func endSessions(t *testing.T, s *suite) {
	alice := s.record(t, s.signIn(1)).User
	s.record(t, s.signIn(2))
	s.record(t, s.of(3, "acme", "bob"))
	s.record(t, s.of(4, "acme", "carol"))
	s.record(t, s.of(5, "globex", "dave"))
	var told []string
	position := int64(0)
	for _, test := range []struct {
		q    store.SessionQuery
		want []string
	}{
		{store.SessionQuery{}, nil},
		{store.SessionQuery{Tenant: "globex", UserID: alice.ID}, nil},
		{store.SessionQuery{Tenant: "globex", SessionID: "session-1"}, nil},
		{store.SessionQuery{Tenant: "acme", SessionID: "session-3"}, []string{"session-3"}},
		{store.SessionQuery{Tenant: "acme", UserID: alice.ID, Limit: 1}, []string{"session-1", "session-2"}},
		{store.SessionQuery{Tenant: "acme"}, []string{"session-4"}},
		{store.SessionQuery{Tenant: "acme"}, nil},
	} {
		ended, err := s.EndSessions(t.Context(), test.q)
		if err != nil {
			t.Fatalf("EndSessions: %v", err)
		}
		if got := slices.Sorted(maps.Keys(ended)); !slices.Equal(got, test.want) {
			t.Errorf("%+v: ended %v, want %v", test.q, got, test.want)
		}
		revoked, last, err := s.RevokedSessions(t.Context(), position)
		if err != nil {
			t.Fatalf("RevokedSessions: %v", err)
		}
		if got := slices.Sorted(maps.Keys(revoked)); !slices.Equal(got, test.want) {
			t.Errorf("%+v: told %v, want %v", test.q, got, test.want)
		}
		position = last
		told = append(told, test.want...)
	}
	if left := s.sessionIDs(t, store.SessionQuery{Tenant: "acme"}); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
	if left := s.sessionIDs(t, store.SessionQuery{Tenant: "globex"}); !slices.Equal(left, []string{"session-5"}) {
		t.Errorf("left of the other tenant are %v", left)
	}
	if len(told) != 4 {
		t.Errorf("told %v", told)
	}
}

func auditEntries(t *testing.T, s *suite) {
	end := s.clock.Now().Add(time.Hour)
	var entries []store.AuditEntry
	for n := range 6 {
		e := store.AuditEntry{ID: fmt.Sprint("id-", n), Tenant: "acme", User: "alice", Event: "sign-in", Outcome: "success", Text: fmt.Sprintf(`{"n":%d}`, n), ExpiresAt: end}
		switch n {
		case 2:
			e.User = "bob"
		case 3:
			e.Outcome = "refused"
		case 4:
			e.Event = "sign-out"
		case 5:
			e.Tenant = "globex"
		}
		entries = append(entries, e)
	}
	for range 2 { // what may have been stored is stored again
		if err := s.AppendAudit(t.Context(), entries); err != nil {
			t.Fatalf("AppendAudit: %v", err)
		}
	}
	s.reopen(t)
	for _, test := range []struct {
		q    store.AuditQuery
		want []string
	}{
		{store.AuditQuery{Tenant: "acme"}, []string{"id-4", "id-3", "id-2", "id-1", "id-0"}},
		{store.AuditQuery{Tenant: "acme", Limit: 2}, []string{"id-4", "id-3"}},
		{store.AuditQuery{Tenant: "acme", Limit: 2, Before: "id-3"}, []string{"id-2", "id-1"}},
		{store.AuditQuery{Tenant: "acme", User: "bob"}, []string{"id-2"}},
		{store.AuditQuery{Tenant: "acme", Outcome: "refused"}, []string{"id-3"}},
		{store.AuditQuery{Tenant: "acme", Event: "sign-out"}, []string{"id-4"}},
		{store.AuditQuery{Tenant: "globex"}, []string{"id-5"}},
		{store.AuditQuery{}, nil},
	} {
		got, err := s.ListAudit(t.Context(), test.q)
		if err != nil {
			t.Fatalf("ListAudit: %v", err)
		}
		var ids []string
		for _, e := range got {
			ids = append(ids, e.ID)
		}
		if !slices.Equal(ids, test.want) {
			t.Errorf("%+v: %v, want %v", test.q, ids, test.want)
		}
	}
	got, err := s.ListAudit(t.Context(), store.AuditQuery{Tenant: "globex"})
	if err != nil || len(got) != 1 || got[0] != entries[5] {
		t.Errorf("got %+v, %v, want %+v", got, err, entries[5])
	}
	s.clock.Advance(time.Hour)
	if got, err := s.ListAudit(t.Context(), store.AuditQuery{Tenant: "acme"}); err != nil || len(got) != 0 {
		t.Errorf("expired: %v, %v", got, err)
	}
}
