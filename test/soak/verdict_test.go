package soak_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/conditions"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/test/gitops"
)

// verdict counts what is not as it should be.
type verdict struct {
	EditsLost    int `json:"edits_lost"`
	NotReady     int `json:"not_ready"`
	WrongSecrets int `json:"wrong_secrets"`
	// Leftovers are Secrets of tenants that are gone.
	Leftovers int `json:"leftovers"`
	// KeysReplaced are SP keys that were replaced although nobody asked for it.
	KeysReplaced int `json:"keys_replaced"`
	// Problems says it in words.
	Problems []string `json:"problems,omitempty"`
}

func (v *verdict) clean() bool { return len(v.Problems) == 0 }

func (v *verdict) count(n *int, format string, args ...any) {
	*n++
	v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
}

// judge compares all that there is with what the edits and the identity
// providers say.
func (w *world) judge(ctx context.Context) verdict {
	var v verdict
	w.mu.Lock()
	v.KeysReplaced = w.keysReplaced
	w.mu.Unlock()
	if v.KeysReplaced > 0 {
		v.Problems = append(v.Problems, fmt.Sprintf("%d SP keys were replaced", v.KeysReplaced))
	}
	var list v1alpha1.SAMLTenantList
	var secrets corev1.SecretList
	for _, l := range []client.ObjectList{&list, &secrets} {
		if err := w.List(ctx, l); err != nil {
			v.Problems = append(v.Problems, err.Error())
			return v
		}
	}
	tenants, uids := map[string]*v1alpha1.SAMLTenant{}, map[string]bool{}
	for i := range list.Items {
		tenants[list.Items[i].Name] = &list.Items[i]
		uids[string(list.Items[i].UID)] = true
	}
	byName := map[string]*corev1.Secret{}
	for i := range secrets.Items {
		s := &secrets.Items[i]
		byName[s.Name] = s
		if owner := metav1.GetControllerOf(s); owner != nil && !uids[string(owner.UID)] {
			v.count(&v.Leftovers, "Secret %s of a tenant that is gone", s.Name)
		}
	}
	for _, s := range w.slots {
		tenant := tenants[s.name]
		switch {
		case !s.exists && tenant == nil:
			continue
		case !s.exists || tenant == nil:
			v.count(&v.EditsLost, "%s: exists %t, want %t", s.name, tenant != nil, s.exists)
			continue
		case tenant.Spec.DisplayName != s.displayName || tenant.Spec.Access != s.access || tenant.Annotations[v1alpha1.AnnotationReconcileRequestedAt] != s.requestedAt:
			v.count(&v.EditsLost, "%s: the spec is not what was written last", s.name)
			continue
		}
		if wrong := unready(ctx, s, tenant); wrong != "" {
			v.count(&v.NotReady, "%s: %s", s.name, wrong)
		}
		if wrong := w.wrongSecret(s, tenant, byName); wrong != "" {
			v.count(&v.WrongSecrets, "%s: %s", s.name, wrong)
		}
	}
	return v
}

// unready says why users cannot sign in, or why the status does not fit.
func unready(ctx context.Context, s *slot, tenant *v1alpha1.SAMLTenant) string {
	status := tenant.Status
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil || ready.Status != metav1.ConditionTrue:
		return fmt.Sprintf("not Ready: %+v", ready)
	case !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionGatewaySynced):
		return "the gateway has not been rolled for it"
	case status.LastHandledReconcileAt != s.requestedAt:
		return "the request for a fetch was not handled"
	}
	wrong := append(conditions.Check(tenant.Generation, status.ObservedGeneration, status.Conditions), gitops.Check(ctx, tenant)...)
	if len(wrong) > 0 {
		return fmt.Sprint(wrong)
	}
	return ""
}

// wrongSecret says what in the tenant's Secrets is not what its spec and its
// identity provider say.
func (w *world) wrongSecret(s *slot, tenant *v1alpha1.SAMLTenant, secrets map[string]*corev1.Secret) string {
	secret, key := secrets[tenantconfig.ConfigSecretName(s.name)], secrets[tenantconfig.KeySecretName(s.name)]
	if secret == nil || key == nil || !metav1.IsControlledBy(secret, tenant) || !metav1.IsControlledBy(key, tenant) {
		return "a Secret is missing or another's"
	}
	config, err := tenantconfig.Decode(secret.Data[tenantconfig.FileConfig])
	hash := tenantconfig.Files(secret.Data).Hash()
	switch {
	case err != nil:
		return err.Error()
	case config.DisplayName != s.displayName || config.Disabled != (s.access == v1alpha1.AccessDisabled):
		return "the configuration is not what the spec says"
	case secret.Labels[tenantconfig.LabelConfig] != tenantconfig.LabelTrue:
		return "the label is missing"
	case hash != secret.Annotations[tenantconfig.AnnotationConfigHash] || hash != tenant.Status.ConfigHash:
		return "the hashes differ"
	}
	// The certificates that the identity provider publishes, and beside them only
	// those in their time of grace.
	var trusted []string
	for rest := secret.Data[tenantconfig.FileIDPSigning]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		trusted = append(trusted, string(block.Bytes))
	}
	for _, c := range s.idp.Certificates() {
		if !slices.Contains(trusted, string(c.Raw)) {
			return "a published certificate is not trusted"
		}
	}
	grace := slices.DeleteFunc(slices.Clone(tenant.Status.Certificates), func(c v1alpha1.CertificateStatus) bool { return c.TrustedUntil == nil })
	if len(trusted) != len(s.idp.Certificates())+len(grace) {
		return fmt.Sprintf("%d certificates are trusted, %d published, %d in their grace", len(trusted), len(s.idp.Certificates()), len(grace))
	}
	return ""
}

// watchKeys looks until ctx ends whether a tenant's SP key is replaced.
func (w *world) watchKeys(ctx context.Context) {
	for pause(ctx, 300*time.Millisecond) {
		_ = w.noteKeys(ctx) // again next time
	}
	w.insist(context.WithoutCancel(ctx), w.noteKeys)
}

func (w *world) noteKeys(ctx context.Context) error {
	var secrets corev1.SecretList
	if err := w.List(ctx, &secrets, client.HasLabels{tenantconfig.LabelKey}); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range secrets.Items {
		owner := metav1.GetControllerOf(&secrets.Items[i])
		if owner == nil {
			continue
		}
		certificate := string(secrets.Items[i].Data[tenantconfig.FileCertificate])
		first, known := w.spCertificates[string(owner.UID)]
		if known && first != certificate {
			w.keysReplaced++
		}
		w.spCertificates[string(owner.UID)] = certificate
	}
	return nil
}
