package gateway_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/crewjam/saml"

	"cequence.cloud/saml-operator/internal/testidp"
)

func withManyGroups(o *testidp.ResponseOptions) {
	o.AlterAssertion = func(a *saml.Assertion) {
		attributes := a.AttributeStatements[0].Attributes
		for i := range attributes {
			if attributes[i].Name == testidp.ClaimGroup {
				for _, group := range manyGroups(150) {
					attributes[i].Values = append(attributes[i].Values, saml.AttributeValue{Value: group})
				}
			}
		}
	}
}

func TestStoreAway(t *testing.T) {
	w := newWorld(t)
	few, many, unseen, newcomer := w.person(), w.person(), w.person(), w.person()
	few.signIn(acme)
	many.signIn(acme, withManyGroups)
	many.whoami(acme)
	unseen.signIn(acme, withManyGroups)
	requestID, relayState := newcomer.login(acme, "/")
	if err := w.gateway.Close(); err != nil {
		t.Fatal(err)
	}

	if _, in := few.whoami(acme); !in {
		t.Error("a session ended")
	}
	if _, in := many.whoami(acme); !in {
		t.Error("a session whose groups were read before ended")
	}
	if a := unseen.get(site(acme) + "/"); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a session whose groups cannot be read: status %d", a.StatusCode)
	}
	a := newcomer.post(acme, w.issue(acme, acme, requestID), relayState)
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Set-Cookie") != "" {
		t.Errorf("a sign-in: status %d, headers %v", a.StatusCode, a.Header)
	}
	// Signing out takes effect here, but the user learns that it is not done.
	if a := few.do(few.request(http.MethodPost, site(acme)+"/saml/logout", nil)); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("logout: status %d", a.StatusCode)
	}
	if _, in := few.whoami(acme); in {
		t.Error("the session survived the logout")
	}

	w.restart()
	if a := few.do(few.request(http.MethodPost, site(acme)+"/saml/logout", nil)); a.StatusCode != http.StatusOK {
		t.Errorf("logout again: status %d", a.StatusCode)
	}
	if a := newcomer.post(acme, w.issue(acme, acme, requestID), relayState); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the same request afterwards: status %d", a.StatusCode)
	}
}

func TestStoreLost(t *testing.T) {
	w := newWorld(t)
	few, many := w.person(), w.person()
	few.signIn(acme)
	many.signIn(acme, withManyGroups)
	w.stop()
	files, err := filepath.Glob(filepath.Join(w.data, "gateway.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	if _, in := few.whoami(acme); !in {
		t.Error("a session that needs no store ended")
	}
	if a := many.get(site(acme) + "/"); a.StatusCode != http.StatusFound {
		t.Errorf("a session whose groups are lost: status %d, want a new sign-in", a.StatusCode)
	}
}
