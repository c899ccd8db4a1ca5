package main

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Namespaces. A name stands for the same tenant in each.
const (
	smallNamespace = "bench-small"
	floorNamespace = "bench-floor"
	mainNamespace  = "bench"
)

// smallRun is how many tenants the operator makes with everything.
const smallRun = 200

// structural keeps rollouts of the gateway out of what is measured.
const structural = "--gateway-rollout=Structural"

func (b *bench) measureWrites(ctx context.Context) (err error) {
	n := min(smallRun, b.Tenants)
	if err := b.makeNamespace(ctx, smallNamespace); err != nil {
		return err
	}
	if _, err := b.startGateway(ctx, smallNamespace); err != nil {
		return err
	}
	o, err := b.startOperator(ctx, smallNamespace, structural)
	if err != nil {
		return err
	}
	before, err := b.settle(ctx)
	if err != nil {
		return err
	}
	fetches := b.farm.fetches.Load()
	if err := each(names(0, n), func(name string) error { return b.Create(ctx, b.tenant(smallNamespace, name)) }); err != nil {
		return err
	}
	if err := b.untilAllReady(ctx, smallNamespace, n, before, fetches); err != nil {
		return err
	}
	after, err := b.settle(ctx)
	if err != nil {
		return err
	}
	made := after.minus(before)
	per := func(count int) float64 { return float64(count) / float64(n) }
	writes, events := made.writes()
	b.WritesPerTenant, b.EventsPerTenant = per(writes-n), per(events) // without its creation
	b.ReadsPerTenant = per(made.reads())
	b.FetchesPerTenant = per(int(b.farm.fetches.Load() - fetches))
	fmt.Printf("per tenant %.2f writes, %.2f events, %.2f reads, %.2f fetches", b.WritesPerTenant, b.EventsPerTenant, b.ReadsPerTenant, b.FetchesPerTenant)
	return o.stop()
}

// measureFloor takes the next half of the tenants.
func (b *bench) measureFloor(ctx context.Context) error {
	from, to := 0, b.Tenants/2
	if len(b.FloorHalvesSeconds) == 0 {
		if err := b.makeNamespace(ctx, floorNamespace); err != nil {
			return err
		}
	} else {
		from, to = to, b.Tenants
	}
	sample := &v1alpha1.SAMLTenant{}
	if err := b.Get(ctx, client.ObjectKey{Namespace: smallNamespace, Name: names(0, 1)[0]}, sample); err != nil {
		return err
	}
	secret := &corev1.Secret{}
	if err := b.Get(ctx, client.ObjectKey{Namespace: smallNamespace, Name: sample.Status.SecretRef.Name}, secret); err != nil {
		return err
	}
	tenants, err := b.createTenants(ctx, floorNamespace, names(from, to))
	if err != nil {
		return err
	}
	measured, err := b.stopwatch()
	if err != nil {
		return err
	}
	if err := each(tenants, func(t *v1alpha1.SAMLTenant) error { return b.writeAsOperator(ctx, t, sample.Status, secret) }); err != nil {
		return err
	}
	seconds, cpu, err := measured()
	if err != nil {
		return err
	}
	b.FloorSeconds += seconds
	b.FloorHalvesSeconds = append(b.FloorHalvesSeconds, seconds)
	b.FloorCPUSeconds = sum(b.FloorCPUSeconds, cpu)
	fmt.Printf("%d tenants in %.2f s, CPU %v", len(tenants), seconds, cpu)
	return nil
}

// writeAsOperator writes what the operator writes for a new tenant that has a
// key, and nothing else.
func (b *bench) writeAsOperator(ctx context.Context, t *v1alpha1.SAMLTenant, status v1alpha1.SAMLTenantStatus, configuration *corev1.Secret) error {
	patch := func(change func()) error {
		before := t.DeepCopy()
		change()
		return b.Status().Patch(ctx, t, client.MergeFrom(before))
	}
	if err := patch(func() {
		t.Status.ServiceProvider = status.ServiceProvider
		t.Status.Conditions = []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonProgressing, Message: "the identity provider's metadata is being fetched for the first time", LastTransitionTime: metav1.Now(), ObservedGeneration: 1},
			{Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonProgressing, Message: "the identity provider's metadata is being fetched for the first time", LastTransitionTime: metav1.Now(), ObservedGeneration: 1},
		}
	}); err != nil {
		return err
	}
	secret := owned(t, tenantconfig.ConfigSecretName(t.Name), tenantconfig.LabelConfig, corev1.SecretTypeOpaque, configuration.Data)
	secret.Annotations = maps.Clone(configuration.Annotations)
	if err := b.Create(ctx, secret); err != nil {
		return err
	}
	return patch(func() { t.Status = *status.DeepCopy() })
}

func (b *bench) measureReady(ctx context.Context) (err error) {
	if err := b.makeNamespace(ctx, mainNamespace); err != nil {
		return err
	}
	if b.gateway, err = b.startGateway(ctx, mainNamespace); err != nil {
		return err
	}
	start := time.Now()
	if _, err := b.createTenants(ctx, mainNamespace, names(0, b.Tenants)); err != nil {
		return err
	}
	fmt.Printf("created in %.0f s; ", time.Since(start).Seconds())
	before, err := b.settle(ctx)
	if err != nil {
		return err
	}
	fetches := b.farm.fetches.Load()
	measured, err := b.stopwatch()
	if err != nil {
		return err
	}
	o, err := b.startOperator(ctx, mainNamespace, structural)
	if err != nil {
		return err
	}
	if err := b.untilAllReady(ctx, mainNamespace, b.Tenants, before, fetches); err != nil {
		return err
	}
	seconds, cpu, err := measured()
	if err != nil {
		return err
	}
	after, err := b.settle(ctx)
	if err != nil {
		return err
	}
	b.ReadySeconds, b.ReadyCPUSeconds, b.ReadyRequests = seconds, cpu, after.minus(before)
	if _, b.RSSReadyMiB, err = o.memory(); err != nil {
		return err
	}
	b.RSSMiB = max(b.RSSMiB, b.RSSReadyMiB)
	fmt.Printf("%d tenants in %.2f s, CPU %v, %d MiB at most, %v", b.Tenants, seconds, cpu, b.RSSReadyMiB, b.ReadyRequests)
	return o.stop()
}

// stopwatch returns a function that tells the time since, and the CPU that
// each process used meanwhile.
func (b *bench) stopwatch() (func() (float64, map[string]float64, error), error) {
	before, err := cpuTimes()
	start := time.Now()
	return func() (float64, map[string]float64, error) {
		seconds := time.Since(start).Seconds()
		after, err := cpuTimes()
		used := map[string]float64{}
		for name, t := range after {
			if d := t - before[name]; d > 0.005 {
				used[name] = float64(int(d*100+0.5)) / 100
			}
		}
		return seconds, used, err
	}, err
}

func sum(a, b map[string]float64) map[string]float64 {
	total := map[string]float64{}
	for _, m := range []map[string]float64{a, b} {
		for name, n := range m {
			total[name] += n
		}
	}
	return total
}
