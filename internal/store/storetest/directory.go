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

const idp = "https://idp.example/acme"

// person is a user of acme's directory who signs in by that name.
func person(name string) store.DirectoryUser {
	return store.DirectoryUser{
		ID: store.NewUserID(), Tenant: "acme", IDPEntityID: idp, StableID: name, UserName: name + "@acme.example", ExternalID: "external-" + name,
		Email: name + "@mail.example", GivenName: "G", Surname: "S", DisplayName: "D", Resource: `{"name":"` + name + `"}`,
	}
}

func (s *suite) create(t *testing.T, u store.DirectoryUser) store.DirectoryUser {
	t.Helper()
	created, _, err := s.CreateDirectoryUser(t.Context(), u, 0)
	if err != nil {
		t.Fatalf("CreateDirectoryUser: %v", err)
	}
	return created
}

func (s *suite) change(t *testing.T, id string, change func(*store.DirectoryUser)) (store.DirectoryUser, []string) {
	t.Helper()
	u, ended, err := s.ChangeDirectoryUser(t.Context(), "acme", id, func(u store.DirectoryUser) (store.DirectoryUser, error) {
		change(&u)
		return u, nil
	})
	if err != nil {
		t.Fatalf("ChangeDirectoryUser: %v", err)
	}
	return u, slices.Sorted(maps.Keys(ended))
}

func deactivate(t *testing.T, at store.Store, user store.User) error {
	u := person(user.Profile.StableID)
	u.Inactive = true
	_, _, err := at.CreateDirectoryUser(t.Context(), u, 0)
	return err
}

func directoryUserSignsIn(t *testing.T, s *suite) {
	begin := s.clock.Now()
	want := person("alice")
	got := s.create(t, want)
	want.CreatedAt, want.ModifiedAt = begin, begin
	if got != want {
		t.Errorf("created %+v, want %+v", got, want)
	}
	user, err := s.GetUser(t.Context(), "acme", want.ID)
	if err != nil || user.SignIns != 0 || !user.LastSignInAt.IsZero() || user.Profile.Email != "alice@mail.example" || user.Profile.StableID != "alice" {
		t.Errorf("the user is %+v, %v", user, err)
	}
	s.reopen(t)

	in := s.of(1, "acme", "alice")
	in.Provisioning.ExistingOnly = true
	first := s.record(t, in)
	if first.Created || first.User.ID != want.ID || first.User.SignIns != 1 || first.User.Profile.UserIDSource != "NameID" {
		t.Errorf("signed in as %+v", first)
	}
	// From now on it takes that source.
	other := s.of(2, "acme", "alice")
	other.Profile.UserIDSource = "uid"
	if second := s.record(t, other); !second.Created || second.User.ID == want.ID {
		t.Errorf("from another source: %+v", second)
	}
	elsewhere := s.of(3, "acme", "alice")
	elsewhere.IDPEntityID = "https://idp.example/other"
	if third := s.record(t, elsewhere); third.User.ID == want.ID {
		t.Errorf("from another IdP: %+v", third)
	}
}

func directoryAdopts(t *testing.T, s *suite) {
	alice := s.record(t, s.of(1, "acme", "alice")).User
	got := s.create(t, person("alice"))
	if got.ID != alice.ID {
		t.Errorf("the directory's is %+v, who signed in is %+v", got, alice)
	}
	if again := s.record(t, s.of(2, "acme", "alice")); again.User.ID != alice.ID || again.User.SignIns != 2 {
		t.Errorf("signed in as %+v", again)
	}
	// Two who could be meant are none.
	s.record(t, s.of(3, "acme", "bob"))
	other := s.of(4, "acme", "bob")
	other.Profile.UserIDSource = "uid"
	s.record(t, other)
	if _, _, err := s.CreateDirectoryUser(t.Context(), person("bob"), 0); !errors.Is(err, store.ErrTaken) {
		t.Errorf("got error %v, want %v", err, store.ErrTaken)
	}
}

func inactiveUser(t *testing.T, s *suite) {
	alice := s.create(t, person("alice"))
	s.record(t, s.of(1, "acme", "alice"))
	s.record(t, s.of(2, "acme", "alice"))
	begin := s.clock.Now()
	u, ended := s.change(t, alice.ID, func(u *store.DirectoryUser) { u.Inactive = true })
	if !u.Inactive || !slices.Equal(ended, []string{"session-1", "session-2"}) {
		t.Errorf("inactive: %+v, ended %v", u, ended)
	}
	s.reopen(t)
	s.refuse(t, s.of(3, "acme", "alice"), store.ErrUserInactive)
	s.clock.Advance(time.Minute)
	s.change(t, alice.ID, func(u *store.DirectoryUser) { u.DisplayName = "other" })
	if user, err := s.GetUser(t.Context(), "acme", alice.ID); err != nil || !user.InactiveAt.Equal(begin) || user.Profile.DisplayName != "other" {
		t.Errorf("after another change: %+v, %v", user, err)
	}

	// What an administrator has disabled, the directory does not enable.
	s.disable(t, alice.ID, true)
	s.change(t, alice.ID, func(u *store.DirectoryUser) { u.Inactive = false })
	s.refuse(t, s.of(4, "acme", "alice"), store.ErrUserDisabled)
	s.disable(t, alice.ID, false)
	s.record(t, s.of(5, "acme", "alice"))

	// The administrator has the last word.
	s.change(t, alice.ID, func(u *store.DirectoryUser) { u.Inactive = true })
	s.disable(t, alice.ID, false)
	s.record(t, s.of(6, "acme", "alice"))
}

func directoryNames(t *testing.T, s *suite) {
	alice := s.create(t, person("alice"))
	bob := s.create(t, person("bob"))
	for what, change := range map[string]func(*store.DirectoryUser){
		"the name":              func(u *store.DirectoryUser) { u.UserName = alice.UserName },
		"the name in capitals":  func(u *store.DirectoryUser) { u.UserName = "ALICE@acme.example" },
		"the ID of the sign-in": func(u *store.DirectoryUser) { u.StableID = alice.StableID },
	} {
		u := person("carol")
		change(&u)
		if _, _, err := s.CreateDirectoryUser(t.Context(), u, 0); !errors.Is(err, store.ErrTaken) {
			t.Errorf("create with %s: got error %v, want %v", what, err, store.ErrTaken)
		}
		if _, _, err := s.ChangeDirectoryUser(t.Context(), "acme", bob.ID, func(u store.DirectoryUser) (store.DirectoryUser, error) {
			change(&u)
			return u, nil
		}); !errors.Is(err, store.ErrTaken) {
			t.Errorf("change to %s: got error %v, want %v", what, err, store.ErrTaken)
		}
	}
	if _, total, err := s.ListDirectoryUsers(t.Context(), store.DirectoryQuery{Tenant: "acme"}); err != nil || total != 2 {
		t.Errorf("there are %d users, %v", total, err)
	}
	elsewhere := person("alice")
	elsewhere.Tenant = "globex"
	s.create(t, elsewhere)
	for _, id := range []string{"nobody", elsewhere.ID} {
		if _, _, err := s.ChangeDirectoryUser(t.Context(), "acme", id, nil); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("change %s: got error %v", id, err)
		}
		if _, err := s.DeleteDirectoryUser(t.Context(), "acme", id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("delete %s: got error %v", id, err)
		}
	}
	for _, id := range []string{"", "alice\nNameID"} {
		u := person("dave")
		u.StableID = id
		if _, _, err := s.CreateDirectoryUser(t.Context(), u, 0); err == nil {
			t.Errorf("the stable ID %q is taken", id)
		}
	}
}

func directoryRenames(t *testing.T, s *suite) {
	alice := s.create(t, person("alice"))
	s.record(t, s.of(1, "acme", "alice"))
	if _, ended := s.change(t, alice.ID, func(u *store.DirectoryUser) { u.UserName = "other" }); len(ended) != 0 {
		t.Errorf("another name ends %v", ended)
	}
	u, ended := s.change(t, alice.ID, func(u *store.DirectoryUser) { u.StableID = "alice.adams" })
	if u.StableID != "alice.adams" || !slices.Equal(ended, []string{"session-1"}) {
		t.Errorf("renamed: %+v, ended %v", u, ended)
	}
	if got := s.record(t, s.of(2, "acme", "alice.adams")); got.User.ID != alice.ID {
		t.Errorf("signed in as %+v", got)
	}
	if got := s.record(t, s.of(3, "acme", "alice")); got.User.ID == alice.ID || !got.Created {
		t.Errorf("by the ID of before: %+v", got)
	}
}

func directoryDeletes(t *testing.T, s *suite) {
	alice, bob := s.create(t, person("alice")), s.create(t, person("bob"))
	s.record(t, s.of(1, "acme", "alice"))
	s.record(t, s.of(2, "acme", "bob"))
	ended, err := s.DeleteDirectoryUser(t.Context(), "acme", alice.ID)
	if err != nil || len(ended) != 1 || ended["session-1"].IsZero() {
		t.Errorf("deleted: %v, %v", ended, err)
	}
	if revoked, _, err := s.RevokedSessions(t.Context(), 0); err != nil || len(revoked) != 1 {
		t.Errorf("revoked %v, %v", revoked, err)
	}
	if _, err := s.GetUser(t.Context(), "acme", alice.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the deleted user: got error %v", err)
	}
	if again := s.record(t, s.of(3, "acme", "alice")); !again.Created || again.User.ID == alice.ID {
		t.Errorf("signed in again as %+v", again)
	}

	s.disable(t, bob.ID, true)
	if _, err := s.DeleteDirectoryUser(t.Context(), "acme", bob.ID); err != nil {
		t.Fatal(err)
	}
	s.refuse(t, s.of(4, "acme", "bob"), store.ErrUserDisabled)
	if back := s.create(t, person("bob")); back.ID != bob.ID {
		t.Errorf("comes back as %+v", back)
	}
	s.refuse(t, s.of(5, "acme", "bob"), store.ErrUserDisabled)
}

func directoryLimit(t *testing.T, s *suite) {
	s.record(t, s.of(1, "acme", "alice"))
	if _, _, err := s.CreateDirectoryUser(t.Context(), person("bob"), 1); !errors.Is(err, store.ErrTooManyUsers) {
		t.Errorf("got error %v, want %v", err, store.ErrTooManyUsers)
	}
	if _, _, err := s.CreateDirectoryUser(t.Context(), person("alice"), 1); err != nil {
		t.Errorf("one who is a user: %v", err)
	}
}

// members returns the IDs of a group's members.
func (s *suite) members(t *testing.T, group string) (ids []string) {
	t.Helper()
	members, err := s.DirectoryMembers(t.Context(), "acme", group)
	if err != nil {
		t.Fatalf("DirectoryMembers: %v", err)
	}
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return ids
}

func directoryGroups(t *testing.T, s *suite) {
	var ids []string
	for _, name := range []string{"alice", "bob", "carol"} {
		u := person(name)
		u.ID = name
		ids = append(ids, s.create(t, u).ID)
	}
	begin := s.clock.Now()
	staff := store.DirectoryGroup{ID: "staff-id", Tenant: "acme", DisplayName: "staff", ExternalID: "e1", Resource: "{}", Members: ids[:2]}
	if _, err := s.CreateDirectoryGroup(t.Context(), staff); err != nil {
		t.Fatal(err)
	}
	if got := s.members(t, "staff-id"); !slices.Equal(got, ids[:2]) {
		t.Errorf("members %v", got)
	}
	change := func(tenant string, changes ...store.MemberChange) (store.DirectoryGroup, error) {
		s.clock.Advance(time.Minute)
		return s.ChangeDirectoryGroup(t.Context(), tenant, "staff-id", func(g store.DirectoryGroup) (store.DirectoryGroup, []store.MemberChange, error) {
			g.DisplayName = "all staff"
			return g, changes, nil
		})
	}
	g, err := change("acme", store.MemberChange{Remove: []string{"alice", "nobody"}}, store.MemberChange{Add: []string{"carol", "bob"}})
	if err != nil || g.DisplayName != "all staff" || !g.CreatedAt.Equal(begin) || !g.ModifiedAt.Equal(begin.Add(time.Minute)) {
		t.Errorf("changed: %+v, %v", g, err)
	}
	if got := s.members(t, "staff-id"); !slices.Equal(got, ids[1:]) {
		t.Errorf("members %v", got)
	}
	if _, err := change("acme", store.MemberChange{All: true, Add: []string{"alice"}}); err != nil {
		t.Error(err)
	}
	stranger := person("eve")
	stranger.Tenant, stranger.ID = "globex", "eve"
	s.create(t, stranger)
	for _, nobody := range []string{"nobody", "eve"} {
		if _, err := change("acme", store.MemberChange{All: true, Add: []string{"bob", nobody}}); !errors.Is(err, store.ErrNoMember) {
			t.Errorf("%s as a member: got error %v, want %v", nobody, err, store.ErrNoMember)
		}
	}
	if got := s.members(t, "staff-id"); !slices.Equal(got, ids[:1]) {
		t.Errorf("a change that fails leaves %v", got)
	}
	if _, err := change("globex"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("by another tenant: got error %v", err)
	}
	if _, err := s.DeleteDirectoryUser(t.Context(), "acme", "alice"); err != nil {
		t.Error(err)
	}
	if got := s.members(t, "staff-id"); len(got) != 0 {
		t.Errorf("the deleted user is still there: %v", got)
	}
	if err := s.DeleteDirectoryGroup(t.Context(), "globex", "staff-id"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted by another tenant: got error %v", err)
	}
	for _, want := range []error{nil, store.ErrNotFound} {
		if err := s.DeleteDirectoryGroup(t.Context(), "acme", "staff-id"); !errors.Is(err, want) {
			t.Errorf("deleted: got error %v, want %v", err, want)
		}
	}
}

func membersAt(t *testing.T, s *suite, stores ...store.Store) {
	const users = 20
	for n := range users {
		u := person(fmt.Sprint("user-", n))
		u.ID = u.StableID
		s.create(t, u)
	}
	if _, err := s.CreateDirectoryGroup(t.Context(), store.DirectoryGroup{ID: "g", Tenant: "acme", DisplayName: "g", Resource: "{}"}); err != nil {
		t.Fatal(err)
	}
	for _, err := range parallel(users, func(i int) error {
		_, err := stores[i%len(stores)].ChangeDirectoryGroup(t.Context(), "acme", "g", func(g store.DirectoryGroup) (store.DirectoryGroup, []store.MemberChange, error) {
			return g, []store.MemberChange{{Add: []string{fmt.Sprint("user-", i)}}}, nil
		})
		return err
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	if got := s.members(t, "g"); len(got) != users {
		t.Errorf("%d members, want %d", len(got), users)
	}
}

func directoryLists(t *testing.T, s *suite) {
	for n := range 5 {
		u := person(fmt.Sprint("user-", n))
		u.ID = u.StableID
		s.create(t, u)
		g := store.DirectoryGroup{ID: fmt.Sprint("group-", n), Tenant: "acme", DisplayName: fmt.Sprint("name-", n%2), ExternalID: fmt.Sprint("e-", n), Resource: "{}", Members: []string{u.ID}}
		if _, err := s.CreateDirectoryGroup(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := person("user-1")
	elsewhere.Tenant = "globex"
	s.create(t, elsewhere)
	for _, test := range []struct {
		q     store.DirectoryQuery
		want  []string
		total int
	}{
		{store.DirectoryQuery{}, []string{"user-0", "user-1", "user-2", "user-3", "user-4"}, 5},
		{store.DirectoryQuery{Offset: 1, Limit: 2}, []string{"user-1", "user-2"}, 5},
		{store.DirectoryQuery{Offset: 5}, nil, 5},
		{store.DirectoryQuery{Limit: -1}, nil, 5},
		{store.DirectoryQuery{ID: "user-3"}, []string{"user-3"}, 1},
		{store.DirectoryQuery{Name: "USER-2@acme.example"}, []string{"user-2"}, 1},
		{store.DirectoryQuery{ExternalID: "external-user-4"}, []string{"user-4"}, 1},
		{store.DirectoryQuery{ExternalID: "external-user-4", ID: "user-3"}, nil, 0},
	} {
		test.q.Tenant = "acme"
		users, total, err := s.ListDirectoryUsers(t.Context(), test.q)
		var got []string
		for _, u := range users {
			got = append(got, u.ID)
		}
		if err != nil || total != test.total || !slices.Equal(got, test.want) {
			t.Errorf("users by %+v: %v of %d, %v", test.q, got, total, err)
		}
	}
	for _, test := range []struct {
		q     store.DirectoryQuery
		want  []string
		total int
	}{
		{store.DirectoryQuery{Limit: 2}, []string{"group-0", "group-1"}, 5},
		{store.DirectoryQuery{Name: "name-1"}, []string{"group-1", "group-3"}, 2},
		{store.DirectoryQuery{Name: "NAME-1"}, nil, 0},
		{store.DirectoryQuery{ExternalID: "e-2"}, []string{"group-2"}, 1},
		{store.DirectoryQuery{Member: "user-3"}, []string{"group-3"}, 1},
		{store.DirectoryQuery{ID: "group-3", Member: "user-1"}, nil, 0},
	} {
		test.q.Tenant = "acme"
		groups, total, err := s.ListDirectoryGroups(t.Context(), test.q)
		var got []string
		for _, g := range groups {
			got = append(got, g.ID)
		}
		if err != nil || total != test.total || !slices.Equal(got, test.want) {
			t.Errorf("groups by %+v: %v of %d, %v", test.q, got, total, err)
		}
	}
}
