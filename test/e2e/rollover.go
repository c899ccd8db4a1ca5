package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/test/cluster"
	"cequence.cloud/saml-operator/test/rig"
	"cequence.cloud/saml-operator/test/traffic"
)

const (
	// healTime is what a key that was replaced without warning may take.
	healTime = 10 * time.Second
	// phase is how long people come in each state of the keys.
	phase = 15 * time.Second
)

// firstSignIn is step 1: kubectl apply of two fields, and then people.
func (s *suite) firstSignIn(ctx context.Context, st *step) error {
	p, err := s.NewProvider("acme")
	if err != nil {
		return err
	}
	file, err := s.WriteManifest("acme.yaml", fmt.Sprintf(`apiVersion: sso.cequence.cloud/v1alpha1
kind: SAMLTenant
metadata:
  name: acme
spec:
  customerName: acme
  metadataURL: %s
`, p.MetadataURL()))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	if _, err := s.Kubectl(ctx, "-n", rig.Namespace, "apply", "-f", file); err != nil {
		return err
	}
	if err := cluster.Wait(ctx, func(ctx context.Context) error { return s.Load.CanSignIn(ctx, p.Site(rig.BaseDomain)) }); err != nil {
		return err
	}
	st.fact("sign-in", "%s after kubectl apply", seconds(time.Since(began)))
	if err := cluster.Wait(ctx, func(ctx context.Context) error { return s.ready(ctx, "acme") }); err != nil {
		return err
	}
	st.fact("Ready", "after %s", seconds(time.Since(began)))
	return s.Populate(ctx, p)
}

func (s *suite) tenant(ctx context.Context, name string) (*v1alpha1.SAMLTenant, error) {
	var t v1alpha1.SAMLTenant
	return &t, s.Get(ctx, client.ObjectKey{Namespace: rig.Namespace, Name: name}, &t)
}

func (s *suite) ready(ctx context.Context, name string) error {
	t, err := s.tenant(ctx, name)
	if err == nil && (t.Status.ObservedGeneration != t.Generation || !meta.IsStatusConditionTrue(t.Status.Conditions, v1alpha1.ConditionReady)) {
		err = fmt.Errorf("%s is not Ready", name)
	}
	return err
}

// fetch stands for the operator's hourly fetch of the metadata: it waits until
// the tenant trusts so many keys and all replicas serve that.
func (s *suite) fetch(ctx context.Context, name string, certificates int) error {
	if _, err := s.Kubectl(ctx, "-n", rig.Namespace, "annotate", "--overwrite", "samltenant", name,
		v1alpha1.AnnotationReconcileRequestedAt+"="+time.Now().Format(time.RFC3339Nano)); err != nil {
		return err
	}
	return cluster.Wait(ctx, func(ctx context.Context) error {
		t, err := s.tenant(ctx, name)
		if err != nil {
			return err
		}
		if got := len(t.Status.Certificates); got != certificates {
			return fmt.Errorf("%s trusts %d certificates, want %d", name, got, certificates)
		}
		return s.ServedEverywhere(ctx, name)
	})
}

// orderlyRollover is the first half of step 2: another key is published, signs
// later, and the old one goes.
func (s *suite) orderlyRollover(ctx context.Context, st *step) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	p := s.Providers[0]
	s.Load.Focus(s.Sites("acme")...)
	defer s.Load.Focus(s.Sites()...)
	_, err := s.under(ctx, st, busySignIns, busyRequests, func(ctx context.Context) error {
		before := p.ActiveKey()
		added, err := p.AddKey()
		if err != nil {
			return err
		}
		if err := s.fetch(ctx, "acme", 2); err != nil {
			return err
		}
		if err := p.ActivateKey(added); err != nil {
			return err
		}
		rig.Pause(ctx, phase)
		if err := p.RemoveKey(before); err != nil {
			return err
		}
		// The old one is trusted for a while, as rolloverGrace says.
		if err := s.fetch(ctx, "acme", 2); err != nil {
			return err
		}
		rig.Pause(ctx, phase)
		return nil
	})
	return err
}

// abruptRollover is the other half: nobody could have seen the new key.
func (s *suite) abruptRollover(ctx context.Context, st *step) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	s.Load.Focus(s.Sites("acme")...)
	defer s.Load.Focus(s.Sites()...)
	var switched time.Time
	attempts, err := s.under(ctx, st, busySignIns, busyRequests, func(ctx context.Context) error {
		rig.Pause(ctx, 5*time.Second)
		switched = time.Now()
		if err := s.SwitchKey(s.Providers[0]); err != nil {
			return err
		}
		rig.Pause(ctx, 2*healTime)
		return nil
	})
	healed := traffic.Healed(attempts, "acme", switched)
	st.fact("healed", "after %s", seconds(healed))
	if healed > healTime {
		st.problem("sign-ins failed for %s after the switch, want %s at most", seconds(healed), healTime)
	}
	return err
}
