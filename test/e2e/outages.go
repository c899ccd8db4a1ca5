package main

import (
	"context"
	"time"

	"cequence.cloud/saml-operator/test/cluster"
	"cequence.cloud/saml-operator/test/rig"
	"cequence.cloud/saml-operator/test/traffic"
)

const (
	apiServerAway = time.Minute
	databaseAway  = 30 * time.Second
	providerAway  = 10 * time.Minute
	// convergeTime is the most that anything may take to be well again. A killed
	// leader is followed after 15 s at most.
	convergeTime = 3 * time.Minute
)

// converges edits a tenant and waits until all is well, edit and all, by itself.
func (s *suite) converges(ctx context.Context, st *step) error {
	ctx, cancel := context.WithTimeout(ctx, convergeTime)
	defer cancel()
	began := time.Now()
	if err := s.Edit(ctx, "acme"); err != nil {
		return err
	}
	err := cluster.Wait(ctx, s.Converged)
	st.fact("converged", "after %s", seconds(time.Since(began)))
	return err
}

func (s *suite) killLeader(ctx context.Context, st *step) error {
	_, err := s.under(ctx, st, usualSignIns, usualRequests, func(ctx context.Context) error {
		how, err := s.KillLeader(ctx)
		if err != nil {
			return err
		}
		st.fact("killed by", "%s", how)
		return s.converges(ctx, st)
	})
	return err
}

func (s *suite) killGateways(ctx context.Context, st *step) error {
	_, err := s.under(ctx, st, usualSignIns, usualRequests, func(ctx context.Context) error {
		pods, err := s.GatewayPods(ctx)
		if err != nil {
			return err
		}
		for i := range pods {
			how, err := s.KillGateway(ctx, &pods[i])
			if err != nil {
				return err
			}
			st.fact("killed by", "%s", how)
			// The next one only when this one is noticed and replaced.
			rig.Pause(ctx, 5*time.Second)
			if err := s.converges(ctx, st); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func (s *suite) withoutAPIServer(ctx context.Context, st *step) error {
	if !s.CanStop() {
		return notPossible("the API server of this cluster is not ours to stop")
	}
	_, err := s.under(ctx, st, usualSignIns, usualRequests, func(ctx context.Context) error {
		if err := s.WithoutAPIServer(ctx, apiServerAway); err != nil {
			return err
		}
		return s.converges(ctx, st)
	})
	return err
}

// withoutDatabase: who has a session works on. Nobody can sign in, since only
// the database knows whether an assertion was used before.
func (s *suite) withoutDatabase(ctx context.Context, st *step) error {
	_, err := s.under(ctx, st, usualSignIns, usualRequests, func(ctx context.Context) error {
		if err := s.WithoutDatabase(ctx, databaseAway); err != nil {
			return err
		}
		return s.converges(ctx, st)
	})
	return err
}

// providerAway stops an identity provider in the background of the other steps,
// and returns the step that waits for its end.
func (s *suite) providerAway(ctx context.Context) func(context.Context, *step) error {
	from := time.Now()
	done := make(chan error, 1)
	go func() { done <- s.WithoutProvider(ctx, s.absent, providerAway) }()
	return func(ctx context.Context, st *step) error {
		if err := <-done; err != nil {
			return err
		}
		back := time.Now()
		ctx, cancel := context.WithTimeout(ctx, convergeTime)
		defer cancel()
		site := s.Sites(s.absent.Tenant)[0]
		if err := cluster.Wait(ctx, func(ctx context.Context) error { return s.Load.CanSignIn(ctx, site) }); err != nil {
			return err
		}
		st.fact("sign-ins again", "after %s", seconds(time.Since(back)))
		// Only its own people had to do without.
		var of []traffic.Attempt
		for _, a := range s.Load.Attempts(ctx, from, time.Now()) {
			if a.Tenant == s.absent.Tenant {
				of = append(of, a)
			}
		}
		st.judge(traffic.Judge(of, s.Outages()))
		return cluster.Wait(ctx, s.Converged)
	}
}
