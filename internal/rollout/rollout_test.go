package rollout_test

import (
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/rollout"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestFleetHashDependsOnEveryInput(t *testing.T) {
	structure := rollout.Structure{ConfigVersion: 1, BaseDomain: "s.example"}
	base := map[string]string{"a-saml-sp": "1", "b-saml-sp": "2"}
	same := map[string]string{"b-saml-sp": "2", "a-saml-sp": "1"}
	hash := rollout.FleetHash(structure, base)
	if hash != rollout.FleetHash(structure, same) {
		t.Error("the order of a map must not matter")
	}
	for name, other := range map[string]string{
		"another hash":        rollout.FleetHash(structure, map[string]string{"a-saml-sp": "1", "b-saml-sp": "3"}),
		"another name":        rollout.FleetHash(structure, map[string]string{"a-saml-sp": "1", "c-saml-sp": "2"}),
		"swapped hashes":      rollout.FleetHash(structure, map[string]string{"a-saml-sp": "2", "b-saml-sp": "1"}),
		"one fewer":           rollout.FleetHash(structure, map[string]string{"a-saml-sp": "1"}),
		"none":                rollout.FleetHash(structure, nil),
		"another version":     rollout.FleetHash(rollout.Structure{ConfigVersion: 2, BaseDomain: "s.example"}, base),
		"another base domain": rollout.FleetHash(rollout.Structure{ConfigVersion: 1, BaseDomain: "t.example"}, base),
	} {
		if hash == other {
			t.Errorf("%s: same fleet hash", name)
		}
	}
}

func TestStateOfADeploymentDecidesWhetherARolloutMayStart(t *testing.T) {
	settled := rollout.Deployment{
		Generation: 3, ObservedGeneration: 3, Wanted: 2, Replicas: 2, Updated: 2, Available: 2,
		Record: rollout.Record{FleetHash: "old"},
	}
	for name, test := range map[string]struct {
		change func(*rollout.Deployment)
		state  rollout.State
		start  bool
	}{
		"settled":                  {func(*rollout.Deployment) {}, rollout.Complete, true},
		"settled with this fleet":  {func(d *rollout.Deployment) { d.FleetHash = "new" }, rollout.Complete, false},
		"not observed yet":         {func(d *rollout.Deployment) { d.Generation = 4 }, rollout.InProgress, false},
		"old pods left":            {func(d *rollout.Deployment) { d.Replicas = 3 }, rollout.InProgress, false},
		"new pods missing":         {func(d *rollout.Deployment) { d.Updated = 1 }, rollout.InProgress, false},
		"new pods not available":   {func(d *rollout.Deployment) { d.Available = 1 }, rollout.InProgress, false},
		"paused":                   {func(d *rollout.Deployment) { d.Paused = true }, rollout.Complete, false},
		"gave up":                  {func(d *rollout.Deployment) { d.Available = 1; d.ProgressDeadlineExceeded = true }, rollout.Stuck, true},
		"gave up with this fleet":  {func(d *rollout.Deployment) { d.Available = 1; d.ProgressDeadlineExceeded = true; d.FleetHash = "new" }, rollout.Stuck, false},
		"gave up, before a change": {func(d *rollout.Deployment) { d.Generation, d.Available, d.ProgressDeadlineExceeded = 4, 1, true }, rollout.Stuck, false},
		"scaled to zero, unseen":   {func(d *rollout.Deployment) { d.Generation, d.Wanted = 4, 0 }, rollout.ScaledDown, false},
		"scaled to zero":           {func(d *rollout.Deployment) { d.Wanted, d.Replicas, d.Updated, d.Available = 0, 0, 0, 0 }, rollout.ScaledDown, true},
	} {
		d := settled
		test.change(&d)
		if got := d.State(); got != test.state {
			t.Errorf("%s: state %v, want %v", name, got, test.state)
		}
		next, wait := rollout.Settings{}.Decide(d, rollout.Fleet{Hash: "new", ResourceVersion: 7}, noon, noon)
		if started := next.FleetHash != d.FleetHash; started != test.start || wait != 0 {
			t.Errorf("%s: starts %v with wait %s, want %v", name, started, wait, test.start)
		}
		if want := (rollout.Record{FleetHash: "new", ResourceVersion: 7, StartedAt: noon}); test.start && next != want {
			t.Errorf("%s: record %+v, want %+v", name, next, want)
		}
	}
}

func TestARolloutWaitsForQuietWithinBounds(t *testing.T) {
	settings := rollout.Settings{Quiet: 15 * time.Second, MaxWait: 2 * time.Minute, Interval: 2 * time.Minute}
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	for name, test := range map[string]struct {
		started, pending, lastChange time.Time
		wait                         time.Duration // 0: starts
	}{
		"the first change":             {time.Time{}, time.Time{}, noon, 15 * time.Second},
		"a change some time ago":       {time.Time{}, ago(10 * time.Second), ago(10 * time.Second), 5 * time.Second},
		"quiet for long enough":        {time.Time{}, ago(15 * time.Second), ago(15 * time.Second), 0},
		"changes go on":                {time.Time{}, ago(time.Minute), ago(time.Second), 14 * time.Second},
		"changes go on for long":       {time.Time{}, ago(119 * time.Second), ago(time.Second), time.Second},
		"changes go on for too long":   {time.Time{}, ago(2 * time.Minute), noon, 0},
		"rolled a moment ago":          {ago(20 * time.Second), ago(15 * time.Second), ago(15 * time.Second), 100 * time.Second},
		"rolled an interval ago":       {ago(2 * time.Minute), ago(15 * time.Second), ago(15 * time.Second), 0},
		"rolled by a clock that leads": {noon.Add(time.Hour), ago(15 * time.Second), ago(15 * time.Second), 2 * time.Minute},
		"noted by a clock that leads":  {time.Time{}, noon.Add(time.Hour), noon, 15 * time.Second},
	} {
		d := rollout.Deployment{
			Wanted: 1, Replicas: 1, Updated: 1, Available: 1,
			Record: rollout.Record{FleetHash: "old", StartedAt: test.started, PendingSince: test.pending},
		}
		next, wait := settings.Decide(d, rollout.Fleet{Hash: "new"}, test.lastChange, noon)
		if wait != test.wait || (next.FleetHash == "new") != (test.wait == 0) {
			t.Errorf("%s: got %+v and a wait of %s, want %s", name, next, wait, test.wait)
		}
		if _, waits := settings.Waits(d, test.lastChange, noon); waits && (test.started.After(noon) || test.pending.After(noon)) {
			t.Errorf("%s: waits for a time that a wrong clock wrote", name)
		}
		if next.StartedAt.After(noon) || next.PendingSince.After(noon) {
			t.Errorf("%s: a time that lies ahead stays on record: %+v", name, next)
		}
		if test.wait == 0 {
			continue
		}
		// The change is on record now, and until it is due nothing has to be read.
		d.Record = next
		if again, waits := settings.Waits(d, test.lastChange, noon); !waits || again != test.wait {
			t.Errorf("%s: once on record, waits %v for %s, want %s", name, waits, again, test.wait)
		}
		if again, _ := settings.Decide(d, rollout.Fleet{Hash: "new"}, test.lastChange, noon); again != next {
			t.Errorf("%s: the same question twice must write once; got %+v after %+v", name, again, next)
		}
		if _, waits := settings.Waits(d, test.lastChange, noon.Add(test.wait)); waits {
			t.Errorf("%s: must be looked at after its wait", name)
		}
	}
}

// A change that is taken back needs no rollout; its Secret has a newer version
// all the same, and its tenant must not wait for one that never comes.
func TestAChangeThatIsTakenBackIsIncluded(t *testing.T) {
	d := rollout.Deployment{
		Wanted: 1, Replicas: 1, Updated: 1, Available: 1,
		Record: rollout.Record{FleetHash: "same", ResourceVersion: 10, StartedAt: noon, PendingSince: noon},
	}
	next, wait := rollout.Settings{}.Decide(d, rollout.Fleet{Hash: "same", ResourceVersion: 12}, noon, noon)
	if want := (rollout.Record{FleetHash: "same", ResourceVersion: 12, StartedAt: noon}); next != want || wait != 0 {
		t.Errorf("got %+v and a wait of %s, want %+v", next, wait, want)
	}
	d.Record = next
	if again, _ := (rollout.Settings{}).Decide(d, rollout.Fleet{Hash: "same", ResourceVersion: 11}, noon, noon); again != next {
		t.Errorf("a steady state must write nothing; got %+v after %+v", again, next)
	}
}

// A gateway that is installed before its first tenant is not rolled for nobody:
// the first would have to wait for the interval.
func TestAGatewayWithoutTenantsIsNotRolled(t *testing.T) {
	d := rollout.Deployment{Wanted: 1, Replicas: 1, Updated: 1, Available: 1}
	empty := rollout.Fleet{Hash: "empty", Empty: true}
	if next, wait := settings.Decide(d, empty, noon, noon); next != d.Record || wait != 0 {
		t.Errorf("got %+v and a wait of %s, want nothing", next, wait)
	}
	d.FleetHash = "full"
	if next, _ := (rollout.Settings{}).Decide(d, empty, noon, noon); next.FleetHash != "empty" {
		t.Errorf("got %+v; the last tenant has gone, which the pods must learn", next)
	}
}

func TestIncludesComparesVersionsAsNumbers(t *testing.T) {
	for _, test := range []struct {
		rolled, config uint64
		included       bool
	}{
		{0, 9, false}, {10, 9, true}, {10, 10, true}, {10, 11, false}, {10, 0, false},
	} {
		if got := (rollout.Record{ResourceVersion: test.rolled}).Includes(test.config); got != test.included {
			t.Errorf("rollout at %d, configuration of %d: included %v, want %v", test.rolled, test.config, got, test.included)
		}
	}
}
