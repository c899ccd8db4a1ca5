package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// claim takes the customer name, which is a host: of two tenants with one
// name the older keeps it.
func (r *SAMLTenantReconciler) claim(ctx context.Context, s *scope) outcome {
	s.announce(r.BaseDomain)
	list := &v1alpha1.SAMLTenantList{}
	// Names and ages do not change by our writes, so there is no wait for them.
	if err := r.Client.List(ctx, list, client.InNamespace(s.tenant.Namespace), client.DisableReadYourWritesConsistency,
		client.MatchingFields{customerNameIndex: s.tenant.Spec.CustomerName}); err != nil {
		return s.fail(retry, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonApplyFailed,
			"the tenants with this customer name cannot be listed; the operator tries again", err)
	}
	holder := s.tenant
	for i := range list.Items {
		if other := &list.Items[i]; other.UID != s.tenant.UID && older(other, holder) {
			holder = other
		}
	}
	if holder != s.tenant {
		if end := r.withdraw(ctx, s); end.kind != proceed {
			return end
		}
		return s.fail(stalled, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonCustomerNameConflict,
			fmt.Sprintf("customerName %q belongs to the older SAMLTenant %q; delete one of the two, or create this one anew with another customerName", s.tenant.Spec.CustomerName, holder.Name), nil)
	}
	return outcome{}
}

// older tells whether a has the better claim than b: by age, and of two that
// were created in the same second by name, so that both come to the same end
// whichever is looked at first.
func older(a, b *v1alpha1.SAMLTenant) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

// withdraw takes from the gateway what was rendered for a tenant that has lost
// its claim to the host.
func (r *SAMLTenantReconciler) withdraw(ctx context.Context, s *scope) outcome {
	name := tenantconfig.ConfigSecretName(s.tenant.Name)
	secret, err := r.secret(ctx, s.tenant, name)
	if err != nil {
		return s.unreadable(name, err)
	}
	if secret == nil || !metav1.IsControlledBy(secret, s.tenant) || secret.Labels[tenantconfig.LabelConfig] == "" {
		return outcome{}
	}
	empty := desiredSecret(s.tenant, name, nil, nil).WithType(corev1.SecretTypeOpaque)
	if err := r.Client.Apply(ctx, empty, client.FieldOwner(FieldOwner), client.ForceOwnership); err != nil {
		return s.unwritable(name, err)
	}
	status := &s.tenant.Status
	status.SecretRef, status.ConfigHash, status.ConfigResourceVersion = nil, "", ""
	return outcome{}
}

// load reads the last-known-good back from the Secret: what was accepted
// before serves until something better is.
func (r *SAMLTenantReconciler) load(ctx context.Context, s *scope) outcome {
	name := tenantconfig.ConfigSecretName(s.tenant.Name)
	find := r.secret
	if s.tenant.Status.SecretRef == nil {
		// None was written yet; apply looks again before it takes the name.
		find = r.cachedSecret
	}
	secret, err := find(ctx, s.tenant, name)
	if err != nil {
		return s.unreadable(name, err)
	}
	s.configSecret = secret
	if secret == nil || !metav1.IsControlledBy(secret, s.tenant) {
		return outcome{}
	}
	idp, err := idpmetadata.Parse(secret.Data[tenantconfig.FileIDPMetadata], "")
	if err != nil {
		// Edited by hand: the next fetch repairs it.
		return outcome{}
	}
	// The status vouches for it. When the operator was stopped between writing
	// the Secret and the status, only the Secret's own hash does, which whoever
	// edits Secrets can forge: good enough to go on with, not to leave at that.
	recorded := s.tenant.Status.IDP
	switch {
	case recorded != nil && recorded.Digest == idp.Digest():
		if recorded.ValidUntil != nil {
			idp.ValidUntil = recorded.ValidUntil.Time
		}
		if recorded.CacheDuration != nil {
			idp.CacheDuration = recorded.CacheDuration.Duration
		}
		s.idp = idp
		s.loadWithdrawn(secret.Data)
	case (recorded == nil || recorded.EntityID == idp.EntityID) &&
		secret.Annotations[annotationContentHash] == secret.Annotations[tenantconfig.AnnotationConfigHash]:
		s.idp, s.unproven = idp, true
		s.loadWithdrawn(secret.Data)
	}
	return outcome{}
}

// fetch downloads the metadata when it is due. A failure is noted and ends
// nothing: an edit of the spec applies while the IdP is down.
func (r *SAMLTenantReconciler) fetch(ctx context.Context, s *scope) outcome {
	key := client.ObjectKeyFromObject(s.tenant)
	s.demanded = r.demands.take(key)
	s.background = s.mayWait()
	if end := r.findSource(ctx, s); end.kind != proceed || !s.fetchDue() {
		if s.demanded {
			r.demands.putBack(key)
		}
		return end
	}
	status := &s.tenant.Status
	result, err := r.document(ctx, s)
	if busy, ok := errors.AsType[*idpmetadata.HostBusyError](err); ok {
		// Other tenants of this host are being fetched; a worker must not wait.
		if s.demanded {
			r.demands.putBack(key)
		}
		s.postponedFor = busy.RetryAfter
		if s.idp == nil {
			return outcome{kind: postponed}
		}
		return outcome{}
	}
	s.demanded = false
	status.LastHandledReconcileAt = s.requestedAt()
	if err != nil {
		s.set(v1alpha1.ConditionMetadataFetched, metav1.ConditionFalse, reasonOr(err, v1alpha1.ReasonConnectFailed), err.Error())
		s.failedRefresh(r.interval(s))
		return outcome{}
	}
	status.LastFetchTime = &metav1.Time{Time: s.now}
	if result.NotModified {
		s.set(v1alpha1.ConditionMetadataFetched, metav1.ConditionTrue, v1alpha1.ReasonNotModified, "the identity provider answers; its metadata has not changed")
		s.succeededRefresh(r.interval(s))
		return outcome{}
	}
	s.set(v1alpha1.ConditionMetadataFetched, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "the metadata was fetched from "+sourceOf(s.tenant))
	s.fetched = result
	return outcome{}
}

// accept judges the document that was fetched. One that is refused never
// replaces one that was accepted.
func (r *SAMLTenantReconciler) accept(_ context.Context, s *scope) outcome {
	if s.fetched != nil {
		defer s.fetched.Close()
		idp, err := s.judge(s.fetched.Document)
		if err != nil {
			s.tenant.Status.RejectedDigest = digestOf(err)
			s.set(v1alpha1.ConditionMetadataAccepted, metav1.ConditionFalse, reasonOr(err, v1alpha1.ReasonParseFailed), err.Error())
			s.failedRefresh(r.interval(s))
		} else {
			s.takeOver(idp)
			s.succeededRefresh(r.interval(s))
		}
	}
	if s.idp == nil {
		// The conditions say why; the next fetch is scheduled. What was said of the
		// configuration is of the past.
		meta.RemoveStatusCondition(&s.tenant.Status.Conditions, v1alpha1.ConditionConfigRendered)
		if s.configSecret == nil && s.tenant.Status.SecretRef != nil {
			s.set(v1alpha1.ConditionConfigRendered, metav1.ConditionFalse, v1alpha1.ReasonApplyFailed,
				"the Secret with the configuration is gone and is written again when the identity provider's metadata can be fetched")
		}
		return outcome{kind: wait}
	}
	if s.expired() {
		s.set(v1alpha1.ConditionMetadataAccepted, metav1.ConditionFalse, v1alpha1.ReasonExpired,
			"the metadata in use says that it is valid no longer, and the identity provider has published no other; ask its administrator")
	}
	s.endGrace()
	s.describeCertificates()
	return outcome{}
}

// render makes the configuration from the spec and the accepted metadata.
func (r *SAMLTenantReconciler) render(_ context.Context, s *scope) outcome {
	if s.accessEdited() {
		// Stored in whole seconds: the next one, so that no session of this one is left.
		s.tenant.Status.SessionsNotBefore = &metav1.Time{Time: s.now.Truncate(time.Second).Add(time.Second)}
		if s.fetched == nil {
			// The fetch that the edit makes due comes next.
			s.postponedFor = time.Second
		}
	}
	if idp := s.tenant.Status.IDP; idp != nil {
		// Not when the document is accepted, so that who was there before this
		// field gets it too.
		idp.SLOURL = render.SLOURL(s.idp)
	}
	sp, err := s.keys.forMetadata(render.SignsMetadata(s.tenant))
	var files tenantconfig.Files
	if err == nil {
		files, err = render.Files(s.tenant, r.BaseDomain, s.idp, s.withdrawnCertificates(), sp, s.scimTokens)
	}
	if err != nil {
		return s.fail(stalled, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonApplyFailed, "the configuration cannot be rendered: "+err.Error(), nil)
	}
	s.files = files
	if s.tenant.Status.IDP != nil {
		s.tenant.Status.IDP.SSOURL = render.SSOURL(s.tenant, s.idp)
	}
	return outcome{}
}

// apply writes the configuration to its Secret, if it differs.
func (r *SAMLTenantReconciler) apply(ctx context.Context, s *scope) outcome {
	name := tenantconfig.ConfigSecretName(s.tenant.Name)
	if s.configSecret == nil && s.tenant.Status.SecretRef == nil {
		var err error
		if s.configSecret, err = r.secret(ctx, s.tenant, name); err != nil {
			return s.unreadable(name, err)
		}
	}
	if s.configSecret != nil && !metav1.IsControlledBy(s.configSecret, s.tenant) {
		return s.nameConflict(s.configSecret)
	}
	hash := s.files.Hash()
	desired := desiredSecret(s.tenant, name, map[string]string{tenantconfig.LabelConfig: tenantconfig.LabelTrue}, s.files).
		WithType(corev1.SecretTypeOpaque).
		WithAnnotations(map[string]string{tenantconfig.AnnotationConfigHash: hash})
	resourceVersion, end := r.applySecret(ctx, s, s.configSecret, desired)
	if end.kind != proceed {
		return end
	}
	status := &s.tenant.Status
	status.SecretRef = &v1alpha1.SecretReference{Name: name}
	status.Access = s.tenant.Spec.Access
	if status.ConfigHash != hash {
		status.ConfigHash = hash
		status.ConfigResourceVersion = resourceVersion
	}
	switch {
	case s.keyProblem != "" && s.keys.source == s.keyRef():
		s.set(v1alpha1.ConditionConfigRendered, metav1.ConditionTrue, v1alpha1.ReasonKeySecretInvalid, s.keyProblem+"; the key pair that was copied from it before serves on")
		return outcome{}
	case s.keyProblem != "":
		s.set(v1alpha1.ConditionConfigRendered, metav1.ConditionFalse, v1alpha1.ReasonKeySecretInvalid, s.keyProblem+"; until then the key pair before serves on")
		return outcome{}
	}
	s.set(v1alpha1.ConditionConfigRendered, metav1.ConditionTrue, v1alpha1.ReasonApplied,
		fmt.Sprintf("the Secrets %q and %q hold the configuration", name, tenantconfig.KeySecretName(s.tenant.Name)))
	return outcome{}
}

func (r *SAMLTenantReconciler) interval(s *scope) time.Duration {
	if s.tenant.Spec.RefreshInterval != nil {
		return s.tenant.Spec.RefreshInterval.Duration
	}
	return r.RefreshInterval
}

// judge returns what the document says if it is to be taken over.
func (s *scope) judge(document []byte) (*idpmetadata.Descriptor, error) {
	spec := s.tenant.Spec
	signers, err := idpmetadata.ParseSigners(spec.MetadataSigningCertificates...)
	if err != nil {
		return nil, err
	}
	return idpmetadata.Accept(document, idpmetadata.Requirements{
		EntityID: spec.IDPEntityID, PreviousEntityID: s.pinnedEntityID(), Signers: signers,
		AcceptDigest: s.tenant.Annotations[v1alpha1.AnnotationAcceptMetadata], Now: s.now,
	})
}

// digestOf returns the digest of the document that was refused, "" when it
// could not be read.
func digestOf(err error) string {
	var refusal *idpmetadata.Error
	if errors.As(err, &refusal) {
		return refusal.Digest
	}
	return ""
}

// reasonOr returns the reason that err carries.
func reasonOr(err error, fallback string) string {
	if reason := idpmetadata.ReasonOf(err); reason != "" {
		return string(reason)
	}
	return fallback
}
