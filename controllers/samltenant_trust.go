package controllers

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/render"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

const (
	// expiringSoon is how long before its end a certificate is worth a word:
	// Entra ID begins to mail at 60 days and mails again at 30.
	expiringSoon = 30 * 24 * time.Hour
	// defaultRolloverGrace is for tenants that set none: Entra ID needs up to
	// ten minutes to sign with another key everywhere.
	defaultRolloverGrace = 30 * time.Minute
	// maxWithdrawn bounds what an identity provider that changes its keys all
	// the time can pile up.
	maxWithdrawn = 10
)

// withdrawn is a signing certificate that the metadata lists no longer.
type withdrawn struct {
	*x509.Certificate
	until time.Time
}

// takeOver makes idp, which was fetched and accepted, the one in use.
func (s *scope) takeOver(idp *idpmetadata.Descriptor) {
	status := &s.tenant.Status
	digest := idp.Digest()
	if s.idp == nil || s.idp.Digest() != digest {
		s.tellChange(idp)
		s.beginGrace(idp)
	}
	s.idp, s.unproven = idp, false
	status.RejectedDigest = ""
	status.IDP = &v1alpha1.IDPStatus{
		EntityID: idp.EntityID, SSOURL: render.SSOURL(idp), Digest: digest, Source: sourceOf(s.tenant),
		ETag: s.fetched.ETag, LastModified: s.fetched.LastModified,
	}
	if !idp.ValidUntil.IsZero() {
		status.IDP.ValidUntil = &metav1.Time{Time: idp.ValidUntil}
	}
	if idp.CacheDuration > 0 {
		status.IDP.CacheDuration = &metav1.Duration{Duration: idp.CacheDuration}
	}
	s.set(v1alpha1.ConditionMetadataAccepted, metav1.ConditionTrue, v1alpha1.ReasonSucceeded,
		fmt.Sprintf("the identity provider %s is trusted by its published signing certificates", idp.EntityID))
}

// tellChange notes what is new in idp.
func (s *scope) tellChange(idp *idpmetadata.Descriptor) {
	if s.idp != nil {
		s.notes = append(s.notes, note{corev1.EventTypeNormal, v1alpha1.EventMetadataChanged, "TakeOver",
			"the identity provider's metadata changed: " + certificateChange(s.idp.SigningCertificates, idp.SigningCertificates)})
		if before, after := host(render.SSOURL(s.idp)), host(render.SSOURL(idp)); before != after {
			s.notes = append(s.notes, note{corev1.EventTypeWarning, v1alpha1.EventSSOHostChanged, "TakeOver",
				fmt.Sprintf("users are now sent to the host %q to sign in, before to %q; ask the identity provider's administrator if that is unexpected", after, before)})
		}
	}
	if n := len(idp.DroppedCertificates); n > 0 {
		first := idp.DroppedCertificates[0]
		s.notes = append(s.notes, note{corev1.EventTypeWarning, v1alpha1.EventCertificateDropped, "Accept",
			fmt.Sprintf("%d of the identity provider's signing certificates are not used; the first, with the subject %q and the SHA-256 fingerprint %q, because %s", n, first.Subject, first.FingerprintSHA256, first.Reason)})
	}
}

func host(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	return u.Host
}

// beginGrace begins the grace of the certificates that idp lists no longer, and
// ends that of those which it lists again. The keys of another identity
// provider get none, nor do keys that only a Secret vouches for: what the status
// lists it vouches for, also when a write of the Secret failed.
func (s *scope) beginGrace(idp *idpmetadata.Descriptor) {
	if s.idp == nil || s.idp.EntityID != idp.EntityID {
		s.withdrawn = nil
		return
	}
	for _, c := range s.idp.SigningCertificates {
		until := s.now.Add(s.rolloverGrace())
		if s.unproven {
			i := slices.IndexFunc(s.tenant.Status.Certificates, func(listed v1alpha1.CertificateStatus) bool {
				return listed.FingerprintSHA256 == idpmetadata.Fingerprint(c)
			})
			if i < 0 {
				continue
			}
			if end := s.tenant.Status.Certificates[i].TrustedUntil; end != nil {
				until = end.Time
			}
		}
		s.withdrawn = append(s.withdrawn, withdrawn{c, until})
	}
	s.withdrawn = slices.DeleteFunc(s.withdrawn, func(w withdrawn) bool {
		return slices.ContainsFunc(idp.SigningCertificates, w.Equal)
	})
	if surplus := len(s.withdrawn) - maxWithdrawn; surplus > 0 {
		s.withdrawn = s.withdrawn[surplus:]
	}
}

func (s *scope) rolloverGrace() time.Duration {
	if grace := s.tenant.Spec.RolloverGrace; grace != nil {
		return grace.Duration
	}
	return defaultRolloverGrace
}

// loadWithdrawn reads back the certificates in their grace. The status vouches
// for each: one that only the Secret has is not trusted. When the operator was
// stopped between writing the Secret and the status, the grace of some has not
// been written down yet, and begins now.
func (s *scope) loadWithdrawn(files tenantconfig.Files) {
	until := map[string]time.Time{}
	for _, c := range s.tenant.Status.Certificates {
		switch {
		case c.TrustedUntil != nil:
			until[c.FingerprintSHA256] = c.TrustedUntil.Time
		case s.unproven:
			until[c.FingerprintSHA256] = s.now.Add(s.rolloverGrace())
		}
	}
	for _, c := range s.idp.SigningCertificates {
		delete(until, idpmetadata.Fingerprint(c))
	}
	if len(until) == 0 {
		return
	}
	for rest := files[tenantconfig.FileIDPSigning]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		if end, ok := until[idpmetadata.Fingerprint(c)]; ok {
			s.withdrawn = append(s.withdrawn, withdrawn{c, end})
		}
	}
}

// endGrace drops the certificates whose grace is over. A grace that the tenant
// has made shorter counts at once.
func (s *scope) endGrace() {
	latest := s.now.Add(s.rolloverGrace())
	kept := s.withdrawn[:0]
	for _, w := range s.withdrawn {
		if w.until.After(latest) {
			w.until = latest
		}
		if w.until.After(s.now) {
			kept = append(kept, w)
		}
	}
	s.withdrawn = kept
}

// withdrawnCertificates are trusted beside those that the metadata lists.
func (s *scope) withdrawnCertificates() []*x509.Certificate {
	var certificates []*x509.Certificate
	for _, w := range s.withdrawn {
		certificates = append(certificates, w.Certificate)
	}
	return certificates
}

// describeCertificates lists the certificates in use and judges the dates of
// those that the metadata lists.
func (s *scope) describeCertificates() {
	status := &s.tenant.Status
	before := status.Certificates
	status.Certificates = nil
	status.EarliestNotAfter = nil
	var (
		last    time.Time
		current bool
	)
	for _, c := range byExpiry(s.idp.SigningCertificates) {
		status.Certificates = append(status.Certificates, describe(c))
		if c.NotAfter.After(s.now) {
			last = c.NotAfter
			current = current || !c.NotBefore.After(s.now)
			if status.EarliestNotAfter == nil {
				status.EarliestNotAfter = &metav1.Time{Time: c.NotAfter}
			}
		}
	}
	for _, w := range s.withdrawn {
		d := describe(w.Certificate)
		d.TrustedUntil = &metav1.Time{Time: w.until}
		status.Certificates = append(status.Certificates, d)
	}
	if s.unproven {
		// The status vouches for no certificate that only a Secret tells of.
		status.Certificates = slices.DeleteFunc(status.Certificates, func(c v1alpha1.CertificateStatus) bool {
			return !slices.ContainsFunc(before, func(b v1alpha1.CertificateStatus) bool { return b.FingerprintSHA256 == c.FingerprintSHA256 })
		})
	}
	switch {
	case last.IsZero():
		s.set(v1alpha1.ConditionCertificatesValid, metav1.ConditionFalse, v1alpha1.ReasonAllExpired,
			"all signing certificates of the identity provider have expired, so no sign-in can be verified; the customer's administrator must activate a new one")
	case !current:
		s.set(v1alpha1.ConditionCertificatesValid, metav1.ConditionFalse, v1alpha1.ReasonNotYetValid,
			"no signing certificate of the identity provider is valid yet, so no sign-in can be verified; the customer's administrator must activate one that is")
	case last.Before(s.now.Add(expiringSoon)):
		s.set(v1alpha1.ConditionCertificatesValid, metav1.ConditionTrue, v1alpha1.ReasonExpiringSoon,
			"the last valid signing certificate of the identity provider expires within 30 days; ask the customer's administrator to add a new one")
	default:
		s.set(v1alpha1.ConditionCertificatesValid, metav1.ConditionTrue, v1alpha1.ReasonValid,
			"a signing certificate of the identity provider is valid for more than 30 days")
	}
}

func byExpiry(certificates []*x509.Certificate) []*x509.Certificate {
	return slices.SortedStableFunc(slices.Values(certificates), func(a, b *x509.Certificate) int {
		return a.NotAfter.Compare(b.NotAfter)
	})
}

func describe(c *x509.Certificate) v1alpha1.CertificateStatus {
	return v1alpha1.CertificateStatus{
		FingerprintSHA256: idpmetadata.Fingerprint(c), Subject: idpmetadata.Subject(c),
		NotBefore: metav1.Time{Time: c.NotBefore}, NotAfter: metav1.Time{Time: c.NotAfter},
	}
}

// certificateChange says in words which certificates came and went.
func certificateChange(before, after []*x509.Certificate) string {
	const named = 4
	missing := func(from, in []*x509.Certificate) (n []string) {
		more := 0
		for _, c := range from {
			switch {
			case slices.ContainsFunc(in, c.Equal):
			case len(n) < named:
				n = append(n, idpmetadata.Fingerprint(c)[:16]+"…")
			default:
				more++
			}
		}
		if more > 0 {
			n = append(n, fmt.Sprintf("%d more", more))
		}
		return n
	}
	var parts []string
	if added := missing(after, before); len(added) > 0 {
		parts = append(parts, "added signing certificate "+strings.Join(added, ", "))
	}
	if removed := missing(before, after); len(removed) > 0 {
		parts = append(parts, "removed signing certificate "+strings.Join(removed, ", "))
	}
	if len(parts) == 0 {
		return "endpoints or formats differ"
	}
	return strings.Join(parts, "; ")
}
