package main

import (
	"context"
	"fmt"
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
			s.Installation.Manifests = next.manifests
			s.Installation.OperatorTag, s.Installation.GatewayTag = next.tag, next.tag
			if err := s.Apply(ctx); err != nil {
				return fmt.Errorf("apply %s: %w", next.tag, err)
			}
			if err := s.rolled(ctx, st); err != nil {
				return fmt.Errorf("wait for %s: %w", next.tag, err)
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
