package controllers

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/spkey"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// key finds the tenant's SP key, or makes one.
func (r *SAMLTenantReconciler) key(ctx context.Context, s *scope) outcome {
	name := tenantconfig.KeySecretName(s.tenant.Name)
	secret, err := r.secret(ctx, s.tenant, name)
	if err != nil {
		return s.unreadable(name, err)
	}
	if secret != nil && !metav1.IsControlledBy(secret, s.tenant) {
		return s.nameConflict(secret)
	}
	var files tenantconfig.Files
	if secret != nil {
		files = secret.Data
	} else if files, err = newKey(r.BaseDomain.Host(s.tenant.Spec.CustomerName), s.now); err != nil {
		return s.fail(retry, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonKeySecretInvalid, "no SP key could be made; the operator tries again", err)
	}
	s.spCertificate, err = spkey.Certificate(files[tenantconfig.FileKey], files[tenantconfig.FileCertificate])
	if err != nil {
		return s.fail(stalled, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonKeySecretInvalid,
			fmt.Sprintf("the Secret %q holds no usable key pair; restore tls.key and tls.crt, or delete the Secret to get a new pair and give the new SP metadata to the identity provider", name), err)
	}
	pair := tenantconfig.Files{tenantconfig.FileKey: files[tenantconfig.FileKey], tenantconfig.FileCertificate: files[tenantconfig.FileCertificate]}
	desired := desiredSecret(s.tenant, name, map[string]string{tenantconfig.LabelKey: tenantconfig.LabelTrue}, pair).WithType(corev1.SecretTypeTLS)
	_, end := r.applySecret(ctx, s, secret, desired)
	return end
}

func newKey(host string, now time.Time) (tenantconfig.Files, error) {
	key, certificate, err := spkey.Generate(host, now)
	if err != nil {
		return nil, err
	}
	return tenantconfig.Files{tenantconfig.FileKey: key, tenantconfig.FileCertificate: certificate}, nil
}
