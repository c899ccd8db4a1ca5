package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

const (
	burstEdits = 1000
	burstTime  = time.Minute
	// rolloutTime is how long the gateway's pods take to be replaced.
	rolloutTime = 10 * time.Second
	gatewayName = "saml-gateway"
)

// measureBurst counts the rollouts that 1,000 edits within a minute cause.
func (b *bench) measureBurst(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, err := b.startGateway(ctx)
	if err != nil {
		return err
	}
	defer g.stop()
	o, err := b.startOperator(ctx, mainNamespace, "--gateway-rollout=Rolling", "--gateway-deployment="+gatewayName)
	if err != nil {
		return err
	}
	if err := b.untilServed(ctx); err != nil {
		return err
	}
	if _, err := b.settle(ctx); err != nil {
		return err
	}
	first := g.rollouts.Load()
	start := time.Now()
	edits := min(burstEdits, b.Tenants)
	tick := time.NewTicker(burstTime / time.Duration(edits))
	defer tick.Stop()
	var wait sync.WaitGroup
	var failed atomic.Value
	for _, name := range names(0, edits) {
		<-tick.C
		wait.Go(func() {
			t := &v1alpha1.SAMLTenant{ObjectMeta: metav1.ObjectMeta{Namespace: mainNamespace, Name: name}}
			patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"displayName":"Edited %s"}}`, name))
			if err := b.Patch(ctx, t, patch); err != nil {
				failed.Store(err)
			}
		})
	}
	wait.Wait()
	if err, ok := failed.Load().(error); ok {
		return err
	}
	if err := b.untilServed(ctx); err != nil {
		return err
	}
	if _, err := b.settle(ctx); err != nil {
		return err
	}
	b.BurstEdits = edits
	b.BurstSeconds = time.Since(start).Seconds()
	b.RolloutsPerBurst = int(g.rollouts.Load() - first)
	_, peak, err := o.memory()
	if err != nil {
		return err
	}
	b.RSSMiB = max(b.RSSMiB, peak)
	fmt.Printf("%d edits, %d rollouts, all served after %.0f s", edits, b.RolloutsPerBurst, b.BurstSeconds)
	return o.stop()
}

// untilServed waits until the gateway's pods started from every tenant's
// current configuration.
func (b *bench) untilServed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	for {
		list := &v1alpha1.SAMLTenantList{}
		if err := b.List(ctx, list, client.InNamespace(mainNamespace)); err != nil {
			return err
		}
		waiting := 0
		for i := range list.Items {
			if t := &list.Items[i]; !isReady(t) || !meta.IsStatusConditionTrue(t.Status.Conditions, v1alpha1.ConditionGatewaySynced) {
				waiting++
			}
		}
		if waiting == 0 {
			return nil
		}
		if err := pause(ctx, 5*time.Second); err != nil {
			return fmt.Errorf("%d of %d tenants are not served: %w", waiting, len(list.Items), err)
		}
	}
}

// gateway plays the controller of a Deployment, since no node runs its pods.
type gateway struct {
	rollouts atomic.Int64
	done     chan struct{}
	watch    watch.Interface
}

func (b *bench) startGateway(ctx context.Context) (*gateway, error) {
	labels := map[string]string{"app": gatewayName}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: mainNamespace, Name: gatewayName},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "gateway", Image: "gateway"}}},
			},
		},
	}
	if err := b.Create(ctx, d); err != nil {
		return nil, err
	}
	w, err := b.Watch(ctx, &appsv1.DeploymentList{}, client.InNamespace(mainNamespace))
	if err != nil {
		return nil, err
	}
	g := &gateway{done: make(chan struct{}), watch: w}
	go func() {
		defer close(g.done)
		fleet := ""
		for e := range w.ResultChan() {
			d, ok := e.Object.(*appsv1.Deployment)
			if !ok || d.Status.ObservedGeneration == d.Generation {
				continue
			}
			if now := d.Spec.Template.Annotations[tenantconfig.AnnotationConfigHash]; now != fleet {
				fleet = now
				g.rollouts.Add(1)
			}
			before := d.DeepCopy()
			if pause(ctx, rolloutTime) != nil {
				return
			}
			// Whatever came meanwhile is seen in the next event.
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
			_ = b.Status().Patch(ctx, d, client.MergeFrom(before)) // again at the next event
		}
	}()
	return g, nil
}

func (g *gateway) stop() {
	g.watch.Stop()
	<-g.done
}
