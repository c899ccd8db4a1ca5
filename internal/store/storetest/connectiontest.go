package storetest

import (
	"errors"
	"testing"

	"cequence.cloud/saml-operator/internal/store"
)

func (s *suite) try(t *testing.T, in store.SignIn, want store.TestResult) {
	t.Helper()
	result, err := s.RecordTest(t.Context(), in)
	if err != nil || result.Known != want.Known || !errors.Is(result.Refusal, want.Refusal) {
		t.Errorf("RecordTest: got %+v, %v, want %+v", result, err, want)
	}
}

func testLeavesNothing(t *testing.T, s *suite) {
	s.try(t, s.signIn(1), store.TestResult{})
	if users, err := s.ListUsers(t.Context(), store.UserQuery{Tenant: "acme", Limit: 10}); err != nil || len(users) != 0 {
		t.Errorf("users %v, %v", users, err)
	}
	if sessions, err := s.ListSessions(t.Context(), store.SessionQuery{Tenant: "acme", Limit: 10}); err != nil || len(sessions) != 0 {
		t.Errorf("sessions %v, %v", sessions, err)
	}
	s.refuse(t, s.signIn(1), store.ErrReplayed)
	again := s.signIn(2)
	again.RequestID = "request-1"
	s.refuse(t, again, store.ErrRequestAnswered)
	if _, err := s.RecordTest(t.Context(), s.signIn(1)); !errors.Is(err, store.ErrReplayed) {
		t.Errorf("a second test by one assertion: got error %v", err)
	}

	// Without anybody to look for, the assertion is used up all the same.
	nobody := s.signIn(3)
	nobody.Profile = store.Profile{}
	s.try(t, nobody, store.TestResult{})
	s.refuse(t, s.signIn(3), store.ErrReplayed)

	before := s.record(t, s.signIn(4)).User
	changed := s.signIn(5)
	changed.Profile.Email, changed.Profile.Groups = "other@acme.example", nil
	s.try(t, changed, store.TestResult{Known: true})
	after, err := s.GetUser(t.Context(), "acme", before.ID)
	if err != nil || after.Profile.Email != before.Profile.Email || after.SignIns != 1 || len(after.Profile.Groups) != 2 {
		t.Errorf("the test has changed the user: %+v, %v", after, err)
	}

	bob := s.of(6, "acme", "bob")
	bob.Provisioning.ExistingOnly = true
	s.try(t, bob, store.TestResult{Refusal: store.ErrUserUnknown})
	bob = s.of(7, "acme", "bob")
	bob.Provisioning.MaxUsers = 1
	s.try(t, bob, store.TestResult{Refusal: store.ErrTooManyUsers})
	s.disable(t, before.ID, true)
	s.try(t, s.signIn(8), store.TestResult{Known: true, Refusal: store.ErrUserDisabled})
}
