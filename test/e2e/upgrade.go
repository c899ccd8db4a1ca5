package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cequence.cloud/saml-operator/test/cluster"
)

// version of the product.
type version struct {
	// manifests is the directory that config/default is in; empty for this tree's.
	manifests string
	tag       string
}

// upgradeAndBack has each of both versions take over from the other one, with
// what it has left: tenants, their Secrets, users and sessions.
func (s *suite) upgradeAndBack(ctx context.Context, st *step) error {
	ctx, cancel := context.WithTimeout(ctx, 12*time.Minute)
	defer cancel()
	_, err := s.under(ctx, st, busySignIns, busyRequests, func(ctx context.Context) error {
		for _, next := range []version{s.this, s.previous, s.this} {
			if err := s.change(ctx, st, next); err != nil {
				return fmt.Errorf("change to %s: %w", next.tag, err)
			}
			if err := s.runs(ctx, st); err != nil {
				return err
			}
			// It has to bring an edit to the gateways, too.
			if err := s.Edit(ctx, "globex"); err != nil {
				return err
			}
			if err := cluster.Wait(ctx, s.Converged); err != nil {
				return fmt.Errorf("an edit with %s: %w", next.tag, err)
			}
		}
		return nil
	})
	return err
}

// change applies a version and waits until it serves.
func (s *suite) change(ctx context.Context, st *step, next version) error {
	drained, err := s.drained(ctx)
	if err != nil {
		return err
	}
	s.Installation.Manifests = next.manifests
	s.Installation.OperatorTag, s.Installation.GatewayTag = next.tag, next.tag
	roll := func() error {
		if err := s.Apply(ctx); err != nil {
			return err
		}
		return s.rolled(ctx, st)
	}
	if drained {
		return roll()
	}
	st.fact("rolled away from pods", "that refuse connections once they end")
	return s.WithoutDrain(roll)
}

// drained says whether the gateway's pods serve on for a while when they end.
// Those of versions before that came do not, and no later version can help it.
func (s *suite) drained(ctx context.Context) (bool, error) {
	pods, err := s.GatewayPods(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(pods[0].Spec.Containers[0].Args, func(arg string) bool { return strings.HasPrefix(arg, "--drain-delay=") }), nil
}
