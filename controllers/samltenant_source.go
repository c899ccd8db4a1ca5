package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// referenceIndex finds tenants by the objects that their specs name, as
// configmap/NAME or secret/NAME.
const referenceIndex = "references"

// Kinds of objects that a tenant may name.
const (
	kindConfigMap = "configmap"
	kindSecret    = "secret"
)

// metadataRef returns what metadataFrom names; kind is "" without it.
func metadataRef(tenant *v1alpha1.SAMLTenant) (kind string, ref v1alpha1.KeyReference) {
	from := tenant.Spec.MetadataFrom
	switch {
	case from != nil && from.ConfigMapKeyRef != nil:
		return kindConfigMap, *from.ConfigMapKeyRef
	case from != nil && from.SecretKeyRef != nil:
		return kindSecret, *from.SecretKeyRef
	}
	return "", v1alpha1.KeyReference{}
}

// sourceOf names the place of a tenant's metadata: the URL, or configmap/NAME/KEY
// or secret/NAME/KEY.
func sourceOf(tenant *v1alpha1.SAMLTenant) string {
	if kind, ref := metadataRef(tenant); kind != "" {
		return kind + "/" + ref.Name + "/" + ref.Key
	}
	return tenant.Spec.MetadataURL
}

// references lists the objects that a tenant's spec names.
func references(o client.Object) []string {
	tenant := o.(*v1alpha1.SAMLTenant)
	var names []string
	if kind, ref := metadataRef(tenant); kind != "" {
		names = append(names, kind+"/"+ref.Name)
	}
	if sp := tenant.Spec.ServiceProvider; sp != nil && sp.KeySecretRef != nil {
		names = append(names, kindSecret+"/"+sp.KeySecretRef.Name)
	}
	if name := tokenRef(tenant); name != "" {
		names = append(names, kindSecret+"/"+name)
	}
	return names
}

// newSources returns a cache of the ConfigMaps and Secrets of the namespace
// that are not ours, without their content: enough to see that one of those
// which tenants name has changed.
func newSources(cluster *rest.Config, namespace string) (cache.Cache, error) {
	notOurs, err := labels.NewRequirement(tenantconfig.LabelTenant, selection.DoesNotExist, nil)
	utilruntime.Must(err)
	sources, err := cache.New(cluster, cache.Options{
		DefaultNamespaces:    map[string]cache.Config{namespace: {}},
		DefaultLabelSelector: labels.NewSelector().Add(*notOurs),
		DefaultTransform: func(o any) (any, error) {
			if m, ok := o.(*metav1.PartialObjectMetadata); ok {
				m.ObjectMeta = metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
			}
			return o, nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("set up the cache of sources: %w", err)
	}
	return sources, nil
}

func sourceKind(kind string) schema.GroupVersionKind {
	return corev1.SchemeGroupVersion.WithKind(map[string]string{kindConfigMap: "ConfigMap", kindSecret: "Secret"}[kind])
}

func sourceObject(kind string) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(sourceKind(kind))
	return o
}

// referring finds the tenants that name an object of that kind.
func (r *SAMLTenantReconciler) referring(kind string) func(context.Context, *metav1.PartialObjectMetadata) []reconcile.Request {
	return func(ctx context.Context, o *metav1.PartialObjectMetadata) []reconcile.Request {
		return r.requests(ctx, o.Namespace, func(*v1alpha1.SAMLTenant) bool { return true },
			client.MatchingFields{referenceIndex: kind + "/" + o.Name})
	}
}

// findSource notes the version of the object that metadataFrom names: another
// one than before is read at once.
func (r *SAMLTenantReconciler) findSource(ctx context.Context, s *scope) outcome {
	kind, ref := metadataRef(s.tenant)
	if kind == "" {
		s.tenant.Status.SourceVersion = ""
		return outcome{}
	}
	o := sourceObject(kind)
	err := r.Sources.Get(ctx, client.ObjectKey{Namespace: s.tenant.Namespace, Name: ref.Name}, o)
	if client.IgnoreNotFound(err) != nil {
		return s.fail(retry, v1alpha1.ConditionMetadataFetched, v1alpha1.ReasonSourceNotFound,
			fmt.Sprintf("the %s %q cannot be looked up; the operator tries again", kind, ref.Name), err)
	}
	s.sourceVersion = o.ResourceVersion
	return outcome{}
}

// document fetches the metadata, or reads it where metadataFrom says.
func (r *SAMLTenantReconciler) document(ctx context.Context, s *scope) (*idpmetadata.Result, error) {
	spec, status := &s.tenant.Spec, &s.tenant.Status
	if spec.MetadataFrom != nil {
		return r.readSource(ctx, s)
	}
	request := idpmetadata.Request{URL: spec.MetadataURL, CABundle: []byte(spec.MetadataCA), MayWait: s.mayWait()}
	if s.mayBeUnmodified() {
		request.ETag, request.LastModified = status.IDP.ETag, status.IDP.LastModified
	}
	return r.Fetcher.Fetch(ctx, request)
}

// readSource reads the object itself, which no cache has.
func (r *SAMLTenantReconciler) readSource(ctx context.Context, s *scope) (*idpmetadata.Result, error) {
	kind, ref := metadataRef(s.tenant)
	s.tenant.Status.SourceVersion = s.sourceVersion
	key := client.ObjectKey{Namespace: s.tenant.Namespace, Name: ref.Name}
	var (
		content []byte
		found   bool
		owned   bool
		err     error
		version string
	)
	if kind == kindConfigMap {
		o := &corev1.ConfigMap{}
		err = r.Uncached.Get(ctx, key, o)
		var text string
		if text, found = o.Data[ref.Key]; found {
			content = []byte(text)
		} else {
			content, found = o.BinaryData[ref.Key]
		}
		version = o.ResourceVersion
	} else {
		o := &corev1.Secret{}
		err = r.Uncached.Get(ctx, key, o)
		content, found = o.Data[ref.Key]
		owned = o.Labels[tenantconfig.LabelTenant] != ""
		version = o.ResourceVersion
	}
	problem := ""
	switch {
	case apierrors.IsNotFound(err):
		problem = fmt.Sprintf("there is no %s %q in this namespace; create it with the metadata under the key %q, or correct metadataFrom", kind, ref.Name, ref.Key)
	case err != nil:
		return nil, fmt.Errorf("read %s %s: %w", kind, ref.Name, err)
	case owned:
		problem = fmt.Sprintf("the %s %q, which metadataFrom names, is what the operator wrote for a tenant and no source of metadata; name another one", kind, ref.Name)
	case !found:
		problem = fmt.Sprintf("the %s %q has no key %q; put the metadata there, or correct metadataFrom", kind, ref.Name, ref.Key)
	}
	if problem != "" {
		return nil, &idpmetadata.Error{Reason: v1alpha1.ReasonSourceNotFound, Message: problem}
	}
	s.tenant.Status.SourceVersion = version
	return &idpmetadata.Result{Document: content}, nil
}
