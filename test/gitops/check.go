// Package gitops judges a SAMLTenant as GitOps tools do, with what they use: the
// kstatus library, Argo CD's Lua interpreter and Flux's CEL expressions.
package gitops

import (
	"context"
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"cequence.cloud/saml-operator/api/v1alpha1"
)

var tenantKind = v1alpha1.GroupVersion.WithKind("SAMLTenant")

// Check returns where the tools do not read a tenant's conditions as they are
// meant: Ready is there and good, Stalled needs a person, all else goes on.
func Check(ctx context.Context, tenant *v1alpha1.SAMLTenant) []error {
	object, err := Unstructured(tenant)
	if err != nil {
		return []error{err}
	}
	want, wantHealth := status.InProgressStatus, "Progressing"
	switch observed := tenant.Status.ObservedGeneration == tenant.Generation; {
	case !observed:
	case meta.IsStatusConditionTrue(tenant.Status.Conditions, v1alpha1.ConditionStalled):
		want, wantHealth = status.FailedStatus, "Degraded"
	case meta.IsStatusConditionTrue(tenant.Status.Conditions, v1alpha1.ConditionReady):
		want, wantHealth = status.CurrentStatus, "Healthy"
	}
	if tenant.Spec.Suspend && tenant.Status.ObservedGeneration == tenant.Generation {
		wantHealth = "Suspended"
	}

	var wrong []error
	judge := func(tool string, got, want any, err error) {
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Errorf("%s: %w", tool, err))
		case got != want:
			wrong = append(wrong, fmt.Errorf("%s says %v, want %v", tool, got, want))
		}
	}
	result, err := status.Compute(object)
	if err != nil {
		judge("kstatus", nil, nil, err)
	} else {
		judge("kstatus", result.Status, want, nil)
	}
	flux, err := Flux(ctx, object)
	judge("Flux", flux, want, err)
	health, err := ArgoCD(ctx, object)
	judge("Argo CD", health.Status, wantHealth, err)
	if err == nil && health.Message == "" {
		wrong = append(wrong, fmt.Errorf("a health of %s by Argo CD has no message", health.Status))
	}
	return wrong
}

// Unstructured is the tenant as the tools get it from the API server.
func Unstructured(tenant *v1alpha1.SAMLTenant) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(tenant)
	if err != nil {
		return nil, fmt.Errorf("convert SAMLTenant %s: %w", tenant.Name, err)
	}
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(tenantKind)
	return object, nil
}
