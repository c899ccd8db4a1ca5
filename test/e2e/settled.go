package main

import (
	"context"
	"time"

	"cequence.cloud/saml-operator/test/cluster"
	"cequence.cloud/saml-operator/test/rig"
)

// quiet is how long nothing may be written.
const quiet = 2 * time.Minute

// settled is step 6. People sign in meanwhile: that is no reason to write either.
func (s *suite) settled(ctx context.Context, st *step) error {
	waiting, cancel := context.WithTimeout(ctx, 6*time.Minute)
	defer cancel()
	began := time.Now()
	if err := s.atRest(waiting); err != nil {
		return err
	}
	st.fact("settled", "after %s", seconds(time.Since(began)))
	_, err := s.under(ctx, st, usualSignIns, usualRequests, func(ctx context.Context) error {
		before, err := s.Versions(ctx, rig.Namespace)
		if err != nil {
			return err
		}
		rig.Pause(ctx, quiet)
		after, err := s.Versions(ctx, rig.Namespace)
		if err != nil {
			return err
		}
		changed := before.Changed(after)
		st.fact("written in 2 min", "%d of %d objects", len(changed), len(before))
		for _, what := range changed {
			st.problem("%s", what)
		}
		return nil
	})
	return err
}

// atRest waits until all has settled, the last of the old pods has ended, and
// Events and EndpointSlices, which follow the pods, are written.
func (s *suite) atRest(ctx context.Context) error {
	if err := cluster.Wait(ctx, s.Settled); err != nil {
		return err
	}
	if err := cluster.Wait(ctx, s.NoPodEnds); err != nil {
		return err
	}
	rig.Pause(ctx, 10*time.Second)
	return nil
}
