package rollout

import "time"

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

// Deployment has what matters here of a Deployment.
type Deployment struct {
	Generation, ObservedGeneration       int64
	Wanted, Replicas, Updated, Available int32
	ProgressDeadlineExceeded             bool
	// Paused: its owner holds up all rollouts of it.
	Paused bool
	Record
}

// State tells how far d is. Each write to a Deployment, even of an annotation,
// makes its status out of date for a moment; what was stuck is so until the
// Deployment says otherwise.
func (d Deployment) State() State {
	switch {
	case d.Wanted == 0:
		return ScaledDown
	case d.Observed() && d.Updated == d.Wanted && d.Replicas == d.Wanted && d.Available == d.Wanted:
		return Complete
	case d.ProgressDeadlineExceeded:
		return Stuck
	default:
		return InProgress
	}
}

// Observed tells whether the status is of the Deployment as it is.
func (d Deployment) Observed() bool { return d.ObservedGeneration >= d.Generation }

// Record is what is kept on the Deployment itself, where it outlives the
// operator. Values that are not known are zero.
type Record struct {
	// FleetHash is what the last rollout started from.
	FleetHash string
	// ResourceVersion is the newest that a configuration of that fleet had.
	ResourceVersion uint64
	// StartedAt is when the last rollout was started.
	StartedAt time.Time
	// PendingSince is when the first change was seen that it does not include.
	PendingSince time.Time
}

// Includes tells whether the last rollout started from a configuration that
// has had its content since resourceVersion. Versions order writes as the API
// server made them, which clocks of two writers do not.
func (r Record) Includes(resourceVersion uint64) bool {
	return resourceVersion > 0 && resourceVersion <= r.ResourceVersion
}

// notAfter returns r with no time after now. One that is was written by a
// clock that has been set back since, or by one that leads, and would hold up
// rollouts until then.
func (r Record) notAfter(now time.Time) Record {
	for _, t := range []*time.Time{&r.StartedAt, &r.PendingSince} {
		if t.After(now) {
			*t = now
		}
	}
	return r
}
