package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/spkey"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// keyPair is PEM.
type keyPair struct{ key, certificate []byte }

// measureKeys makes the pairs that tenants share where keys are not the point.
func (b *bench) measureKeys(context.Context) error {
	cores := runtime.NumCPU()
	const perCore = 24
	start := time.Now()
	pairs := make([]keyPair, cores*perCore)
	failed := make([]error, cores)
	var wait sync.WaitGroup
	for core := range cores {
		wait.Go(func() {
			for i := core * perCore; i < (core+1)*perCore && failed[core] == nil; i++ {
				pairs[i].key, pairs[i].certificate, failed[core] = spkey.Generate("bench.s.localhost", time.Now())
			}
		})
	}
	wait.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	b.keys = pairs
	b.KeygenSeconds = time.Since(start).Seconds() / float64(len(pairs)) * float64(b.Tenants)
	fmt.Printf("%d keys, scaled to %d: %.0f s on %d cores", len(pairs), b.Tenants, b.KeygenSeconds, cores)
	return nil
}

func names(from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("t%06d", i))
	}
	return all
}

func (b *bench) tenant(namespace, name string) *v1alpha1.SAMLTenant {
	return &v1alpha1.SAMLTenant{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.SAMLTenantSpec{CustomerName: name, MetadataURL: b.farm.url(name)},
	}
}

// createTenants creates them with a key Secret each.
func (b *bench) createTenants(ctx context.Context, namespace string, names []string) ([]*v1alpha1.SAMLTenant, error) {
	if err := b.farm.prepare(names); err != nil {
		return nil, err
	}
	tenants := make([]*v1alpha1.SAMLTenant, len(names))
	index := make([]int, len(names))
	for i := range index {
		index[i] = i
	}
	return tenants, each(index, func(i int) error {
		tenants[i] = b.tenant(namespace, names[i])
		if err := b.Create(ctx, tenants[i]); err != nil {
			return err
		}
		pair := b.keys[i%len(b.keys)]
		return b.Create(ctx, owned(tenants[i], tenantconfig.KeySecretName(names[i]), tenantconfig.LabelKey, corev1.SecretTypeTLS,
			tenantconfig.Files{tenantconfig.FileKey: pair.key, tenantconfig.FileCertificate: pair.certificate}))
	})
}

// owned is a Secret as the operator makes it.
func owned(tenant *v1alpha1.SAMLTenant, name, label string, kind corev1.SecretType, files tenantconfig.Files) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: tenant.Namespace, Name: name,
			Labels: map[string]string{label: tenantconfig.LabelTrue, tenantconfig.LabelTenant: tenant.Name},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "SAMLTenant", Name: tenant.Name, UID: tenant.UID, Controller: ptr.To(true),
			}},
		},
		Type: kind, Data: files,
	}
}

func isReady(t *v1alpha1.SAMLTenant) bool {
	return meta.IsStatusConditionTrue(t.Status.Conditions, v1alpha1.ConditionReady) && t.Status.ObservedGeneration == t.Generation
}

// untilAllReady waits for what costs nobody anything first: that all metadata
// was fetched; then for the API server to count enough status patches, and only
// then lists the tenants.
func (b *bench) untilAllReady(ctx context.Context, namespace string, n int, before requests, fetches int64) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute+time.Duration(n)*200*time.Millisecond)
	defer cancel()
	for b.farm.fetches.Load() < fetches+int64(n) {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("the metadata of %d tenants was not fetched: %w", n, err)
		}
	}
	for {
		now, err := b.requests(ctx)
		if err != nil {
			return err
		}
		if now.minus(before)["PATCH samltenants/status"] >= 2*n {
			break
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("the status of %d tenants was not written twice: %w", n, err)
		}
	}
	for {
		list := &v1alpha1.SAMLTenantList{}
		if err := b.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err
		}
		ready := 0
		var waiting *v1alpha1.SAMLTenant
		for i := range list.Items {
			if isReady(&list.Items[i]) {
				ready++
			} else {
				waiting = &list.Items[i]
			}
		}
		if waiting == nil && ready >= n {
			return nil
		}
		if err := pause(ctx, 2*time.Second); err != nil {
			return fmt.Errorf("%d of %d tenants are ready, %s has %v: %w", ready, n, waiting.Name, waiting.Status.Conditions, err)
		}
	}
}

// settle waits until nobody has written anything for some seconds.
func (b *bench) settle(ctx context.Context) (requests, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	last, err := b.requests(ctx)
	for quiet := 0; err == nil && quiet < 3; quiet++ {
		if err = pause(ctx, time.Second); err != nil {
			return nil, fmt.Errorf("the operator does not come to rest: %w", err)
		}
		var now requests
		if now, err = b.requests(ctx); err == nil {
			if writes, events := now.minus(last).writes(); writes+events > 0 {
				quiet = -1
			}
		}
		last = now
	}
	return last, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
