package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"cequence.cloud/saml-operator/test/rig"
)

// event is something that happens, and how long it is calm afterwards.
type event struct {
	do    func(ctx context.Context, r *rig.Rig) (what string, err error)
	pause time.Duration
}

var errNobody = errors.New("there is none at the moment")

// plan returns the events one after the other, as the seed has them.
func plan(seed uint64, canStop bool) func() event {
	random := rand.New(rand.NewPCG(seed, 0))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(random.Int64N(int64(most-least)))
	}
	return func() event {
		// Drawn whatever comes of it, so that one seed is one story.
		choice, which, long, pause := random.IntN(100), random.IntN(1<<16), between(5*time.Second, 30*time.Second), between(2*time.Second, 8*time.Second)
		e := event{pause: pause}
		switch {
		case choice < 30:
			e.do = func(ctx context.Context, r *rig.Rig) (string, error) { return "edit", edit(ctx, r, which) }
		case choice < 50:
			e.do = func(ctx context.Context, r *rig.Rig) (string, error) {
				return "gateway pod killed", killGateway(ctx, r, which)
			}
		case choice < 62:
			e.do = func(ctx context.Context, r *rig.Rig) (string, error) {
				return "operator's leader killed", killLeader(ctx, r)
			}
		case choice < 72:
			e.do = func(ctx context.Context, r *rig.Rig) (string, error) {
				return "PostgreSQL away", r.WithoutDatabase(ctx, long)
			}
		case choice < 82 && canStop:
			e.do = func(ctx context.Context, r *rig.Rig) (string, error) {
				return "API server away", r.WithoutAPIServer(ctx, long)
			}
		case choice < 92:
			e.do = func(ctx context.Context, r *rig.Rig) (string, error) {
				return "identity provider away", r.WithoutProvider(ctx, r.Providers[which%len(r.Providers)], long)
			}
		default:
			e.do = func(_ context.Context, r *rig.Rig) (string, error) {
				return "signing key replaced", r.SwitchKey(r.Providers[which%len(r.Providers)])
			}
		}
		return e
	}
}

// edit is given up after a while: then it has not been made.
func edit(ctx context.Context, r *rig.Rig, which int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return r.Edit(ctx, tenants[which%len(tenants)])
}

func killGateway(ctx context.Context, r *rig.Rig, which int) error {
	pods, err := r.GatewayPods(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return errNobody
	}
	_, err = r.KillGateway(ctx, &pods[which%len(pods)])
	return err
}

func killLeader(ctx context.Context, r *rig.Rig) error {
	_, err := r.KillLeader(ctx)
	return err
}
