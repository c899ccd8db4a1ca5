package rig

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/test/cluster"
)

// Edit changes a tenant's display name. It insists until the API server has
// taken it: from then on the edit must not be lost.
func (r *Rig) Edit(ctx context.Context, tenant string) error {
	r.mu.Lock()
	r.edits++
	name := fmt.Sprintf("Edit %d", r.edits)
	r.mu.Unlock()
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"displayName":%q}}`, name))
	err := cluster.Wait(ctx, func(ctx context.Context) error {
		return r.Patch(ctx, &v1alpha1.SAMLTenant{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: tenant}}, patch)
	})
	if err == nil {
		r.mu.Lock()
		r.wanted[tenant] = name
		r.mu.Unlock()
	}
	return err
}

// Edits is how many were made.
func (r *Rig) Edits() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.edits
}

// LostEdits returns the tenants whose last edit is not there, or has not become
// their configuration.
func (r *Rig) LostEdits(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lost []string
	for name, want := range r.wanted {
		var tenant v1alpha1.SAMLTenant
		if err := r.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: name}, &tenant); err != nil {
			return nil, err
		}
		var secret corev1.Secret
		if err := r.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: tenantconfig.ConfigSecretName(name)}, &secret); err != nil {
			return nil, err
		}
		var config struct {
			DisplayName string `json:"displayName"`
		}
		if err := json.Unmarshal(secret.Data[tenantconfig.FileConfig], &config); err != nil {
			return nil, err
		}
		if tenant.Spec.DisplayName != want || config.DisplayName != want {
			lost = append(lost, fmt.Sprintf("%s: spec %q, configuration %q, want %q", name, tenant.Spec.DisplayName, config.DisplayName, want))
		}
	}
	return lost, nil
}

// Converged says that everything runs, and every replica serves each tenant with
// its last edit. It need not be Ready yet: that waits for the rollout which is
// to prove it.
func (r *Rig) Converged(ctx context.Context) error {
	if err := r.Running(ctx, Namespace); err != nil {
		return err
	}
	lost, err := r.LostEdits(ctx)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		return fmt.Errorf("edits are not there: %v", lost)
	}
	var tenants v1alpha1.SAMLTenantList
	if err := r.List(ctx, &tenants, client.InNamespace(Namespace)); err != nil {
		return err
	}
	for _, t := range tenants.Items {
		ready := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case ready == nil || t.Status.ObservedGeneration != t.Generation:
			return fmt.Errorf("%s was not looked at", t.Name)
		case ready.Status != metav1.ConditionTrue && ready.Reason != v1alpha1.ReasonRolloutPending && ready.Reason != v1alpha1.ReasonRolloutInProgress:
			return fmt.Errorf("%s is not Ready: %s", t.Name, ready.Message)
		}
	}
	return r.served(ctx, tenants.Items, true)
}

// pendingRollout is on the gateway's Deployment while the operator has a rollout
// to start, for a deleted tenant too.
const pendingRollout = "sso.cequence.cloud/rollout-pending-since"

// Settled says that nothing more is to come: Converged, each tenant is Ready, the
// gateway was rolled for it, and no rollout is due.
func (r *Rig) Settled(ctx context.Context) error {
	if err := r.Converged(ctx); err != nil {
		return err
	}
	var gateway appsv1.Deployment
	if err := r.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: cluster.Gateway}, &gateway); err != nil {
		return err
	}
	if since := gateway.Annotations[pendingRollout]; since != "" {
		return fmt.Errorf("a rollout of the gateway is due since %s", since)
	}
	var tenants v1alpha1.SAMLTenantList
	if err := r.List(ctx, &tenants, client.InNamespace(Namespace)); err != nil {
		return err
	}
	for _, t := range tenants.Items {
		for _, condition := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionGatewaySynced} {
			if !meta.IsStatusConditionTrue(t.Status.Conditions, condition) {
				return fmt.Errorf("%s is not %s", t.Name, condition)
			}
		}
	}
	return nil
}

// ServedEverywhere says that every replica serves a tenant as its status says.
func (r *Rig) ServedEverywhere(ctx context.Context, name string) error {
	var tenant v1alpha1.SAMLTenant
	if err := r.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: name}, &tenant); err != nil {
		return err
	}
	if tenant.Status.ConfigHash == "" {
		return fmt.Errorf("%s has no configuration", name)
	}
	return r.served(ctx, []v1alpha1.SAMLTenant{tenant}, false)
}

// served asks each replica whether it serves these tenants, and no others if
// they are all.
func (r *Rig) served(ctx context.Context, tenants []v1alpha1.SAMLTenant, all bool) error {
	pods, err := r.GatewayPods(ctx)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		text, err := r.Kubectl(ctx, "get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:9090/proxy/tenants", Namespace, pod.Name))
		if err != nil {
			return err
		}
		var served []struct {
			Tenant string `json:"tenant"`
			Hash   string `json:"configHash"`
		}
		if err := json.Unmarshal([]byte(text), &served); err != nil {
			return fmt.Errorf("%s: read what it serves: %w", pod.Name, err)
		}
		hashes := map[string]string{}
		for _, s := range served {
			hashes[s.Tenant] = s.Hash
		}
		for _, t := range tenants {
			if hashes[t.Name] != t.Status.ConfigHash {
				return fmt.Errorf("%s serves another configuration of %s", pod.Name, t.Name)
			}
		}
		if all && len(hashes) != len(tenants) {
			return fmt.Errorf("%s serves %d tenants, want %d", pod.Name, len(hashes), len(tenants))
		}
	}
	return nil
}

// NoPodEnds says that no pod of the installation is still ending.
func (r *Rig) NoPodEnds(ctx context.Context) error {
	var pods corev1.PodList
	if err := r.List(ctx, &pods, client.InNamespace(Namespace)); err != nil {
		return err
	}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp != nil {
			return fmt.Errorf("%s is ending", pod.Name)
		}
	}
	return nil
}
