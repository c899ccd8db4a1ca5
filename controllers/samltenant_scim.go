package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// tokenRef names the Secret with the tokens of the customer's directory, "" if
// it keeps no users.
func tokenRef(tenant *v1alpha1.SAMLTenant) string {
	if p := tenant.Spec.Provisioning; p != nil && p.SCIM != nil {
		return p.SCIM.TokenSecretRef.Name
	}
	return ""
}

// scim reads the tokens of the customer's directory. One that is gone, or cannot
// be used, opens nothing any more; sign-ins go on.
func (r *SAMLTenantReconciler) scim(ctx context.Context, s *scope) outcome {
	name := tokenRef(s.tenant)
	if name == "" {
		meta.RemoveStatusCondition(&s.tenant.Status.Conditions, v1alpha1.ConditionSCIMReady)
		return outcome{}
	}
	secret, err := readSecret(ctx, r.Uncached, s.tenant, name)
	if err != nil {
		return s.unreadable(name, err)
	}
	problem := ""
	switch {
	case secret == nil:
		problem = fmt.Sprintf("there is no Secret %q, which provisioning.scim.tokenSecretRef names; create it with a token under any key, or correct the name", name)
	case secret.Labels[tenantconfig.LabelTenant] != "":
		problem = fmt.Sprintf("the Secret %q, which provisioning.scim.tokenSecretRef names, is what the operator wrote for a tenant; name another one", name)
	default:
		if s.scimTokens, err = render.HashTokens(slices.Collect(maps.Values(secret.Data))); err != nil {
			problem = fmt.Sprintf("the Secret %q, which provisioning.scim.tokenSecretRef names, cannot be used: %s", name, err)
		}
	}
	if problem != "" {
		s.set(v1alpha1.ConditionSCIMReady, metav1.ConditionFalse, v1alpha1.ReasonTokenSecretInvalid, problem+"; until then the directory is let in by no token")
		return outcome{}
	}
	s.set(v1alpha1.ConditionSCIMReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "the customer's directory can keep users by the tokens in the Secret \""+name+"\"")
	return outcome{}
}
