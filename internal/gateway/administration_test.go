package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/gateway/admin"
)

// administered lets everybody administer.
func administered(_ *world, o *gateway.Options) {
	o.Authorize = func(context.Context, string, admin.Access) (string, error) { return "somebody", nil }
}

// administration is the internal port of the gateway.
func (w *world) administration() *administration.Client {
	server := httptest.NewServer(w.gateway.Internal())
	w.t.Cleanup(server.Close)
	return &administration.Client{BaseURL: server.URL, Token: "any"}
}

// Row T11: whom one replica disables is out at all of them, with every copy of
// the cookie, and does not come in again.
func TestT11_ADisabledUserIsOutAtAllReplicas(t *testing.T) {
	replicas := newReplicas(t, 3, administered)
	p, other := replicas[0].person(), replicas[1].person()
	p.signIn(acme)
	other.signIn(globex)
	users, err := replicas[1].administration().Users(t.Context(), acme, administration.UserFilter{})
	if err != nil || len(users) != 1 {
		t.Fatalf("users %v, %v", users, err)
	}
	if _, err := replicas[1].administration().SetUserDisabled(t.Context(), acme, users[0].ID, true); err != nil {
		t.Fatal(err)
	}
	for i, w := range replicas {
		w.eventually("the user is out", func() bool { return !p.at(w).signedIn(acme) })
		if !other.at(w).signedIn(globex) {
			t.Errorf("replica %d: another tenant's user is out, too", i)
		}
	}
	requestID, relayState := p.login(acme, "/")
	response := p.issue(acme, acme, requestID)
	a := p.post(acme, response, relayState)
	if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "You have no access") || !strings.Contains(replicas[0].log.last(), `"code":"user_disabled"`) {
		t.Errorf("status %d: %s, log %s", a.StatusCode, a.body, replicas[0].log.last())
	}

	if _, err := replicas[2].administration().SetUserDisabled(t.Context(), acme, users[0].ID, false); err != nil {
		t.Fatal(err)
	}
	p.at(replicas[2]).signIn(acme)
}

func TestEndedSessionsAreOutAtAllReplicas(t *testing.T) {
	replicas := newReplicas(t, 2, administered)
	p, again := replicas[0].person(), replicas[0].person()
	p.signIn(acme)
	again.signIn(acme)
	ended, err := replicas[1].administration().EndSessions(t.Context(), acme, "")
	if err != nil || ended.Sessions != 2 {
		t.Fatalf("ended %v, %v", ended, err)
	}
	for _, w := range replicas {
		w.eventually("the sessions are over", func() bool { return !p.at(w).signedIn(acme) && !again.at(w).signedIn(acme) })
	}
	p.signIn(acme)
}

// Without a cluster there is nobody to ask who may.
func TestNobodyAdministersWithoutACluster(t *testing.T) {
	w := newWorld(t)
	if _, err := w.administration().Users(t.Context(), acme, administration.UserFilter{}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got error %v", err)
	}
	// Nor is the API at the public port.
	administered := newWorld(t, administered)
	p := administered.person()
	if a := p.get(site(acme) + administration.Prefix + "acme/users"); a.StatusCode != http.StatusFound && a.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d at the public port: %s", a.StatusCode, a.body)
	}
}
