// Package v1alpha1 is the API group sso.cequence.cloud: the SAMLTenant.
//
// +kubebuilder:object:generate=true
// +groupName=sso.cequence.cloud
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion identifies the API.
var GroupVersion = schema.GroupVersion{Group: "sso.cequence.cloud", Version: "v1alpha1"}

// AddToScheme registers the API's types.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &SAMLTenant{}, &SAMLTenantList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
