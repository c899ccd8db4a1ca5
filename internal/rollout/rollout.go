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

// FleetHash is the lower-case hex SHA-256 over the configuration hash of each
// tenant, by the name of its Secret.
func FleetHash(configHashes map[string]string) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(configHashes)) {
		// Neither a Secret's name nor a hash has a '=' or a line break.
		fmt.Fprintf(h, "%s=%s\n", name, configHashes[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// State is how far a Deployment is with its newest pod template.
type State int

// States of a Deployment.
const (
	// InProgress: pods of the newest template are missing, or older ones left.
	InProgress State = iota
	// Complete: every pod is of the newest template, and available.
	Complete
	// Stuck: the Deployment itself gave up (its progressDeadlineSeconds).
	Stuck
	// ScaledDown: no pod is wanted, so nothing is served.
	ScaledDown
)

// Deployment has what matters here of a Deployment's spec and status.
type Deployment struct {
	Generation, ObservedGeneration       int64
	Wanted, Replicas, Updated, Available int32
	ProgressDeadlineExceeded             bool
	// FleetHash is what the last rollout started from, StartedAt when; zero when
	// none was.
	FleetHash string
	StartedAt time.Time
	// ResourceVersion is the newest that a configuration had when the last
	// rollout was started; zero when none was.
	ResourceVersion uint64
}

// State tells how far d is.
func (d Deployment) State() State {
	switch {
	case d.ObservedGeneration < d.Generation:
		return InProgress
	case d.Wanted == 0:
		return ScaledDown
	case d.Updated == d.Wanted && d.Replicas == d.Wanted && d.Available == d.Wanted:
		return Complete
	case d.ProgressDeadlineExceeded:
		return Stuck
	default:
		return InProgress
	}
}

// Decide tells whether a rollout to the fleet hash has to start at now, or else
// after which time to ask again; zero when only a change of d can make it so.
// One that is under way ends first; one that is stuck may be helped by the
// change. Two rollouts start at least interval apart: each interrupts or at
// least replaces pods that serve everybody, so no tenant may cause them at will.
func Decide(d Deployment, fleetHash string, now time.Time, interval time.Duration) (start bool, wait time.Duration) {
	if d.FleetHash == fleetHash || d.State() == InProgress {
		return false, 0
	}
	if left := d.StartedAt.Add(interval).Sub(now); !d.StartedAt.IsZero() && left > 0 {
		// Never more than one interval, whatever clock wrote StartedAt.
		return false, min(left, interval)
	}
	return true, 0
}

// Includes tells whether the last rollout started from a configuration that
// has had its content since resourceVersion. Versions order writes as the API
// server made them, which clocks of two writers do not.
func (d Deployment) Includes(resourceVersion uint64) bool {
	return resourceVersion > 0 && resourceVersion <= d.ResourceVersion
}
