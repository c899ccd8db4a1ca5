package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/test/cluster"
	"cequence.cloud/saml-operator/test/rig"
	"cequence.cloud/saml-operator/test/traffic"
)

// revisionAnnotation counts the rollouts of a Deployment.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// gatewayRevision is how many rollouts there were.
func (s *suite) gatewayRevision(ctx context.Context) (int, error) {
	var d appsv1.Deployment
	if err := s.Get(ctx, client.ObjectKey{Namespace: rig.Namespace, Name: cluster.Gateway}, &d); err != nil {
		return 0, err
	}
	var revision int
	_, err := fmt.Sscan(d.Annotations[revisionAnnotation], &revision)
	return revision, err
}

// rollByChange is the first half of step 3: a tenant is edited, and the operator
// starts the gateway's pods anew when it is time.
func (s *suite) rollByChange(ctx context.Context, st *step) error {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Minute)
	defer cancel()
	// A rollout that earlier steps have caused is not the one that is meant.
	if err := cluster.Wait(ctx, s.Settled); err != nil {
		return err
	}
	before, err := s.gatewayRevision(ctx)
	if err != nil {
		return err
	}
	if err := s.Edit(ctx, "globex"); err != nil {
		return err
	}
	defer s.focusPresent()()
	_, err = s.under(ctx, st, busySignIns, busyRequests, func(ctx context.Context) error {
		began := time.Now()
		err := cluster.Wait(ctx, func(ctx context.Context) error {
			now, err := s.gatewayRevision(ctx)
			if err == nil && now == before {
				err = fmt.Errorf("the gateway was not rolled")
			}
			return err
		})
		if err != nil {
			return err
		}
		st.fact("started", "%s after the change", seconds(time.Since(began)))
		return s.rolled(ctx, st)
	})
	return err
}

// rollByUpgrade is the other half: the manifests with another image.
func (s *suite) rollByUpgrade(ctx context.Context, st *step) error {
	if s.next == "" {
		return notPossible("there is no other image: name one by -next-tag")
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	s.Installation.GatewayTag, s.Installation.OperatorTag = s.next, s.next
	defer s.focusPresent()()
	_, err := s.under(ctx, st, busySignIns, busyRequests, func(ctx context.Context) error {
		if err := s.Apply(ctx); err != nil {
			return err
		}
		return s.rolled(ctx, st)
	})
	if err != nil {
		return err
	}
	return s.runs(ctx, st)
}

// runs looks whether the gateway's pods have the image that they should.
func (s *suite) runs(ctx context.Context, st *step) error {
	pods, err := s.GatewayPods(ctx)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if want := s.Installation.ImagePrefix + "saml-gateway:" + s.Installation.GatewayTag; pod.Spec.Containers[0].Image != want {
			st.problem("%s runs %s, want %s", pod.Name, pod.Spec.Containers[0].Image, want)
		}
	}
	return nil
}

// focusPresent has nobody come of whom the identity provider is away, so that
// all sign-ins can work.
func (s *suite) focusPresent() (end func()) {
	s.Load.Focus(slices.DeleteFunc(slices.Clone(s.Sites()), func(site *traffic.Site) bool { return site.Tenant == s.absent.Tenant })...)
	return func() { s.Load.Focus(s.Sites()...) }
}

// rolled waits for the end of a rollout, and for the last of the old pods.
func (s *suite) rolled(ctx context.Context, st *step) error {
	began := time.Now()
	err := cluster.Wait(ctx, func(ctx context.Context) error {
		if err := s.Converged(ctx); err != nil {
			return err
		}
		return s.NoPodEnds(ctx)
	})
	st.fact("rolled", "in %s", seconds(time.Since(began)))
	rig.Pause(ctx, 3*time.Second)
	return err
}
