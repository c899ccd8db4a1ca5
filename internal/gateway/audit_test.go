package gateway_test

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/testidp"
)

// audited has the gateway write its audit log into lines, and keep it.
func audited(lines *logBuffer) func(*world, *gateway.Options) {
	return func(_ *world, o *gateway.Options) { o.AuditOut, o.AuditRetention = lines, time.Hour }
}

// auditEntries reads lines, from the first one to the last.
func auditEntries(t *testing.T, lines *logBuffer) (entries []administration.AuditEntry) {
	t.Helper()
	for line := range strings.Lines(lines.all()) {
		var e administration.AuditEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries
}

func TestAuditLog(t *testing.T) {
	lines := &logBuffer{}
	w := newWorld(t, audited(lines), administered)
	p := w.person()
	p.signIn(acme)
	p.postForm(site(acme)+"/saml/logout", nil)
	requestID, relayState := p.login(acme, "/")
	expired := p.issue(acme, acme, requestID, func(o *testidp.ResponseOptions) { o.Audience = "https://other.example" })
	a := p.post(acme, expired, relayState)
	p.signIn(acme)
	users, err := w.administration().Users(t.Context(), acme, administration.UserFilter{})
	if err != nil || len(users) != 1 {
		t.Fatalf("%v, %v", users, err)
	}
	if _, err := w.administration().SetUserDisabled(t.Context(), acme, users[0].ID, true); err != nil {
		t.Fatal(err)
	}
	c := w.config(globex)
	c.DisplayName = "Another name"
	w.write(c)
	w.eventually("the change is told", func() bool { return strings.Contains(lines.all(), "tenant_changed") })

	entries := auditEntries(t, lines)
	want := []administration.AuditEntry{
		{Event: "sign-in", Outcome: "success", User: users[0].ID},
		{Event: "provisioning", Outcome: "success", User: users[0].ID, Action: "user_created"},
		{Event: "sign-out", Outcome: "success", User: users[0].ID, Sessions: 1},
		{Event: "sign-in", Outcome: "refused", Code: "audience_mismatch"},
		{Event: "sign-in", Outcome: "success", User: users[0].ID},
		{Event: "administration", Outcome: "success", User: users[0].ID, Action: "disable_user", Actor: "somebody", Sessions: 1},
		{Event: "configuration", Outcome: "success", Action: "tenant_changed", Tenant: globex},
	}
	if len(entries) != len(want) {
		t.Fatalf("%d entries, want %d: %s", len(entries), len(want), lines.all())
	}
	for i, e := range entries {
		if want[i].Tenant == "" {
			want[i].Tenant = acme
		}
		if e.ID == "" || !e.Time.Equal(w.clock.Now()) || i < 6 && e.Address == "" {
			t.Errorf("%+v lacks an ID, the time or an address", e)
		}
		if e.Event == "sign-in" && e.Outcome == "success" && (e.AssertionID == "" || e.RequestID == "") {
			t.Errorf("%+v lacks the assertion's ID or the request's", e)
		}
		if e.Outcome == "refused" && !strings.Contains(a.body, e.SupportID) {
			t.Errorf("%+v has not the support ID that the user was shown", e)
		}
		got := administration.AuditEntry{Event: e.Event, Outcome: e.Outcome, Code: e.Code, Action: e.Action, Tenant: e.Tenant, User: e.User, Actor: e.Actor, Sessions: e.Sessions}
		if got != want[i] {
			t.Errorf("entry %d is %+v, want %+v", i, got, want[i])
		}
	}
	for _, secret := range append(p.cookies(acme), p.cookies(globex)...) {
		if strings.Contains(lines.all(), secret.Value) {
			t.Errorf("the log has the cookie %s", secret.Name)
		}
	}
	if text := lines.all(); strings.Contains(text, "@") || strings.Contains(text, "<") {
		t.Errorf("the log has what the assertion says: %s", text)
	}

	// The store has the same, for the API.
	w.eventually("the entries are stored", func() bool {
		stored, err := w.administration().Audit(t.Context(), acme, administration.AuditFilter{}, 100)
		return err == nil && len(stored) == 6 && reflect.DeepEqual(stored[0], entries[5])
	})
	refused, err := w.administration().Audit(t.Context(), acme, administration.AuditFilter{Outcome: "refused"}, 100)
	if err != nil || len(refused) != 1 || refused[0] != entries[3] {
		t.Errorf("refused are %+v, %v", refused, err)
	}
}

// What was recorded while the gateway stops is stored all the same.
func TestAuditLogSurvivesARestart(t *testing.T) {
	lines := &logBuffer{}
	w := newWorld(t, audited(lines), administered)
	w.person().signIn(acme)
	w.restart()
	stored, err := w.administration().Audit(t.Context(), acme, administration.AuditFilter{}, 100)
	if err != nil || len(stored) != 2 {
		t.Errorf("stored are %+v, %v", stored, err)
	}
	w.clock.advance(time.Hour)
	if stored, err = w.administration().Audit(t.Context(), acme, administration.AuditFilter{}, 100); err != nil || len(stored) != 0 {
		t.Errorf("after the retention there are %+v, %v", stored, err)
	}
}

// Whoever has no assertion fills standard output at most.
func TestAnonymousRefusalsDoNotFillTheStore(t *testing.T) {
	lines := &logBuffer{}
	w := newWorld(t, audited(lines), administered)
	p := w.person()
	const refusals = 80
	for range refusals {
		p.postForm(site(acme)+"/saml/acs", nil)
	}
	p.signIn(acme)
	if got := len(auditEntries(t, lines)); got != refusals+2 {
		t.Errorf("%d lines, want %d", got, refusals+2)
	}
	w.eventually("the sign-in is stored", func() bool {
		stored, err := w.administration().Audit(t.Context(), acme, administration.AuditFilter{Event: "provisioning"}, 100)
		return err == nil && len(stored) == 1
	})
	stored, err := w.administration().Audit(t.Context(), acme, administration.AuditFilter{Outcome: "refused"}, 100)
	if err != nil || len(stored) != 60 {
		t.Errorf("%d refusals are stored, %v", len(stored), err)
	}
}

// The page describes the fields that there are.
func TestAuditLogIsDescribed(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference/audit-log.md")
	if err != nil {
		t.Fatal(err)
	}
	fields := reflect.TypeFor[administration.AuditEntry]()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if !strings.Contains(string(text), "\n| `"+name+"` | ") {
			t.Errorf("%s is not described", name)
		}
	}
	if described := strings.Count(string(text), "\n| `"); described != fields.NumField() {
		t.Errorf("%d fields are described, and there are %d", described, fields.NumField())
	}
}
