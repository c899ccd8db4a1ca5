package rollout_test

import (
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/rollout"
)

func TestFleetHashDependsOnEveryNameAndHash(t *testing.T) {
	base := map[string]string{"a-saml-sp": "1", "b-saml-sp": "2"}
	same := map[string]string{"b-saml-sp": "2", "a-saml-sp": "1"}
	if rollout.FleetHash(base) != rollout.FleetHash(same) {
		t.Error("the order of a map must not matter")
	}
	for name, other := range map[string]map[string]string{
		"another hash":   {"a-saml-sp": "1", "b-saml-sp": "3"},
		"another name":   {"a-saml-sp": "1", "c-saml-sp": "2"},
		"swapped hashes": {"a-saml-sp": "2", "b-saml-sp": "1"},
		"one fewer":      {"a-saml-sp": "1"},
		"none":           {},
	} {
		if rollout.FleetHash(base) == rollout.FleetHash(other) {
			t.Errorf("%s: same fleet hash", name)
		}
	}
}

func TestStateAndDecide(t *testing.T) {
	settled := rollout.Deployment{Generation: 3, ObservedGeneration: 3, Wanted: 2, Replicas: 2, Updated: 2, Available: 2, FleetHash: "old"}
	for name, test := range map[string]struct {
		change func(*rollout.Deployment)
		state  rollout.State
		start  bool
	}{
		"settled":                 {func(*rollout.Deployment) {}, rollout.Complete, true},
		"settled with this fleet": {func(d *rollout.Deployment) { d.FleetHash = "new" }, rollout.Complete, false},
		"not observed yet":        {func(d *rollout.Deployment) { d.Generation = 4 }, rollout.InProgress, false},
		"old pods left":           {func(d *rollout.Deployment) { d.Replicas = 3 }, rollout.InProgress, false},
		"new pods missing":        {func(d *rollout.Deployment) { d.Updated = 1 }, rollout.InProgress, false},
		"new pods not available":  {func(d *rollout.Deployment) { d.Available = 1 }, rollout.InProgress, false},
		"gave up":                 {func(d *rollout.Deployment) { d.Available = 1; d.ProgressDeadlineExceeded = true }, rollout.Stuck, true},
		"gave up with this fleet": {func(d *rollout.Deployment) { d.Available = 1; d.ProgressDeadlineExceeded = true; d.FleetHash = "new" }, rollout.Stuck, false},
		"scaled to zero":          {func(d *rollout.Deployment) { d.Wanted, d.Replicas, d.Updated, d.Available = 0, 0, 0, 0 }, rollout.ScaledDown, true},
	} {
		d := settled
		test.change(&d)
		if got := d.State(); got != test.state {
			t.Errorf("%s: state %v, want %v", name, got, test.state)
		}
		if got, _ := rollout.Decide(d, "new", time.Now(), time.Minute); got != test.start {
			t.Errorf("%s: starts %v, want %v", name, got, test.start)
		}
	}
}

func TestRolloutsStartAnIntervalApart(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		started time.Time
		start   bool
		wait    time.Duration
	}{
		"never before":       {time.Time{}, true, 0},
		"long ago":           {now.Add(-time.Hour), true, 0},
		"an interval ago":    {now.Add(-2 * time.Minute), true, 0},
		"a moment ago":       {now.Add(-time.Second), false, 2*time.Minute - time.Second},
		"a clock that leads": {now.Add(time.Hour), false, 2 * time.Minute},
	} {
		d := rollout.Deployment{Wanted: 1, Replicas: 1, Updated: 1, Available: 1, FleetHash: "old", StartedAt: test.started}
		if start, wait := rollout.Decide(d, "new", now, 2*time.Minute); start != test.start || wait != test.wait {
			t.Errorf("%s: got %v, %s, want %v, %s", name, start, wait, test.start, test.wait)
		}
	}
}

func TestIncludesComparesVersionsAsNumbers(t *testing.T) {
	for _, test := range []struct {
		rolled, config uint64
		included       bool
	}{
		{0, 9, false}, {10, 9, true}, {10, 10, true}, {10, 11, false}, {10, 0, false},
	} {
		if got := (rollout.Deployment{ResourceVersion: test.rolled}).Includes(test.config); got != test.included {
			t.Errorf("rollout at %d, configuration of %d: included %v, want %v", test.rolled, test.config, got, test.included)
		}
	}
}
