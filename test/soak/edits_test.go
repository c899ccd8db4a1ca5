package soak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// slot is a tenant that comes and goes, and what it is to be. While edits are
// made it belongs to the goroutine that makes them.
type slot struct {
	name, ca string
	idp      *testidp.IDP

	exists      bool
	displayName string
	access      v1alpha1.Access
	requestedAt string
	edits       map[string]int
}

// edit changes the tenant now and then. What it wants counts once the API
// server has taken it; it ends with nothing half done.
func (w *world) edit(ctx context.Context, s *slot) {
	for n := 0; n == 0 || pause(ctx, 500*time.Millisecond+rand.N(4*time.Second)); n++ {
		kind, do := w.next(s, n)
		// An edit that has begun is finished although the time is over.
		if w.insist(context.WithoutCancel(ctx), do) {
			s.edits[kind]++
		}
	}
}

// next chooses an edit. Each can be done again when its answer was lost.
func (w *world) next(s *slot, n int) (kind string, do func(context.Context) error) {
	tenant := &v1alpha1.SAMLTenant{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: tenantconfig.ConfigSecretName(s.name)}}
	patch := func(o client.Object, format string, args ...any) func(context.Context) error {
		return func(ctx context.Context) error {
			return w.Patch(ctx, o, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, format, args...)))
		}
	}
	// A Secret that is not there yet cannot be damaged.
	orNothing := func(do func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error { return client.IgnoreNotFound(do(ctx)) }
	}
	if !s.exists {
		s.exists, s.displayName, s.access, s.requestedAt = true, fmt.Sprintf("Created %d", n), "", ""
		tenant.Spec = v1alpha1.SAMLTenantSpec{
			CustomerName: s.name, DisplayName: s.displayName, MetadataURL: s.idp.MetadataURL(), MetadataCA: s.ca,
		}
		return "create", func(ctx context.Context) error { return client.IgnoreAlreadyExists(w.Create(ctx, tenant.DeepCopy())) }
	}
	switch choice := rand.N(100); {
	case choice < 40:
		s.displayName = fmt.Sprintf("Edited %d", n)
		return "display name", patch(tenant, `{"spec":{"displayName":%q}}`, s.displayName)
	case choice < 55:
		s.access = map[v1alpha1.Access]v1alpha1.Access{
			"": v1alpha1.AccessDisabled, v1alpha1.AccessDisabled: v1alpha1.AccessEnabled, v1alpha1.AccessEnabled: v1alpha1.AccessDisabled,
		}[s.access]
		return "access", patch(tenant, `{"spec":{"access":%q}}`, s.access)
	case choice < 75:
		w.replaceKey(s)
		s.requestedAt = fmt.Sprint(n)
		return "key of the identity provider", patch(tenant, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationReconcileRequestedAt, s.requestedAt)
	case choice < 81:
		return "Secret deleted", orNothing(func(ctx context.Context) error { return w.Delete(ctx, secret) })
	case choice < 87:
		return "Secret damaged", orNothing(patch(secret, `{"data":{%q:"e30="}}`, tenantconfig.FileConfig))
	case choice < 93:
		return "label removed", orNothing(patch(secret, `{"metadata":{"labels":{%q:null}}}`, tenantconfig.LabelConfig))
	default:
		s.exists = false
		return "delete", orNothing(func(ctx context.Context) error { return w.Delete(ctx, tenant) })
	}
}

// replaceKey has the identity provider sign with another key from now on.
func (w *world) replaceKey(s *slot) {
	before := s.idp.ActiveKey()
	added := s.idp.AddExistingKey(w.keys[rand.N(len(w.keys))])
	for _, err := range []error{s.idp.ActivateKey(added), s.idp.RemoveKey(before)} {
		if err != nil {
			w.t.Errorf("replace the key of %s: %v", s.name, err)
		}
	}
}
