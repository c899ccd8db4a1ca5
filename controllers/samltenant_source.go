package controllers

import "cequence.cloud/saml-operator/api/v1alpha1"

// sourceOf names the place of a tenant's metadata: the URL, or configmap/NAME/KEY
// or secret/NAME/KEY.
func sourceOf(tenant *v1alpha1.SAMLTenant) string {
	from := tenant.Spec.MetadataFrom
	switch {
	case from != nil && from.ConfigMapKeyRef != nil:
		return "configmap/" + from.ConfigMapKeyRef.Name + "/" + from.ConfigMapKeyRef.Key
	case from != nil && from.SecretKeyRef != nil:
		return "secret/" + from.SecretKeyRef.Name + "/" + from.SecretKeyRef.Key
	}
	return tenant.Spec.MetadataURL
}
