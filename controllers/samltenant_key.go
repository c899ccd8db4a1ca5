package controllers

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/spkey"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// defaultKeyOverlap is for tenants that set none: in that time the customer's
// administrator has to give the next certificate to the identity provider.
const defaultKeyOverlap = 14 * 24 * time.Hour

// keyPair is a pair as it is stored, and its certificate.
type keyPair struct {
	key, certificate []byte
	leaf             *x509.Certificate
}

func readPair(files map[string][]byte, keyFile, certificateFile string) (*keyPair, error) {
	p := &keyPair{key: files[keyFile], certificate: files[certificateFile]}
	var err error
	p.leaf, err = spkey.Certificate(p.key, p.certificate)
	return p, err
}

// keys are a tenant's pairs: the one in use, and its successor, which may be nil.
type keys struct {
	current, next *keyPair
	signsFrom     time.Time
	// source is the Secret that the newest pair was copied from, "" when the
	// operator made it.
	source string
}

// certificates are what the SP metadata publishes.
func (k keys) certificates() []*x509.Certificate {
	all := []*x509.Certificate{k.current.leaf}
	if k.next != nil {
		all = append(all, k.next.leaf)
	}
	return all
}

// key finds the tenant's SP key, makes or copies one, or replaces it when it
// is time. All of that is in one Secret, so that it changes at once and an
// operator that is stopped in between goes on where it was.
func (r *SAMLTenantReconciler) key(ctx context.Context, s *scope) outcome {
	name := tenantconfig.KeySecretName(s.tenant.Name)
	secret, err := r.secret(ctx, s.tenant, name)
	if err != nil {
		return s.unreadable(name, err)
	}
	if secret != nil && !metav1.IsControlledBy(secret, s.tenant) {
		return s.nameConflict(secret)
	}
	var have keys
	if secret != nil {
		if have, err = keysIn(secret); err != nil {
			return s.fail(stalled, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonKeySecretInvalid,
				fmt.Sprintf("the Secret %q holds no usable key pair; restore tls.key and tls.crt, or delete the Secret to get a new pair and give the new SP metadata to the identity provider", name), err)
		}
	}
	wanted, end := r.referredKey(ctx, s, have)
	if end.kind != proceed {
		return end
	}
	told, err := s.rotate(&have, wanted, r.BaseDomain.Host(s.tenant.Spec.CustomerName))
	if err != nil {
		return s.fail(retry, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonKeySecretInvalid, "no SP key could be made; the operator tries again", err)
	}
	if _, end := r.applySecret(ctx, s, secret, desiredKeySecret(s.tenant, name, have)); end.kind != proceed {
		return end
	}
	s.keys = have
	s.notes = append(s.notes, told...)
	s.describeKeys()
	return outcome{}
}

// keysIn reads the Secret with a tenant's pairs. A next one without a time to
// take over, or of no use, is nobody's: it is written over.
func keysIn(secret *corev1.Secret) (keys, error) {
	current, err := readPair(secret.Data, tenantconfig.FileKey, tenantconfig.FileCertificate)
	if err != nil {
		return keys{}, err
	}
	have := keys{current: current, source: secret.Annotations[tenantconfig.AnnotationKeySource]}
	at, err := time.Parse(time.RFC3339, secret.Annotations[tenantconfig.AnnotationNextKeySignsFrom])
	if err != nil {
		return have, nil
	}
	if next, err := readPair(secret.Data, tenantconfig.FileNextKey, tenantconfig.FileNextCertificate); err == nil {
		have.next, have.signsFrom = next, at
	}
	return have, nil
}

func desiredKeySecret(tenant *v1alpha1.SAMLTenant, name string, k keys) *applycorev1.SecretApplyConfiguration {
	files := tenantconfig.Files{tenantconfig.FileKey: k.current.key, tenantconfig.FileCertificate: k.current.certificate}
	annotations := map[string]string{}
	if k.next != nil {
		files[tenantconfig.FileNextKey], files[tenantconfig.FileNextCertificate] = k.next.key, k.next.certificate
		annotations[tenantconfig.AnnotationNextKeySignsFrom] = k.signsFrom.UTC().Format(time.RFC3339)
	}
	if k.source != "" {
		annotations[tenantconfig.AnnotationKeySource] = k.source
	}
	return desiredSecret(tenant, name, map[string]string{tenantconfig.LabelKey: tenantconfig.LabelTrue}, files).
		WithType(corev1.SecretTypeTLS).WithAnnotations(annotations)
}

// referredKey reads the pair that keySecretRef names; nil without it. While it
// cannot be used, what was copied from it before serves on.
func (r *SAMLTenantReconciler) referredKey(ctx context.Context, s *scope, have keys) (*keyPair, outcome) {
	sp := s.tenant.Spec.ServiceProvider
	if sp == nil || sp.KeySecretRef == nil {
		return nil, outcome{}
	}
	name := sp.KeySecretRef.Name
	secret, err := readSecret(ctx, r.Uncached, s.tenant, name)
	if err != nil {
		return nil, s.unreadable(name, err)
	}
	if secret == nil {
		s.keyProblem = fmt.Sprintf("there is no Secret %q, which keySecretRef names; create it with tls.key and tls.crt, or correct keySecretRef", name)
	} else {
		pair, err := readPair(secret.Data, tenantconfig.FileKey, tenantconfig.FileCertificate)
		if err == nil {
			return pair, outcome{}
		}
		s.keyProblem = fmt.Sprintf("the Secret %q, which keySecretRef names, holds no RSA key of at least 2048 bits in tls.key with its certificate in tls.crt; correct it", name)
	}
	if have.current != nil && have.source == name {
		return nil, outcome{}
	}
	// Whoever keeps that Secret may be about to write it, and it is watched.
	return nil, s.fail(wait, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonKeySecretInvalid, s.keyProblem, nil)
}

// rotate brings the pairs to what they should be now, and returns what is to be
// told of it; wanted is the pair to use, nil when the operator makes them.
func (s *scope) rotate(k *keys, wanted *keyPair, host string) ([]note, error) {
	source := ""
	if wanted != nil || s.keyProblem != "" {
		source = s.tenant.Spec.ServiceProvider.KeySecretRef.Name
	}
	state := spkey.State{SignsFrom: k.signsFrom, Interval: s.keyInterval(), Overlap: s.keyOverlap(), Requested: s.keyRequested() && source == ""}
	if k.current != nil {
		state.Current = k.current.leaf
	}
	if k.next != nil {
		state.Next = k.next.leaf
	}
	if wanted != nil {
		state.Wanted = wanted.leaf
	}
	if source != "" && wanted == nil {
		// The owner of the Secret decides on a successor; one that is published
		// takes over all the same.
		if k.next == nil {
			return nil, nil
		}
	}
	k.source = source
	action, due := spkey.Decide(state, s.now)
	s.keyDue = due
	pair := wanted
	if pair == nil && (action == spkey.Adopt || action == spkey.Publish) {
		key, certificate, err := spkey.Generate(host, s.now)
		if err != nil {
			return nil, err
		}
		pair = &keyPair{key: key, certificate: certificate}
		if pair.leaf, err = spkey.Certificate(key, certificate); err != nil {
			return nil, err
		}
	}
	switch action {
	case spkey.Adopt:
		*k = keys{current: pair, source: source}
		return nil, nil
	case spkey.Publish:
		k.next, k.signsFrom = pair, s.now.Add(state.Overlap).Truncate(time.Second)
		s.keyDue = k.signsFrom
		return []note{{corev1.EventTypeNormal, v1alpha1.EventKeyRotated, "Publish",
			fmt.Sprintf("the SP key gets a successor, which takes over at %s; give its certificate, in the SP metadata, to the identity provider before", k.signsFrom.UTC().Format(time.RFC3339))}}, nil
	case spkey.Promote:
		k.current, k.next, k.signsFrom = k.next, nil, time.Time{}
		return []note{{corev1.EventTypeNormal, v1alpha1.EventKeyRotated, "Promote",
			"the next SP key has taken over; the one before signs and decrypts no longer"}}, nil
	}
	return nil, nil
}

func (s *scope) keyRotation() v1alpha1.KeyRotation {
	if sp := s.tenant.Spec.ServiceProvider; sp != nil && sp.KeyRotation != nil {
		return *sp.KeyRotation
	}
	return v1alpha1.KeyRotation{}
}

func (s *scope) keyInterval() time.Duration {
	if d := s.keyRotation().Interval; d != nil {
		return d.Duration
	}
	return 0
}

func (s *scope) keyOverlap() time.Duration {
	if d := s.keyRotation().Overlap; d != nil {
		return d.Duration
	}
	return defaultKeyOverlap
}

// keyRequested tells whether somebody asked for a new pair by the annotation.
func (s *scope) keyRequested() bool {
	handled := ""
	if s.tenant.Status.Key != nil {
		handled = s.tenant.Status.Key.LastHandledRotateAt
	}
	return s.annotation(v1alpha1.AnnotationRotateKeyRequestedAt) != handled
}

// describeKeys puts the pairs into the status.
func (s *scope) describeKeys() {
	k := s.keys
	status := &v1alpha1.KeyStatus{
		KeyPairStatus:       pairStatus(k.current.leaf),
		LastHandledRotateAt: s.annotation(v1alpha1.AnnotationRotateKeyRequestedAt),
	}
	switch {
	case k.next != nil:
		status.Next = &v1alpha1.NextKeyStatus{KeyPairStatus: pairStatus(k.next.leaf), SignsFrom: metav1.Time{Time: k.signsFrom}}
	case k.source == "":
		state := spkey.State{Current: k.current.leaf, Interval: s.keyInterval(), Overlap: s.keyOverlap()}
		status.NextRotationTime = &metav1.Time{Time: state.NextRotation()}
	}
	s.tenant.Status.Key = status
}

func pairStatus(c *x509.Certificate) v1alpha1.KeyPairStatus {
	return v1alpha1.KeyPairStatus{
		FingerprintSHA256: idpmetadata.Fingerprint(c),
		NotBefore:         metav1.Time{Time: c.NotBefore}, NotAfter: metav1.Time{Time: c.NotAfter},
	}
}
