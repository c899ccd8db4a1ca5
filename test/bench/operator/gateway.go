package main

import (
	"context"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/internal/tenantconfig"
)

const (
	// gatewayName is what the operator looks for when it is told nothing else.
	gatewayName = "saml-gateway"
	// rolloutTime is how long the gateway's pods take to be replaced.
	rolloutTime = 10 * time.Second
)

// gateway plays the controller of a Deployment, since no node runs its pods.
type gateway struct {
	rollouts atomic.Int64
	complete atomic.Int64
}

// startGateway makes the gateway's Deployment in a namespace, and has the
// operator roll it for the first time.
func (b *bench) startGateway(ctx context.Context, namespace string) (*gateway, error) {
	labels := map[string]string{"app": gatewayName}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: gatewayName},
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
	g := &gateway{}
	go b.play(ctx, g, namespace)
	o, err := b.startOperator(ctx, namespace, structural)
	if err != nil {
		return nil, err
	}
	for g.complete.Load() == 0 {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return g, o.stop()
}

// play ends each rollout after some time. It looks instead of watching, since
// the API server ends a watch when it has lasted for long.
func (b *bench) play(ctx context.Context, g *gateway, namespace string) {
	fleet := ""
	for pause(ctx, time.Second) == nil {
		d := &appsv1.Deployment{}
		if b.Get(ctx, client.ObjectKey{Namespace: namespace, Name: gatewayName}, d) != nil || d.Status.ObservedGeneration == d.Generation {
			continue
		}
		now := d.Spec.Template.Annotations[tenantconfig.AnnotationConfigHash]
		if now != fleet {
			fleet = now
			g.rollouts.Add(1)
		}
		before := d.DeepCopy()
		if now != "" && pause(ctx, rolloutTime) != nil {
			return
		}
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
		if b.Status().Patch(ctx, d, client.MergeFrom(before)) == nil {
			g.complete.Store(g.rollouts.Load())
		}
	}
}
