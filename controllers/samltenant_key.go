package controllers

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/render"
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
	leaf, err := spkey.Certificate(files[keyFile], files[certificateFile])
	if err != nil {
		return nil, err
	}
	// Of a chain only the first certificate counts.
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	return &keyPair{key: files[keyFile], certificate: certificate, leaf: leaf}, nil
}

// keys are a tenant's pairs: the one in use, and its successor, which may be nil.
type keys struct {
	current, next *keyPair
	// published is since when the SP metadata lists both.
	published time.Time
	// source is the Secret that the newest pair was copied from, "" when the
	// operator made it.
	source string
}

// forMetadata are what the SP metadata publishes, with the key that signs it if
// that is wanted.
func (k keys) forMetadata(signed bool) (render.SPKeys, error) {
	sp := render.SPKeys{Certificates: []*x509.Certificate{k.current.leaf}}
	if k.next != nil {
		sp.Certificates = append(sp.Certificates, k.next.leaf)
	}
	if !signed {
		return sp, nil
	}
	var err error
	sp.Signer, err = spkey.Signer(k.current.key, k.current.certificate)
	return sp, err
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
				fmt.Sprintf("the Secret %q holds no usable key pair: %s; restore it, or delete the Secret to get a new pair and give the new SP metadata to the identity provider", name, err), nil)
		}
	}
	if s.configSecret == nil || len(s.configSecret.Data) == 0 {
		// No SP metadata is served.
		have.published = time.Time{}
	}
	wanted, err := r.referredKey(ctx, s)
	if err != nil {
		return s.unreadable(s.keyRef(), err)
	}
	if s.keyProblem != "" && have.current == nil {
		// Whoever keeps that Secret may be about to write it, and it is watched.
		return s.fail(wait, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonKeySecretInvalid, s.keyProblem, nil)
	}
	if err := s.rotate(&have, wanted, r.BaseDomain.Host(s.tenant.Spec.CustomerName)); err != nil {
		return s.fail(retry, v1alpha1.ConditionConfigRendered, v1alpha1.ReasonKeySecretInvalid, "no SP key could be made; the operator tries again", err)
	}
	if _, end := r.applySecret(ctx, s, secret, desiredKeySecret(s.tenant, name, have)); end.kind != proceed {
		return end
	}
	s.keys, s.keySecret = have, secret
	s.describeKeys()
	return outcome{}
}

// publish has the overlap begin when the SP metadata with both pairs has been
// written, not when the next pair was made: what keeps the metadata from being
// written must not take from the time that the identity provider has.
func (r *SAMLTenantReconciler) publish(ctx context.Context, s *scope) outcome {
	if s.keys.next == nil || !s.keys.published.IsZero() {
		return outcome{}
	}
	s.keys.published = s.now.Truncate(time.Second)
	if _, end := r.applySecret(ctx, s, s.keySecret, desiredKeySecret(s.tenant, s.keySecret.Name, s.keys)); end.kind != proceed {
		return end
	}
	s.keyDue = s.keys.published.Add(s.keyOverlap())
	s.describeKeys()
	return outcome{}
}

// keysIn reads the Secret with a tenant's pairs.
func keysIn(secret *corev1.Secret) (keys, error) {
	current, err := readPair(secret.Data, tenantconfig.FileKey, tenantconfig.FileCertificate)
	if err != nil {
		return keys{}, err
	}
	have := keys{current: current, source: secret.Annotations[tenantconfig.AnnotationKeySource]}
	if len(secret.Data[tenantconfig.FileNextKey])+len(secret.Data[tenantconfig.FileNextCertificate]) == 0 {
		return have, nil
	}
	next, err := readPair(secret.Data, tenantconfig.FileNextKey, tenantconfig.FileNextCertificate)
	if err != nil {
		return keys{}, fmt.Errorf("in %s and %s, %w", tenantconfig.FileNextKey, tenantconfig.FileNextCertificate, err)
	}
	if next.leaf.Equal(current.leaf) {
		return have, nil
	}
	have.next = next
	// A time that cannot be read is none: the overlap begins anew.
	have.published, _ = time.Parse(time.RFC3339, secret.Annotations[tenantconfig.AnnotationNextKeyPublished])
	return have, nil
}

func desiredKeySecret(tenant *v1alpha1.SAMLTenant, name string, k keys) *applycorev1.SecretApplyConfiguration {
	files := tenantconfig.Files{tenantconfig.FileKey: k.current.key, tenantconfig.FileCertificate: k.current.certificate}
	annotations := map[string]string{}
	if k.next != nil {
		files[tenantconfig.FileNextKey], files[tenantconfig.FileNextCertificate] = k.next.key, k.next.certificate
	}
	if !k.published.IsZero() {
		annotations[tenantconfig.AnnotationNextKeyPublished] = k.published.UTC().Format(time.RFC3339)
	}
	if k.source != "" {
		annotations[tenantconfig.AnnotationKeySource] = k.source
	}
	return desiredSecret(tenant, name, map[string]string{tenantconfig.LabelKey: tenantconfig.LabelTrue}, files).
		WithType(corev1.SecretTypeTLS).WithAnnotations(annotations)
}

// keyRef is the name of the Secret that somebody else keeps the pair in, ""
// when the operator makes the pairs.
func (s *scope) keyRef() string {
	if sp := s.tenant.Spec.ServiceProvider; sp != nil && sp.KeySecretRef != nil {
		return sp.KeySecretRef.Name
	}
	return ""
}

// referredKey reads the pair that keySecretRef names; nil without it, and when
// it cannot be used, which keyProblem then tells.
func (r *SAMLTenantReconciler) referredKey(ctx context.Context, s *scope) (*keyPair, error) {
	name := s.keyRef()
	if name == "" {
		return nil, nil
	}
	secret, err := readSecret(ctx, r.Uncached, s.tenant, name)
	switch {
	case err != nil:
		return nil, err
	case secret == nil:
		s.keyProblem = fmt.Sprintf("there is no Secret %q, which keySecretRef names; create it with tls.key and tls.crt, or correct keySecretRef", name)
	case secret.Labels[tenantconfig.LabelTenant] != "":
		s.keyProblem = fmt.Sprintf("the Secret %q, which keySecretRef names, is a tenant's own, and no two may share a key; name another one, or remove keySecretRef", name)
	case secret.Type != corev1.SecretTypeTLS:
		s.keyProblem = fmt.Sprintf("the Secret %q, which keySecretRef names, is not of the type %s; create it anew with that type", name, corev1.SecretTypeTLS)
	default:
		pair, err := readPair(secret.Data, tenantconfig.FileKey, tenantconfig.FileCertificate)
		if err == nil {
			return pair, nil
		}
		s.keyProblem = fmt.Sprintf("the Secret %q, which keySecretRef names, cannot be used: %s; correct tls.key and tls.crt in it", name, err)
	}
	return nil, nil
}

// rotate brings the pairs to what they should be now; wanted is the pair to
// use, nil when the operator makes them or the one to use cannot be had.
func (s *scope) rotate(k *keys, wanted *keyPair, host string) error {
	action, due := spkey.Decide(s.keyState(*k, wanted), s.now)
	s.keyDue = due
	pair := wanted
	if pair == nil && (action == spkey.Adopt || action == spkey.Publish) {
		key, certificate, err := spkey.Generate(host, s.now)
		if err != nil {
			return err
		}
		pair = &keyPair{key: key, certificate: certificate}
		if pair.leaf, err = spkey.Certificate(key, certificate); err != nil {
			return err
		}
	}
	if s.keyProblem == "" {
		k.source = s.keyRef()
	}
	switch action {
	case spkey.Adopt:
		k.current, k.next, k.published = pair, nil, time.Time{}
	case spkey.Publish:
		k.next, k.published = pair, time.Time{}
	case spkey.Promote:
		k.current, k.next, k.published = k.next, nil, time.Time{}
	case spkey.Keep:
	}
	return nil
}

// keyState is what a rotation is decided on.
func (s *scope) keyState(k keys, wanted *keyPair) spkey.State {
	state := spkey.State{
		Published: k.published, Theirs: s.keyRef() != "", Disowned: s.keyRef() == "" && k.source != "",
		Requested: s.keyRequested(), Interval: s.keyInterval(), Overlap: s.keyOverlap(),
	}
	if k.current != nil {
		state.Current = k.current.leaf
	}
	if k.next != nil {
		state.Next = k.next.leaf
	}
	if wanted != nil {
		state.Wanted = wanted.leaf
	}
	return state
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
// To remove it, as GitOps tools do, asks for nothing. Without a status, as after
// a restore from a backup, nobody knows what was handled: what stands there is
// taken for old.
func (s *scope) keyRequested() bool {
	status, asked := s.tenant.Status.Key, s.annotation(v1alpha1.AnnotationRotateKeyRequestedAt)
	return status != nil && asked != "" && asked != status.LastHandledRotateAt
}

// describeKeys puts the pairs into the status.
func (s *scope) describeKeys() {
	k := s.keys
	status := &v1alpha1.KeyStatus{
		KeyPairStatus:       pairStatus(k.current.leaf),
		LastHandledRotateAt: s.annotation(v1alpha1.AnnotationRotateKeyRequestedAt),
	}
	state := s.keyState(k, nil)
	switch {
	case k.next == nil && !state.Theirs:
		status.NextRotationTime = &metav1.Time{Time: state.NextRotation()}
	case !k.published.IsZero():
		status.Next = &v1alpha1.NextKeyStatus{KeyPairStatus: pairStatus(k.next.leaf), SignsFrom: metav1.Time{Time: state.SignsFrom()}}
	}
	s.tellRotation(s.tenant.Status.Key, status)
	s.tenant.Status.Key = status
}

// tellRotation notes the Event of a step from one status to the next.
func (s *scope) tellRotation(before, after *v1alpha1.KeyStatus) {
	tell := func(action, text string) {
		s.notes = append(s.notes, note{corev1.EventTypeNormal, v1alpha1.EventKeyRotated, action, text})
	}
	next := ""
	if before != nil && before.Next != nil {
		next = before.Next.FingerprintSHA256
	}
	switch {
	case before == nil || before.FingerprintSHA256 == after.FingerprintSHA256:
	case after.FingerprintSHA256 == next:
		tell("Promote", "the next SP key has taken over; the one before signs and decrypts no longer")
	default:
		tell("Replace", "the SP has another certificate; give it, as it is in the SP metadata, to the identity provider")
	}
	if after.Next != nil && after.Next.FingerprintSHA256 != next {
		tell("Publish", fmt.Sprintf("the next SP key is in the SP metadata and takes over at %s; give its certificate to the identity provider before",
			after.Next.SignsFrom.UTC().Format(time.RFC3339)))
	}
}

func pairStatus(c *x509.Certificate) v1alpha1.KeyPairStatus {
	return v1alpha1.KeyPairStatus{
		FingerprintSHA256: idpmetadata.Fingerprint(c),
		NotBefore:         metav1.Time{Time: c.NotBefore}, NotAfter: metav1.Time{Time: c.NotAfter},
	}
}
