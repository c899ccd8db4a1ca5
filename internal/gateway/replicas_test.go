package gateway_test

import (
	"database/sql"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/testpostgres"
)

// postgres serves the tests of several replicas.
var postgres *testpostgres.Server

// onPostgreSQL puts a gateway on a database, with a cookie key that it shares.
func onPostgreSQL(database, dir string) func(*world, *gateway.Options) {
	return func(w *world, o *gateway.Options) {
		w.database, w.data, o.DataDir, o.Database = database, dir, dir, database
	}
}

// newReplicas returns worlds whose gateways are replicas of one another: they
// have database, cookie key and tenants in common.
func newReplicas(t *testing.T, n int, more ...func(*world, *gateway.Options)) []*world {
	t.Helper()
	database, dir := postgres.NewDatabase(t), t.TempDir()
	first := newWorld(t, append(more, onPostgreSQL(database, dir))...)
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
	const posts = 100
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
	if got := replicas[0].count("sessions"); got != 1 {
		t.Errorf("%d sessions, want 1", got)
	}
}

// count counts the rows of a table of the replicas' database.
func (w *world) count(table string) (rows int) {
	w.t.Helper()
	db, err := sql.Open("pgx", w.database)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.QueryRowContext(w.t.Context(), "SELECT count(*) FROM "+table).Scan(&rows); err != nil {
		w.t.Fatal(err)
	}
	return rows
}

func TestFirstSignInsAtOnceMakeOneUser(t *testing.T) {
	replicas := newReplicas(t, 3)
	const signIns = 50
	statuses := make([]int, signIns)
	people, posts := make([]*person, signIns), make([]*http.Request, signIns)
	for i := range signIns {
		people[i] = replicas[i%len(replicas)].person()
		requestID, relayState := people[i].login(acme, "/")
		posts[i] = people[i].postRequest(acme, people[i].issue(acme, acme, requestID), relayState)
	}
	var all sync.WaitGroup
	for i := range signIns {
		all.Go(func() { statuses[i] = people[i].send(posts[i]) })
	}
	all.Wait()
	for i, status := range statuses {
		if status != http.StatusSeeOther {
			t.Errorf("sign-in %d: status %d", i, status)
		}
	}
	if users, sessions := replicas[0].count("users"), replicas[0].count("sessions"); users != 1 || sessions != signIns {
		t.Errorf("%d users and %d sessions, want 1 and %d", users, sessions, signIns)
	}
	created := 0
	for _, w := range replicas {
		created += strings.Count(w.log.all(), `"created":true`)
	}
	if created != 1 {
		t.Errorf("%d of them were told that they created the user", created)
	}
}

// send is do for any goroutine: it returns the status, 0 for none.
func (p *person) send(r *http.Request) int {
	response, err := p.client.Do(r)
	if err != nil {
		return 0
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return 0
	}
	return response.StatusCode
}

// Not in parallel with other tests: it stops the server of all. Half a minute
// without it, by the gateways' clock, ends no session of those that are in use
// at three replicas; who signs in meanwhile does so afterwards by the same
// answer.
func TestDatabaseAwayUnderLoad(t *testing.T) {
	replicas := newReplicas(t, 3)
	const (
		each            = 4
		perSecond       = 60 // requests that are served before the clock goes on
		newcomersAtOnce = 2
	)
	var served, failed atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	var users []*person
	for _, w := range replicas {
		for range each {
			p := w.person()
			p.signIn(acme)
			users = append(users, p)
		}
	}
	for _, p := range users {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := http.NewRequest(http.MethodGet, site(acme)+"/", nil)
				if err == nil && p.send(r) == http.StatusOK {
					served.Add(1)
				} else {
					failed.Add(1)
				}
			}
		})
	}
	seconds := func(n int) {
		t.Helper()
		for range n {
			until := served.Load() + perSecond
			replicas[0].eventually("requests are served", func() bool { return served.Load() >= until })
			replicas[0].clock.advance(time.Second)
		}
	}
	newcomers, posts := make([]*person, newcomersAtOnce), make([]func() *http.Request, newcomersAtOnce)
	for i := range newcomers {
		newcomers[i] = replicas[i].person()
		requestID, relayState := newcomers[i].login(acme, "/")
		response := newcomers[i].issue(acme, acme, requestID)
		posts[i] = func() *http.Request { return newcomers[i].postRequest(acme, response, relayState) }
	}
	sessions := replicas[0].count("sessions")
	seconds(2)
	if err := postgres.Stop(); err != nil {
		t.Fatal(err)
	}
	seconds(15)
	for i, p := range newcomers {
		if status := p.send(posts[i]()); status != http.StatusServiceUnavailable {
			t.Errorf("a sign-in without the database: status %d", status)
		}
	}
	seconds(15)
	if err := postgres.Start(); err != nil {
		t.Fatal(err)
	}
	seconds(2)
	if got := replicas[0].count("sessions"); got != sessions {
		t.Errorf("%d sessions are stored, want %d", got, sessions)
	}
	for i, p := range newcomers {
		p.eventually("the same answer signs in", func() bool { return p.send(posts[i]()) == http.StatusSeeOther })
	}
	close(stop)
	load.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), failed.Load()+served.Load())
	}
	for _, p := range users {
		if _, in := p.whoami(acme); !in {
			t.Error("a session is lost")
		}
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
