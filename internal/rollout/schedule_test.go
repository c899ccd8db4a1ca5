package rollout_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/rollout"
)

// settings are the defaults of the operator.
var settings = rollout.Settings{Quiet: 15 * time.Second, MaxWait: 2 * time.Minute, Interval: 2 * time.Minute}

// config is what one tenant's Secret holds, and since which version.
type config struct {
	hash            string
	resourceVersion uint64
}

// world has a clock of its own, Secrets that change, a Deployment, and an
// operator that forgets all but what is on record when it is restarted.
type world struct {
	t   *testing.T
	rng *rand.Rand
	now time.Time

	fleet           map[string]config
	resourceVersion uint64
	// changedAt is when each tenant changed that no rollout includes yet.
	changedAt map[string]time.Time

	deployment rollout.Deployment
	// rolled is what the pods of the last rollout started from.
	rolled map[string]config
	// moves is when the rollout under way ends, zero when none is.
	moves time.Time

	lastChange, alarm time.Time
	starts            []time.Time
	// batches were rolled or taken back; looks and writes are what they cost.
	batches, looks, writes int
	restarts, ends         int
}

const longestRollout = 5 * time.Minute

func newWorld(t *testing.T, seed uint64) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), now: noon, lastChange: noon,
		fleet: map[string]config{}, changedAt: map[string]time.Time{},
		deployment: rollout.Deployment{Generation: 1, ObservedGeneration: 1, Wanted: 1, Replicas: 1, Updated: 1, Available: 1},
	}
}

// change writes a Secret; now and then it writes what was there before.
func (w *world) change() {
	name := fmt.Sprintf("tenant-%d", w.rng.IntN(20))
	w.resourceVersion++
	c := config{fmt.Sprint(w.rng.IntN(3)), w.resourceVersion}
	if w.fleet[name].hash == c.hash {
		return // nothing that the operator is told of
	}
	w.fleet[name] = c
	if _, waits := w.changedAt[name]; !waits {
		w.changedAt[name] = w.now
	}
	w.lastChange = w.now
	w.reconcile()
}

func (w *world) restart() {
	w.restarts++
	w.lastChange = w.now
	w.reconcile()
}

// end is the Deployment controller: the rollout under way completes or gives up.
func (w *world) end() {
	w.ends++
	w.moves = time.Time{}
	d := &w.deployment
	d.ObservedGeneration = d.Generation
	d.Available, d.ProgressDeadlineExceeded = 1, false
	if w.rng.IntN(10) == 0 {
		d.Available, d.ProgressDeadlineExceeded = 0, true
	}
	w.reconcile()
}

// reconcile does what the controller does.
func (w *world) reconcile() {
	d := w.deployment
	w.alarm = time.Time{}
	wait, waits := settings.Waits(d, w.lastChange, w.now)
	if !waits {
		w.looks++
		var next rollout.Record
		next, wait = settings.Decide(d, w.look(), w.lastChange, w.now)
		if next != d.Record {
			w.writes++
		}
		if !d.PendingSince.IsZero() && next.PendingSince.IsZero() {
			w.batches++
		}
		w.deployment.Record = next
		switch {
		case next.FleetHash != d.FleetHash:
			w.start()
		case next.PendingSince.IsZero():
			// Nothing differs from what was rolled.
			clear(w.changedAt)
		}
	}
	if wait > 0 {
		w.alarm = w.now.Add(wait)
	}
	w.check()
}

func (w *world) look() rollout.Fleet {
	hashes := map[string]string{}
	var newest uint64
	for name, c := range w.fleet {
		hashes[name] = c.hash
		newest = max(newest, c.resourceVersion)
	}
	return rollout.Fleet{Hash: rollout.FleetHash(rollout.Structure{}, hashes), ResourceVersion: newest}
}

func (w *world) start() {
	if !w.moves.IsZero() {
		w.t.Fatalf("%s: a rollout started during another", w.now)
	}
	if n := len(w.starts); n > 0 && w.now.Sub(w.starts[n-1]) < settings.Interval {
		w.t.Fatalf("a rollout started at %s, another at %s", w.starts[n-1], w.now)
	}
	w.starts = append(w.starts, w.now)
	w.rolled = maps.Clone(w.fleet)
	clear(w.changedAt)
	w.deployment.Generation++
	w.moves = w.now.Add(time.Duration(w.rng.Int64N(int64(longestRollout))))
}

// check holds the record to the truth: a configuration is called included
// exactly when the pods started from it, and none is forgotten.
func (w *world) check() {
	for name, c := range w.fleet {
		if w.deployment.Includes(c.resourceVersion) && w.rolled[name].hash != c.hash {
			w.t.Fatalf("%s: %s is called included and is not", w.now, name)
		}
	}
	for name, since := range w.changedAt {
		if w.now.Sub(since) > settings.MaxWait+settings.Interval+longestRollout {
			w.t.Fatalf("%s: %s has waited since %s", w.now, name, since)
		}
	}
}

// step moves the clock to what comes next.
func (w *world) step(event time.Time, happens func()) {
	for {
		next, do := event, happens
		if !w.moves.IsZero() && w.moves.Before(next) {
			next, do = w.moves, w.end
		}
		if !w.alarm.IsZero() && w.alarm.Before(next) {
			next, do = w.alarm, w.reconcile
		}
		w.now = next
		if do(); next.Equal(event) {
			return
		}
	}
}

// Whatever changes when, however often the operator starts anew: rollouts are
// an interval apart and never overlap, each change is rolled in time, and what
// all this reads and writes is bounded by the rollouts, not by the changes.
func TestRolloutsAreBoundedWhateverHappens(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(t, seed)
		// The mean time between two changes, from a storm to a trickle.
		mean := time.Duration(1+w.rng.IntN(60_000)) * time.Millisecond
		restartsOneIn := 2 + w.rng.IntN(100)
		for range 1000 {
			at := w.now.Add(time.Duration(w.rng.ExpFloat64() * float64(mean)))
			if w.rng.IntN(restartsOneIn) == 0 {
				w.step(at, w.restart)
			} else {
				w.step(at, w.change)
			}
		}
		w.step(w.now.Add(time.Hour), func() {})

		took := w.starts[len(w.starts)-1].Sub(noon)
		if len(w.starts) > int(took/settings.Interval)+1 {
			t.Errorf("seed %d: %d rollouts within %s", seed, len(w.starts), took)
		}
		for name, c := range w.fleet {
			if w.rolled[name].hash != c.hash || !w.deployment.Includes(c.resourceVersion) {
				t.Errorf("seed %d: %s was forgotten", seed, name)
			}
		}
		// The fleet is read when a batch begins and when it is due, and when the
		// operator or a rollout has ended and nothing is on record.
		if w.looks > 2*w.batches+w.restarts+w.ends || w.writes != 2*w.batches {
			t.Errorf("seed %d: %d looks and %d writes for %d batches, %d restarts and %d ends", seed, w.looks, w.writes, w.batches, w.restarts, w.ends)
		}
	}
}

func TestAThousandEditsInAMinuteCauseAtMostTwoRollouts(t *testing.T) {
	for seed := range uint64(100) {
		w := newWorld(t, seed)
		w.step(w.now.Add(time.Hour), w.change) // a gateway in its steady state
		w.step(w.now.Add(time.Hour), func() {})
		before := len(w.starts)
		begin, looks := w.now, w.looks
		for i := range 1000 {
			w.step(begin.Add(time.Duration(i+1)*time.Minute/1000), w.change)
		}
		w.step(w.now.Add(time.Hour), func() {})
		if n := len(w.starts) - before; n < 1 || n > 2 {
			t.Errorf("seed %d: %d rollouts", seed, n)
		}
		if n := w.looks - looks; n > 6 {
			t.Errorf("seed %d: the fleet was read %d times", seed, n)
		}
	}
}
