package gateway_test

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"cequence.cloud/saml-operator/internal/administration"
)

// People work and sign in at three replicas while the database goes away and
// comes back, and while a replica goes away: nobody loses a session, and each
// sign-in happens or does not.
func TestDatabaseAndReplicaAwayUnderLoad(t *testing.T) {
	replicas := newReplicas(t, 3, administered)
	const visitors = 6
	var (
		answered, lost, signedIn, away, wrong atomic.Int64
		gone, over                            atomic.Bool
		load                                  sync.WaitGroup
	)
	defer load.Wait()
	defer over.Store(true)
	for n := range visitors {
		p := replicas[n%len(replicas)].person()
		p.signIn(acme)
		signedIn.Add(1)
		var at []*person
		for _, w := range replicas {
			at = append(at, p.at(w))
		}
		load.Go(func() {
			for i := n; !over.Load(); i++ {
				replica := i % len(at)
				response, err := at[replica].client.Do(p.request(http.MethodGet, site(acme)+"/saml/session", nil))
				if err == nil {
					_ = response.Body.Close()
				}
				switch {
				case err == nil && response.StatusCode == http.StatusOK:
					answered.Add(1)
				case replica != 0 || !gone.Load():
					lost.Add(1)
				}
			}
		})
	}
	for _, w := range replicas[1:] {
		load.Go(func() {
			for !over.Load() {
				p := w.person()
				requestID, relayState := p.login(acme, "/")
				response := w.issue(acme, acme, requestID)
				a := p.post(acme, response, relayState)
				for ; a.StatusCode == http.StatusServiceUnavailable && !over.Load(); a = p.post(acme, response, relayState) {
					away.Add(1)
				}
				switch a.StatusCode {
				case http.StatusSeeOther:
					signedIn.Add(1)
				case http.StatusServiceUnavailable:
				default:
					wrong.Add(1)
				}
			}
		})
	}
	goesOn := func(what string, counts ...*atomic.Int64) {
		t.Helper()
		var want []int64
		for _, count := range counts {
			want = append(want, count.Load()+20)
		}
		replicas[1].eventually(what, func() bool {
			return !slices.ContainsFunc(counts, func(count *atomic.Int64) bool { return count.Load() < want[slices.Index(counts, count)] })
		})
	}

	goesOn("all goes well", &answered, &signedIn)
	if err := postgres.Stop(); err != nil {
		t.Fatal(err)
	}
	goesOn("people work on without the database, and are asked to sign in later", &answered, &away)
	if err := postgres.Start(); err != nil {
		t.Fatal(err)
	}
	goesOn("people sign in again", &answered, &signedIn)
	gone.Store(true)
	replicas[0].stop()
	goesOn("people work and sign in at the other replicas", &answered, &signedIn)
	over.Store(true)
	load.Wait()

	if lost.Load() != 0 || wrong.Load() != 0 {
		t.Errorf("%d requests found no session, %d sign-ins failed", lost.Load(), wrong.Load())
	}
	users, err := replicas[1].administration().Users(t.Context(), acme, administration.UserFilter{})
	if err != nil || len(users) != 1 {
		t.Fatalf("users %+v, %v", users, err)
	}
	sessions, err := replicas[1].administration().Sessions(t.Context(), acme, "")
	if err != nil || int64(len(sessions)) != signedIn.Load() || users[0].SignIns != signedIn.Load() {
		t.Errorf("%d sessions, %d sign-ins of the user, but %d succeeded; %v", len(sessions), users[0].SignIns, signedIn.Load(), err)
	}
}
