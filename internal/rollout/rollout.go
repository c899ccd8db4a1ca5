// Package rollout decides when the gateway Deployment has to start its pods
// anew, and what a tenant may say about that. It is pure: values in, decision
// out.
package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Settings say when rollouts start. A time of zero asks for no wait.
type Settings struct {
	// Structural: only what concerns the gateway as a whole starts a rollout.
	// Configurations of tenants reach the pods by the gateway's own watch.
	Structural bool
	// Quiet is how long no configuration may have changed, so that changes that
	// come together cause one rollout. MaxWait, from the first of them, is the
	// most that this takes.
	Quiet, MaxWait time.Duration
	// Interval is the least time between the starts of two rollouts: each
	// interrupts or at least replaces pods that serve everybody, so no tenant
	// may cause them at will.
	Interval time.Duration
}

// Fleet is what the gateway's pods are to start from.
type Fleet struct {
	Hash string
	// ResourceVersion is the newest among the configurations, zero when they
	// were not looked at.
	ResourceVersion uint64
	// Empty: there is nothing yet to start from.
	Empty bool
}

// Structure is what concerns the gateway as a whole.
type Structure struct {
	// ConfigVersion is the version of the tenants' configurations.
	ConfigVersion int
	BaseDomain    string
}

// FleetHash is the lower-case hex SHA-256 over the structure and the
// configuration hash of each tenant, by the name of its Secret.
func FleetHash(structure Structure, configHashes map[string]string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %s\n", structure.ConfigVersion, structure.BaseDomain)
	for _, name := range slices.Sorted(maps.Keys(configHashes)) {
		// Neither a Secret's name nor a hash has a '=' or a line break.
		fmt.Fprintf(h, "%s=%s\n", name, configHashes[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Waits tells whether a change that is on record has to wait on, for that long
// or, when zero, until d changes. While it does, the fleet need not be looked
// at, which costs reading every configuration.
func (s Settings) Waits(d Deployment, lastChange, now time.Time) (wait time.Duration, waits bool) {
	if d.PendingSince.IsZero() || d.Record != d.notAfter(now) {
		return 0, false
	}
	wait, possible := s.wait(d, lastChange, now)
	return wait, !possible || wait > 0
}

// Decide returns the record that belongs on the Deployment now: one with
// another fleet hash starts a rollout. Otherwise wait is after which time to
// ask again; zero when only a change of d or of the fleet makes a difference.
func (s Settings) Decide(d Deployment, fleet Fleet, lastChange, now time.Time) (next Record, wait time.Duration) {
	d.Record = d.notAfter(now)
	if d.FleetHash == fleet.Hash || fleet.Empty && d.FleetHash == "" {
		// What changed is as it was before, so the pods have it.
		d.ResourceVersion = max(d.ResourceVersion, fleet.ResourceVersion)
		d.PendingSince = time.Time{}
		return d.Record, 0
	}
	if d.PendingSince.IsZero() {
		d.PendingSince = now
	}
	if wait, possible := s.wait(d, lastChange, now); !possible || wait > 0 {
		return d.Record, wait
	}
	return Record{FleetHash: fleet.Hash, ResourceVersion: fleet.ResourceVersion, StartedAt: now}, 0
}

// wait tells how long a rollout has to wait for the change that is on record,
// if one is possible at all. One that is under way ends first; one that is
// stuck may be helped by the change. A paused Deployment starts nothing.
func (s Settings) wait(d Deployment, lastChange, now time.Time) (wait time.Duration, possible bool) {
	if d.Paused || !d.Observed() || d.State() == InProgress {
		return 0, false
	}
	start := lastChange.Add(s.Quiet)
	if latest := d.PendingSince.Add(s.MaxWait); start.After(latest) {
		start = latest
	}
	if next := d.StartedAt.Add(s.Interval); !d.StartedAt.IsZero() && start.Before(next) {
		start = next
	}
	return max(0, start.Sub(now)), true
}
