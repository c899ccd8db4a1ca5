package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"cequence.cloud/saml-operator/test/rig"
	"cequence.cloud/saml-operator/test/traffic"
)

// event is something that happens, and how long it is until the next one.
type event struct {
	what  string
	do    func(ctx context.Context, r *rig.Rig) error
	pause time.Duration
}

// errSpared: without the last replica nothing could work, and nothing be proved.
var errSpared = errors.New("this is the last replica at the moment")

// plan returns the events one after the other, as the seed has them.
func plan(seed uint64, canStop bool) func() event {
	random := rand.New(rand.NewPCG(seed, 0))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(random.Int64N(int64(most-least)))
	}
	return func() event {
		// Drawn whatever comes of it, so that one seed is one story.
		choice, which, long, pause := random.IntN(100), random.IntN(1<<16), between(5*time.Second, 30*time.Second), between(3*time.Second, 10*time.Second)
		e := event{pause: pause}
		switch {
		case choice < 35:
			e.what = "edit"
			e.do = func(ctx context.Context, r *rig.Rig) error { return r.Edit(ctx, tenants[which%len(tenants)]) }
		case choice < 58:
			e.what = "gateway pod killed"
			e.do = func(ctx context.Context, r *rig.Rig) error { return killGateway(ctx, r, which) }
		case choice < 68:
			e.what = "operator's leader killed"
			e.do = func(ctx context.Context, r *rig.Rig) error {
				_, err := r.KillLeader(ctx)
				return err
			}
		case choice < 76:
			e.what = "PostgreSQL away"
			e.do = func(ctx context.Context, r *rig.Rig) error { return r.WithoutDatabase(ctx, long) }
		case choice < 80 && canStop:
			e.what = "API server away"
			e.do = func(ctx context.Context, r *rig.Rig) error { return r.WithoutAPIServer(ctx, long) }
		case choice < 92:
			e.what = "identity provider away"
			e.do = func(ctx context.Context, r *rig.Rig) error {
				return r.WithoutProvider(ctx, r.Providers[which%len(r.Providers)], long)
			}
		default:
			e.what = "signing key replaced"
			e.do = func(_ context.Context, r *rig.Rig) error { return r.SwitchKey(r.Providers[which%len(r.Providers)]) }
		}
		return e
	}
}

// killGateway kills one of several pods that are ready.
func killGateway(ctx context.Context, r *rig.Rig, which int) error {
	pods, err := r.GatewayPods(ctx)
	if err != nil {
		return err
	}
	if len(pods) < 2 || !r.Calm(traffic.Replica) || slices.ContainsFunc(pods, func(p corev1.Pod) bool { return !ready(&p) }) {
		return errSpared
	}
	_, err = r.KillGateway(ctx, &pods[which%len(pods)])
	return err
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
