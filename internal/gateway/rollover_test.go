package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// operator stands in for the one that is asked for refreshes.
type operator struct {
	asked atomic.Int32
	// refresh is what it does when asked, nothing if nil.
	refresh func() error
}

// newWorldWith starts a world in which the gateway has that operator.
func newWorldWith(t *testing.T, o *operator, more ...func(*world, *gateway.Options)) *world {
	t.Helper()
	return newWorld(t, append(more, func(_ *world, options *gateway.Options) {
		options.Refresh = func(_ context.Context, tenant string) error {
			if tenant != acme {
				t.Errorf("refresh of %q", tenant)
			}
			o.asked.Add(1)
			if o.refresh == nil {
				return errors.New("nobody is there")
			}
			return o.refresh()
		}
	})...)
}

// publish renders what the IdP publishes now.
func (w *world) publish(change ...func(*tenantconfig.Config)) error {
	c := w.config(acme)
	for _, f := range change {
		f(&c)
	}
	w.write(c)
	return nil
}

func (w *world) rotate() {
	w.t.Helper()
	if err := w.idps[acme].RotateAbruptly(); err != nil {
		w.t.Fatal(err)
	}
}

// Entra ID's E5: an administrator activates a certificate that nobody has seen.
func TestAnUnannouncedKeyIsAcceptedWithoutASecondTry(t *testing.T) {
	o := &operator{}
	w := newWorldWith(t, o)
	o.refresh = func() error { return w.publish() }
	w.rotate()
	p := w.person()
	requestID, relayState := p.login(acme, "/deep")
	response := w.issue(acme, acme, requestID)
	a := p.post(acme, response, relayState)
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/deep" {
		t.Fatalf("status %d, log %s", a.StatusCode, w.log.last())
	}
	if _, in := p.whoami(acme); !in {
		t.Error("not signed in")
	}
	if !strings.Contains(w.log.all(), "signs with a new key") {
		t.Error("the log does not tell")
	}
	// The next one is verified by the key at once, and an answer serves once.
	w.person().signIn(acme)
	if a := w.person().post(acme, response, relayState); a.StatusCode != http.StatusForbidden {
		t.Errorf("a replay: status %d", a.StatusCode)
	}
	if n := o.asked.Load(); n != 1 {
		t.Errorf("the operator was asked %d times", n)
	}
}

// Where users come from the IdP's portal, the first of them is as well.
func TestAnUnannouncedKeyIsAcceptedInUnsolicitedResponses(t *testing.T) {
	unsolicited := func(c *tenantconfig.Config) { c.ServiceProvider.IDPInitiated = tenantconfig.IDPInitiatedAccept }
	o := &operator{}
	w := newWorldWith(t, o, configured(unsolicited))
	o.refresh = func() error { return w.publish(unsolicited) }
	w.rotate()
	p := w.person()
	if a := p.postUnsolicited(w.issue(acme, acme, ""), "/deep", fromTheIDP...); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/deep" {
		t.Fatalf("status %d, log %s", a.StatusCode, w.log.last())
	}
	// Not if the tenant refuses them by now.
	w.rotate()
	o.refresh = func() error { return w.publish() }
	if a := w.person().postUnsolicited(w.issue(acme, acme, ""), ""); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "unsolicited_response" {
		t.Errorf("status %d, log %s", a.StatusCode, w.log.last())
	}
}

func TestAnAnswerByAnUnknownKeyUsesNothingUp(t *testing.T) {
	o := &operator{}
	w := newWorldWith(t, o)
	w.rotate()
	p := w.person()
	requestID, relayState := p.login(acme, "/")
	response := w.issue(acme, acme, requestID)
	a := p.post(acme, response, relayState)
	if code := w.log.lastCode(t); a.StatusCode != http.StatusForbidden || code != "unknown_signing_key" || !strings.Contains(a.body, "try again in a moment") {
		t.Errorf("status %d, code %s, page %s", a.StatusCode, code, a.body)
	}
	if !strings.Contains(w.log.all(), "nobody is there") {
		t.Error("the log does not tell why")
	}
	o.refresh = func() error { return w.publish() }
	if a := p.post(acme, response, relayState); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the same answer afterwards: status %d, log %s", a.StatusCode, w.log.last())
	}
}

// Whoever sends garbage must at least have begun a sign-in for each piece.
func TestOnlyAnswersToARequestCauseARefresh(t *testing.T) {
	o := &operator{}
	w := newWorldWith(t, o)
	key, err := testidp.NewKey(testidp.KeyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	byAttacker := func(options *testidp.ResponseOptions) { options.Key = key }
	for _, signing := range []testidp.Signing{testidp.SignAssertion, testidp.SignResponse} {
		signed := func(options *testidp.ResponseOptions) { options.Signing = signing }
		p, other := w.person(), w.person()
		requestID, relayState := p.login(acme, "/")
		otherID, _ := other.login(acme, "/")
		for what, attempt := range map[string]func() answer{
			"from a browser without a request": func() answer {
				return w.person().post(acme, w.issue(acme, acme, requestID, byAttacker, signed), relayState)
			},
			"for another browser's request": func() answer {
				return p.post(acme, w.issue(acme, acme, otherID, byAttacker, signed), relayState)
			},
			"unsolicited": func() answer {
				return p.post(acme, w.issue(acme, acme, "", byAttacker, signed), relayState)
			},
			"of another IdP": func() answer {
				return p.post(acme, w.issue(globex, acme, requestID, signed), relayState)
			},
			"for another tenant": func() answer {
				return p.post(acme, w.issue(acme, globex, requestID, byAttacker, func(options *testidp.ResponseOptions) {
					options.Signing = testidp.SignResponse
				}), relayState)
			},
			"not signed": func() answer {
				return p.post(acme, w.issue(acme, acme, requestID, func(options *testidp.ResponseOptions) {
					options.Signing = testidp.SignNothing
				}), relayState)
			},
		} {
			if a := attempt(); a.StatusCode != http.StatusForbidden || o.asked.Load() != 0 {
				t.Errorf("%s: status %d, the operator was asked %d times, log %s", what, a.StatusCode, o.asked.Load(), w.log.last())
			}
		}
		if a := p.post(acme, w.issue(acme, acme, requestID, byAttacker, signed), relayState); a.StatusCode != http.StatusForbidden || o.asked.Swap(0) != 1 {
			t.Errorf("the one that fits: status %d, log %s", a.StatusCode, w.log.last())
		}
	}
}

// The configuration that a refresh brings counts as a whole.
func TestANewKeyDoesNotOpenWhatElseHasBeenClosed(t *testing.T) {
	for what, change := range map[string]func(*tenantconfig.Config){
		"another IdP by that key":     func(c *tenantconfig.Config) { c.IdentityProvider.EntityID = "https://idp.example/other" },
		"access disabled":             func(c *tenantconfig.Config) { c.Disabled = true },
		"another ACS":                 func(c *tenantconfig.Config) { c.ServiceProvider.ACSURL = "https://acme.s.localhost/saml/elsewhere" },
		"another tenant at that host": func(c *tenantconfig.Config) { c.Tenant = "heir" },
	} {
		o := &operator{}
		w := newWorldWith(t, o)
		o.refresh = func() error {
			if err := os.RemoveAll(filepath.Join(w.dir, acme)); err != nil {
				return err
			}
			return w.publish(change)
		}
		w.rotate()
		p := w.person()
		requestID, relayState := p.login(acme, "/")
		a := p.post(acme, w.issue(acme, acme, requestID), relayState)
		if a.StatusCode != http.StatusForbidden || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: status %d, headers %v", what, a.StatusCode, a.Header)
		}
	}
}
