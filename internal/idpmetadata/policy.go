package idpmetadata

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

const (
	maxLocation = 2048 // bytes

	// maxSigningCertificates leaves room for any rollover: no real document
	// known has more than four. They are listed in the tenant's status.
	maxSigningCertificates = 10
	// maxAccepted is the size of the marshalled descriptor, in bytes. It goes
	// into a Secret, which holds 1 MiB, and parts of it twice.
	maxAccepted = 256 << 10
)

// Requirements are what metadata is held against.
type Requirements struct {
	// EntityID is the one the tenant's spec asks for; it may be empty.
	EntityID string
	// PreviousEntityID is the one accepted before, which stays in force while
	// EntityID is empty; it is empty at the first acceptance.
	PreviousEntityID string
	// AcceptDigest accepts, in spite of PreviousEntityID, the document of a
	// single IdP whose descriptor has this digest: an administrator has learned
	// it from the refusal, as [Error].Digest. Nothing else is waived.
	AcceptDigest string
	// Signers are those of whom one must have signed the document, or the
	// EntityDescriptor that is used; without any, signatures are not looked at.
	// They are pinned as keys, so their certificates may have expired or not
	// be valid yet. [ParseSigners] reads them.
	Signers []*x509.Certificate
	// Now is the time to compare validUntil with.
	Now time.Time
}

// Accept reads the document and returns what it says of the IdP if that can
// be trusted for sign-ins. Endpoints that are not https are left out of the
// result. Expired certificates are no reason to refuse: whether any is valid
// changes with time, not with the document. Errors are of type [*Error].
func Accept(document []byte, requirements Requirements) (*Descriptor, error) {
	wanted := requirements.EntityID
	if wanted == "" {
		wanted = requirements.PreviousEntityID
	}
	// This comes first, to say what is wrong with a document that is not
	// metadata at all.
	c, err := read(document, wanted)
	if err != nil {
		return nil, err
	}
	if len(requirements.Signers) > 0 {
		if document, err = covered(document, wanted, requirements.Signers); err != nil {
			return nil, err
		}
		if c, err = read(document, wanted); err != nil {
			return nil, err
		}
	}
	c.Specified = requirements.EntityID != ""
	c.Now = requirements.Now
	if c.Fitting == 0 && c.IDPs == 1 && !c.Specified {
		return acceptReplacement(document, c, requirements.AcceptDigest)
	}
	return judge(c)
}

// acceptReplacement is for a document of another IdP than before, which only
// an administrator can accept.
func acceptReplacement(document []byte, c candidate, digest string) (*Descriptor, error) {
	other, err := read(document, "")
	if err != nil {
		return nil, err
	}
	other.Now = c.Now
	d, err := judge(other)
	var refusal *Error
	switch {
	case err == nil:
		c.Digest = d.Digest()
	case errors.As(err, &refusal):
		c.Digest = refusal.Digest
	}
	if c.Digest != "" && c.Digest == digest {
		return d, err
	}
	refusal = check(c, identity)
	refusal.Digest = c.Digest
	return nil, refusal
}

// judge returns the descriptor of the IdP in question if it can be trusted.
func judge(c candidate) (*Descriptor, error) {
	if refusal := check(c, identity); refusal != nil {
		return nil, refusal
	}
	var err error
	if c.Descriptor, err = c.found.descriptor(); err != nil {
		return nil, err
	}
	accepted := *c.Descriptor
	accepted.SSO = secureEndpoints(accepted.SSO)
	accepted.SLO = secureEndpoints(accepted.SLO)
	refusal := check(c, fitness)
	if refusal == nil {
		refusal = tooLong(&accepted)
	}
	if refusal != nil {
		refusal.Digest = accepted.Digest()
		return nil, refusal
	}
	return &accepted, nil
}

func tooLong(d *Descriptor) *Error {
	rendered, err := d.Marshal()
	if err != nil {
		return fail(ParseFailed, err, "what the metadata says of the IdP cannot be written again; check the document at its source")
	}
	if len(rendered) > maxAccepted {
		return tooComplex("the IdP's endpoints, certificates and formats take too much room")
	}
	return nil
}

// candidate is what the policies judge.
type candidate struct {
	Wanted    string // entity ID to pick and pin, or empty
	Specified bool   // Wanted comes from the spec, not from what was accepted before
	Digest    string // of the only IdP, if it is another and could be read

	IDPs    int      // entities with an IdP role of any protocol
	Sample  []string // distinct entity IDs of the first of them
	Fitting int      // those that fit Wanted
	found   entity   // the first of those

	Descriptor *Descriptor // of found
	Now        time.Time
}

// policy judges one thing. The message says the cause and the next step.
type policy func(candidate) (reason Reason, message string, violated bool)

var (
	// identity finds the one IdP in question.
	identity = []policy{hasIDPRole, matchesEntityID, isUnambiguous, speaksSAML2}
	// fitness says whether that IdP can be trusted for sign-ins.
	fitness = []policy{namesOneTenant, hasSecureSignOn, hasSigningCertificate, hasFewSigningCertificates, isNotExpired}
)

// check returns the first violation, or nil.
func check(c candidate, chain []policy) *Error {
	for _, p := range chain {
		if reason, message, violated := p(c); violated {
			return fail(reason, nil, "%s", message)
		}
	}
	return nil
}

func hasIDPRole(c candidate) (Reason, string, bool) {
	return NoIDPRole, "the metadata describes no IdP, since it has no IDPSSODescriptor; use the metadata of the IdP, not of a service provider", c.IDPs == 0
}

func matchesEntityID(c candidate) (Reason, string, bool) {
	others := fmt.Sprintf("%d others, such as %s", c.IDPs, quoteAll(c.Sample))
	if c.IDPs == 1 {
		others = quoteAll(c.Sample)
	}
	next := "; if the IdP was really replaced, set idpEntityID to the new entity ID, else correct the metadata source"
	switch {
	case c.Specified:
		next = "; correct idpEntityID or the metadata source"
	case c.Digest != "":
		next = "; if the IdP was really replaced, set idpEntityID to the new entity ID or the annotation sso.cequence.cloud/accept-metadata to " + c.Digest + ", else correct the metadata source"
	}
	// The next step must not be cut off, however long the names are.
	cause := cut(fmt.Sprintf("the metadata does not describe the IdP %s but %s", quote(c.Wanted), others), maxMessage-len(next))
	return EntityIDMismatch, cause + next, c.Fitting == 0
}

func isUnambiguous(c candidate) (Reason, string, bool) {
	message := fmt.Sprintf("the metadata describes %d IdPs, such as %s; set idpEntityID to the one that is meant", c.IDPs, quoteAll(c.Sample))
	if c.Wanted != "" || len(c.Sample) == 1 {
		message = fmt.Sprintf("the metadata describes the IdP %s %d times; have the duplicates removed at its source", quote(c.found.id), c.Fitting)
	}
	return AmbiguousEntity, message, c.Fitting > 1
}

func speaksSAML2(c candidate) (Reason, string, bool) {
	return NoIDPRole, fmt.Sprintf("the IdP %s declares no support for SAML 2.0 in its IDPSSODescriptor; enable SAML 2.0 at the IdP or use its SAML 2.0 metadata", quote(c.found.id)), !c.found.saml2
}

// namesOneTenant refuses Entra ID's tenant-independent document: a template
// matches no issuer, or every directory.
func namesOneTenant(c candidate) (Reason, string, bool) {
	id := c.Descriptor.EntityID
	return EntityIDMismatch, fmt.Sprintf("the entity ID %s is a template for every tenant of the IdP; use the app-specific federation metadata URL, which holds the directory ID and ?appid=", quote(id)), strings.ContainsAny(id, "{}")
}

func hasSecureSignOn(c candidate) (Reason, string, bool) {
	sso := c.Descriptor.SSO
	switch {
	case len(sso) == 0:
		return InsecureEndpoint, "the IdP has no single sign-on endpoint with the HTTP-Redirect or HTTP-POST binding; enable one of them at the IdP", true
	case !slices.ContainsFunc(sso, func(e Endpoint) bool { return hasScheme(e.Location, "http") }):
		return InsecureEndpoint, "no single sign-on endpoint of the IdP has a Location that is a complete https URL; correct the metadata at the IdP", len(secureEndpoints(sso)) == 0
	}
	return InsecureEndpoint, "the IdP's single sign-on endpoints are http, not https; serve the IdP over https and publish that in its metadata", len(secureEndpoints(sso)) == 0
}

func hasSigningCertificate(c candidate) (Reason, string, bool) {
	d := c.Descriptor
	if len(d.DroppedCertificates) == 0 {
		return NoSigningCertificate, "the metadata holds no signing certificate of the IdP in a KeyDescriptor for signing; publish one as X509Certificate", len(d.SigningCertificates) == 0
	}
	var problems []string
	for _, dropped := range d.DroppedCertificates {
		if !slices.Contains(problems, dropped.Reason) && len(problems) < maxSample {
			problems = append(problems, dropped.Reason)
		}
	}
	return NoSigningCertificate, fmt.Sprintf("the metadata holds no usable signing certificate of the IdP (%s); publish another one at the IdP", strings.Join(problems, "; ")), len(d.SigningCertificates) == 0
}

// hasFewSigningCertificates keeps the number of keys that can vouch for users,
// and the room they take, within reason. The reason is that of other documents
// that list too much: NoSigningCertificate would say the opposite.
func hasFewSigningCertificates(c candidate) (Reason, string, bool) {
	return ParseFailed, fmt.Sprintf("the IdP publishes more than %d signing certificates, any of which could sign users in; ask the IdP's administrator to remove those that are no longer used", maxSigningCertificates), len(c.Descriptor.SigningCertificates) > maxSigningCertificates
}

func isNotExpired(c candidate) (Reason, string, bool) {
	until := c.Descriptor.ValidUntil
	return Expired, fmt.Sprintf("the metadata was valid until %s; have the IdP publish it anew or provide a newer copy", until.Format(time.RFC3339)), !until.IsZero() && !c.Now.Before(until)
}

func secureEndpoints(endpoints []Endpoint) []Endpoint {
	var secure []Endpoint
	for _, e := range endpoints {
		if isSecure(e.Location) && (e.ResponseLocation == "" || isSecure(e.ResponseLocation)) {
			secure = append(secure, e)
		}
	}
	return secure
}

// isSecure reports whether a browser may be sent to the location: a complete
// https URL without anything that could break out of a header or a form.
func isSecure(location string) bool {
	if len(location) > maxLocation || strings.ContainsFunc(location, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`"<>\`, r)
	}) {
		return false
	}
	u, err := url.Parse(location)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && u.Fragment == ""
}

func hasScheme(location, scheme string) bool {
	u, err := url.Parse(location)
	return err == nil && u.Scheme == scheme
}
