package controllers

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// secret returns the Secret of that name, or nil. The cache has only those
// with our label, so before a name is taken for free the API server is asked.
func (r *SAMLTenantReconciler) secret(ctx context.Context, tenant *v1alpha1.SAMLTenant, name string) (*corev1.Secret, error) {
	if secret, err := r.cachedSecret(ctx, tenant, name); secret != nil || err != nil {
		return secret, err
	}
	secret, err := readSecret(ctx, r.Uncached, tenant, name)
	if secret != nil {
		slim(secret)
	}
	return secret, err
}

// cachedSecret returns the Secret of that name if it has our label, or nil.
func (r *SAMLTenantReconciler) cachedSecret(ctx context.Context, tenant *v1alpha1.SAMLTenant, name string) (*corev1.Secret, error) {
	return readSecret(ctx, r.Client, tenant, name)
}

func readSecret(ctx context.Context, reader client.Reader, tenant *v1alpha1.SAMLTenant, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := reader.Get(ctx, client.ObjectKey{Namespace: tenant.Namespace, Name: name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get Secret %s: %w", name, err)
	}
	return secret, nil
}

// annotationContentHash has the hash over the files of a configuration, see
// slim. The API server takes no such name, so nobody else can write it.
const annotationContentHash = "content hash"

// slim takes from a configuration the files that are compared but not read
// back, more than half of it, and leaves the hash over all: ten thousands are
// kept in memory. Secrets go through it on their way from the API server, in
// the cache more than once.
func slim(secret *corev1.Secret) {
	if _, done := secret.Annotations[annotationContentHash]; done {
		return
	}
	files := tenantconfig.Files{}
	for _, name := range []string{tenantconfig.FileConfig, tenantconfig.FileIDPMetadata, tenantconfig.FileIDPSigning, tenantconfig.FileSPMetadata} {
		if content, ok := secret.Data[name]; ok {
			files[name] = content
		}
	}
	if len(files) > 0 {
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, annotationContentHash, files.Hash())
		delete(secret.Data, tenantconfig.FileConfig)
		delete(secret.Data, tenantconfig.FileSPMetadata)
	}
}

func desiredSecret(tenant *v1alpha1.SAMLTenant, name string, labels map[string]string, files tenantconfig.Files) *applycorev1.SecretApplyConfiguration {
	return applycorev1.Secret(name, tenant.Namespace).
		WithLabels(labels).
		WithLabels(map[string]string{tenantconfig.LabelTenant: tenant.Name}).
		WithOwnerReferences(applymetav1.OwnerReference().
			WithAPIVersion(v1alpha1.GroupVersion.String()).WithKind("SAMLTenant").
			WithName(tenant.Name).WithUID(tenant.UID).WithController(true)).
		WithData(files)
}

// applySecret brings live, which is ours or nil, to desired by server-side
// apply and returns its resourceVersion; nothing is written when nothing
// differs. A new Secret is applied without force, so that a foreign one which
// came into being meanwhile is a conflict instead of a prey.
func (r *SAMLTenantReconciler) applySecret(ctx context.Context, s *scope, live *corev1.Secret, desired *applycorev1.SecretApplyConfiguration) (string, outcome) {
	if live != nil && sameSecret(live, desired) {
		return live.ResourceVersion, outcome{}
	}
	options := []client.ApplyOption{client.FieldOwner(FieldOwner)}
	if live != nil {
		options = append(options, client.ForceOwnership)
	}
	// Apply fills desired with the answer.
	if err := r.Client.Apply(ctx, desired, options...); err != nil {
		return "", s.unwritable(*desired.Name, err)
	}
	return ptr.Deref(desired.ResourceVersion, ""), outcome{}
}

// What a Secret of ours has for a time only.
var (
	passingFiles       = []string{tenantconfig.FileNextKey, tenantconfig.FileNextCertificate}
	passingAnnotations = []string{tenantconfig.AnnotationNextKeyPublished, tenantconfig.AnnotationKeySource}
)

// sameSecret tells whether live has all that is desired, and nothing of ours
// that is no longer; what others added to it is not read by the gateway and
// left to them.
func sameSecret(live *corev1.Secret, desired *applycorev1.SecretApplyConfiguration) bool {
	for _, name := range passingFiles {
		if len(desired.Data[name]) == 0 && len(live.Data[name]) > 0 {
			return false
		}
	}
	for _, name := range passingAnnotations {
		if desired.Annotations[name] == "" && live.Annotations[name] != "" {
			return false
		}
	}
	if _, isConfig := desired.Data[tenantconfig.FileConfig]; isConfig {
		if live.Annotations[annotationContentHash] != tenantconfig.Files(desired.Data).Hash() {
			return false
		}
	} else {
		for name, content := range desired.Data {
			if !bytes.Equal(live.Data[name], content) {
				return false
			}
		}
	}
	has := func(live, desired map[string]string) bool {
		for k, v := range desired {
			if live[k] != v {
				return false
			}
		}
		return true
	}
	return has(live.Labels, desired.Labels) && has(live.Annotations, desired.Annotations)
}
