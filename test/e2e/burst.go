package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/test/cluster"
	"cequence.cloud/saml-operator/test/peers"
	"cequence.cloud/saml-operator/test/rig"
)

const (
	burstTenants = 200
	burstPrefix  = "burst-"
	// burstWorkers apply, sign in and delete at once.
	burstWorkers = 12
	burstTime    = 6 * time.Minute
)

// burst is step 5: many tenants at once, sign-ins at all of them, and their end.
func (s *suite) burst(ctx context.Context, st *step) error {
	ctx, cancel := context.WithTimeout(ctx, 2*burstTime)
	defer cancel()
	var names []string
	for i := range burstTenants {
		names = append(names, fmt.Sprintf("%s%03d", burstPrefix, i))
	}
	farm, err := peers.NewFarm(s.Authority, s.Address, names)
	if err != nil {
		return err
	}
	defer func() { _ = farm.Stop() }()
	revision, err := s.gatewayRevision(ctx)
	if err != nil {
		return err
	}
	_, err = s.under(ctx, st, usualSignIns, usualRequests, func(ctx context.Context) error {
		began := time.Now()
		if err := each(farm.Providers, func(p *peers.Provider) error { return s.Create(ctx, rig.Tenant(p)) }); err != nil {
			return err
		}
		st.fact("applied", "in %s", seconds(time.Since(began)))
		if err := each(farm.Providers, func(p *peers.Provider) error {
			return cluster.Wait(ctx, func(ctx context.Context) error { return s.Load.CanSignIn(ctx, p.Site(rig.BaseDomain)) })
		}); err != nil {
			return err
		}
		st.fact("all can sign in", "%s after the first was applied", seconds(time.Since(began)))
		if err := cluster.Wait(ctx, s.Settled); err != nil {
			return err
		}
		st.fact("settled", "after %s", seconds(time.Since(began)))
		after, err := s.gatewayRevision(ctx)
		if err != nil {
			return err
		}
		st.fact("rollouts", "%d", after-revision)
		if most := 1 + int(time.Since(began)/(2*time.Minute)); after-revision > most {
			st.problem("%d rollouts of the gateway, want %d at most", after-revision, most)
		}

		began = time.Now()
		if err := each(farm.Providers, func(p *peers.Provider) error { return s.Delete(ctx, rig.Tenant(p)) }); err != nil {
			return err
		}
		if err := cluster.Wait(ctx, s.nothingLeft); err != nil {
			return err
		}
		st.fact("nothing left", "%s after the first was deleted", seconds(time.Since(began)))
		return nil
	})
	return err
}

// nothingLeft says that no object of these tenants is there, but the Events that
// the API server keeps for an hour, and that no replica serves them.
func (s *suite) nothingLeft(ctx context.Context) error {
	versions, err := s.Versions(ctx, rig.Namespace)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(versions.Named(burstPrefix), func(what string) bool { return strings.HasPrefix(what, "Event ") })
	if len(left) > 0 {
		return fmt.Errorf("%d objects are left, such as %s", len(left), left[0])
	}
	return client.IgnoreNotFound(s.Converged(ctx))
}

// each does something for all, some at a time.
func each[T any](all []T, do func(T) error) error {
	var (
		working sync.WaitGroup
		mu      sync.Mutex
		errs    []error
	)
	work := make(chan T)
	for range burstWorkers {
		working.Go(func() {
			for one := range work {
				if err := do(one); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, one := range all {
		work <- one
	}
	close(work)
	working.Wait()
	return errors.Join(errs[:min(len(errs), 3)]...)
}
