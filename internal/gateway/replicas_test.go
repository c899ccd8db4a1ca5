package gateway_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/testpostgres"
)

// postgres serves the tests of several replicas.
var postgres *testpostgres.Server

// onPostgreSQL puts a gateway on a database, with a cookie key that it shares.
func onPostgreSQL(database, dir string) func(*world, *gateway.Options) {
	return func(w *world, o *gateway.Options) {
		w.data, o.DataDir, o.Database = dir, dir, database
	}
}

// newReplicas returns worlds whose gateways are replicas of one another: they
// have database, cookie key and tenants in common.
func newReplicas(t *testing.T, n int) []*world {
	t.Helper()
	database, dir := postgres.NewDatabase(t), t.TempDir()
	first := newWorld(t, onPostgreSQL(database, dir))
	replicas := []*world{first}
	for range n - 1 {
		w := first.replica()
		w.start(first.options...)
		replicas = append(replicas, w)
	}
	return replicas
}

// replica is a world with the same tenants and persons, but no gateway yet.
func (w *world) replica() *world {
	return &world{t: w.t, clock: w.clock, idps: w.idps, dir: w.dir, tls: w.tls, roots: w.roots, app: w.app, log: &logBuffer{}}
}

// at returns the same browser at another replica.
func (p *person) at(w *world) *person {
	other := w.person()
	other.client.Jar = p.client.Jar
	return other
}

// Row B4.
func TestB4_ReplayAtAnotherReplica(t *testing.T) {
	replicas := newReplicas(t, 3)
	p := replicas[0].person()
	requestID, relayState := p.login(acme, "/")
	response := p.issue(acme, acme, requestID)
	begun := p.cookies(acme)
	statuses := make(chan int)
	const posts = 30
	for i := range posts {
		copied := replicas[i%len(replicas)].person()
		copied.client.Jar.SetCookies(&url.URL{Scheme: "https", Host: host(acme), Path: "/"}, begun)
		go func() { statuses <- copied.post(acme, response, relayState).StatusCode }()
	}
	signedIn := 0
	for range posts {
		if <-statuses == http.StatusSeeOther {
			signedIn++
		}
	}
	if signedIn != 1 {
		t.Errorf("%d of %d posts of one response signed in, want 1", signedIn, posts)
	}
}

// Row T11.
func TestSignOutReachesAllReplicas(t *testing.T) {
	replicas := newReplicas(t, 3)
	p := replicas[0].person()
	p.signIn(acme)
	var copies []*person
	for _, w := range replicas {
		copied := w.person()
		p.give(acme, copied, acme)
		if _, in := copied.whoami(acme); !in {
			t.Fatal("a session of one replica does not count at another")
		}
		copies = append(copies, copied)
	}
	at := p.at(replicas[1])
	if a := at.do(at.request(http.MethodPost, site(acme)+"/saml/logout", nil)); a.StatusCode != http.StatusOK {
		t.Fatalf("logout: status %d", a.StatusCode)
	}
	for _, c := range copies {
		c.eventually("the session is over at each replica", func() bool { _, in := c.whoami(acme); return !in })
	}
}

// Not in parallel with other tests: it stops the server of all.
func TestDatabaseAwayAndBack(t *testing.T) {
	replicas := newReplicas(t, 2)
	here, there := replicas[0], replicas[1]
	p, leaving, newcomer := here.person(), here.person(), here.person()
	p.signIn(acme)
	leaving.signIn(acme)
	copied := there.person()
	leaving.give(acme, copied, acme)
	requestID, relayState := newcomer.login(acme, "/")
	if err := postgres.Stop(); err != nil {
		t.Fatal(err)
	}

	for _, w := range replicas {
		if _, in := p.at(w).whoami(acme); !in {
			t.Error("a session ended")
		}
		if err := w.gateway.Ready(); err != nil {
			t.Errorf("sessions go on, but: %v", err)
		}
	}
	a := newcomer.post(acme, here.issue(acme, acme, requestID), relayState)
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Set-Cookie") != "" || !strings.Contains(a.body, "Support ID") {
		t.Errorf("a sign-in: status %d, headers %v: %s", a.StatusCode, a.Header, a.body)
	}
	if a := leaving.do(leaving.request(http.MethodPost, site(acme)+"/saml/logout", nil)); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("logout: status %d", a.StatusCode)
	}
	if _, in := leaving.whoami(acme); in {
		t.Error("the session survived the logout")
	}
	// One that starts meanwhile does not know who was signed out.
	late := here.replica()
	late.launch(here.options...)
	late.eventually("it says what it waits for", func() bool {
		err := late.gateway.Ready()
		return err != nil && strings.Contains(err.Error(), "the database cannot be used")
	})
	if a := p.at(late).get(site(acme) + "/"); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a gateway that waits for the database: status %d", a.StatusCode)
	}
	if err := postgres.Start(); err != nil {
		t.Fatal(err)
	}

	late.eventually("the one that started is ready", func() bool { return late.gateway.Ready() == nil })
	copied.eventually("the logout reaches the other replica", func() bool { _, in := copied.whoami(acme); return !in })
	if a := newcomer.post(acme, here.issue(acme, acme, requestID), relayState); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the same request afterwards: status %d", a.StatusCode)
	}
	for _, w := range append(replicas, late) {
		if strings.Contains(w.log.all(), testpostgres.Password) {
			t.Error("the log has the password of the database")
		}
	}
}
