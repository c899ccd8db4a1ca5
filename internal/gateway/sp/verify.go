// Package sp is the SAML service provider's core: it verifies Responses and
// logout messages, and writes AuthnRequests and logout messages. It works on bytes and plain values, knows neither
// HTTP nor Kubernetes, does no I/O and keeps no state: replay protection and
// the pending requests belong to the caller.
package sp

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"slices"
	"time"
	"unicode"

	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// MaxResponseBytes is the size of the largest Response taken, decoded.
const MaxResponseBytes = 256 << 10

// messageLimits hold for a Response as it came, and for what was encrypted in it.
var messageLimits = xmltree.Limits{Bytes: MaxResponseBytes, Elements: 5000, Parts: 40_000}

// DefaultClockSkew is the skew that callers give to Expectations unless the
// tenant says otherwise.
const DefaultClockSkew = 180 * time.Second

// MaxAge is how old a Response and its assertion may be, by their
// IssueInstant, skew added. The IdP issues them when the user is done, however
// long that took, so they only travel through the browser.
const MaxAge = 5 * time.Minute

// StatusNoPassive is the status of an IdP that would have had to ask the user
// though the request forbade that [SAMLCore 3.2.2.2].
const StatusNoPassive = "urn:oasis:names:tc:SAML:2.0:status:NoPassive"

// StatusNoAuthnContext is the status of an IdP that cannot authenticate the
// user in the way that the request asked for [SAMLCore 3.2.2.2].
const StatusNoAuthnContext = "urn:oasis:names:tc:SAML:2.0:status:NoAuthnContext"

const (
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"

	bearerMethod = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	entityFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"

	maxNameIDBytes = 1024

	xmlSpace = " \t\r\n" // [XML 2.3]
)

// Expectations is what a Response has to fit. All of it comes from the
// tenant's configuration and from the browser's own pending requests, never
// from the message or from the HTTP request that carried it. It is only read,
// so one value may serve concurrent calls.
type Expectations struct {
	// EntityID is ours: an Audience must be equal to it, byte for byte.
	EntityID string
	// ACSURL must be equal to Recipient and Destination, byte for byte.
	ACSURL string
	// IDPEntityID must be equal to the Issuer, byte for byte.
	IDPEntityID string
	// SigningCertificates are the IdP's, parsed once by the caller. They are
	// pinned: no chain is built, but the validity period is enforced.
	SigningCertificates []*x509.Certificate
	// AcceptExpired takes signatures by those that have expired, too. They are as
	// hard to forge as ever; the tenant has asked for some time.
	AcceptExpired bool
	// RequestIDs are the outstanding AuthnRequests of this browser with this
	// tenant. Without any, every Response is refused as unsolicited, unless
	// AllowUnsolicited.
	RequestIDs []string
	// AllowUnsolicited also takes a Response to no request [SAMLProf 4.1.5]. It
	// must not name any, nowhere: an answer to a request of another browser does
	// not become one.
	AllowUnsolicited bool
	// AuthnContextClassRefs, unless empty, are the ways of authentication of
	// which the assertion must name one.
	AuthnContextClassRefs []string
	// WantEncrypted refuses an assertion that is not encrypted.
	WantEncrypted bool
	// Now is the time at which the Response arrived.
	Now time.Time
	// ClockSkew is tolerated between the IdP's clock and ours, both ways.
	ClockSkew time.Duration
	// DecryptionKeys open encrypted assertions, newest first; none refuses
	// them all.
	DecryptionKeys []*rsa.PrivateKey
}

// Assertion is what a verified Response says. Every field but ResponseID was
// covered by the signature of SigningCertificate.
type Assertion struct {
	ID         string
	ResponseID string
	// InResponseTo is the one of Expectations.RequestIDs that was answered,
	// empty if the Response is unsolicited.
	InResponseTo string
	Issuer       string
	NameID       NameID

	IssueInstant time.Time
	// NotOnOrAfter is from when on Verify refuses this assertion, skew
	// included: a replay store must remember ID until then. It is never more
	// than MaxAge and twice the skew away.
	NotOnOrAfter time.Time

	SessionIndex string
	AuthnInstant time.Time
	// SessionNotOnOrAfter is the end of the session that the IdP asks for,
	// zero when it asks for none.
	SessionNotOnOrAfter  time.Time
	AuthnContextClassRef string

	// Attributes are in the order of the message; a name may occur twice.
	Attributes []Attribute

	// SigningCertificate is the one whose key verified the signature: the
	// assertion's own signature if it has one, else that of the Response.
	SigningCertificate *x509.Certificate
}

// NameID is the subject's identifier [SAMLCore 2.2.2]. Value is exactly as
// sent: not trimmed, not normalized, and empty only when the Subject has no
// NameID, which [SAMLCore 2.4.1] allows.
type NameID struct {
	Value           string
	Format          string
	NameQualifier   string
	SPNameQualifier string
	SPProvidedID    string
}

// Attribute is one attribute with all its values in order [SAMLCore 2.7.3.1].
type Attribute struct {
	Name         string
	NameFormat   string
	FriendlyName string
	Values       []string
}

// DecodeResponse decodes the form value SAMLResponse of the HTTP-POST binding
// [SAMLBindings 3.5.4]. Line breaks within the base64 text are tolerated. The
// error is an *Error.
func DecodeResponse(form string) ([]byte, error) {
	return decodeForm(parameterResponse, form)
}

func decodeForm(parameter, form string) ([]byte, error) {
	// The decoder skips line breaks, so they count for the first limit only.
	if len(form) > 2*MaxResponseBytes {
		return nil, refuse(CodeTooLarge, "form value of %d bytes", len(form))
	}
	message, err := base64.StdEncoding.Strict().DecodeString(form)
	switch {
	case err != nil || len(message) == 0:
		return nil, refuse(CodeEncodingInvalid, "%s is not base64", parameter)
	case len(message) > MaxResponseBytes:
		return nil, refuse(CodeTooLarge, "message of %d bytes", len(message))
	}
	return message, nil
}

// Verify checks a Response (decoded XML) against want and returns what it
// says. The error is an *Error. It never panics, and its cost is bounded for
// any input.
func Verify(response []byte, want Expectations) (*Assertion, error) {
	return verify(response, want, nil)
}

func verify(response []byte, want Expectations, trace *Trace) (assertion *Assertion, err error) {
	defer func() {
		if recover() != nil {
			assertion, err = nil, refuse(CodeInternal, "panic while verifying")
		}
		trace.end(err)
	}()
	if want.EntityID == "" || want.ACSURL == "" || want.IDPEntityID == "" {
		return nil, refuse(CodeInternal, "incomplete expectations")
	}
	if len(want.SigningCertificates) == 0 {
		return nil, refuse(CodeNoTrustedCertificate, "the IdP has no usable signing certificate")
	}
	return verifier{want: want, trace: trace}.response(response)
}

// errDecryption is the answer to every encrypted assertion that nobody
// vouches for. Whoever knows the SP's certificate can send such ones, and an
// answer that told damaged padding from damaged XML from a damaged signature
// would let him decrypt what he has intercepted [XMLEnc 6.1].
var errDecryption = refuse(CodeDecryptionFailed, "the encrypted assertion cannot be used: "+
	"it may be for another key, by an algorithm that is not allowed, damaged, or not properly signed")

// tellable are the exceptions: they need a content whose digest fits, so one
// that decrypted intact. Without them a key rollover of an IdP that encrypts
// would look like damage.
var tellable = map[Code]bool{
	CodeUnknownSigningKey:      true,
	CodeSigningKeyWeak:         true,
	CodeCertificateExpired:     true,
	CodeCertificateNotYetValid: true,
}

// verifier holds what the steps of one verification compare with.
type verifier struct {
	want  Expectations
	trace *Trace // nil for none
}

// response is the order of the checks: is it a Response, has the IdP answered
// with success, does it hold one assertion, who signed the Response, is it
// for us, who signed the assertion, and what does that say. Until a signature
// is verified nothing read here does more than refuse.
func (v verifier) response(document []byte) (*Assertion, error) {
	v.trace.begin(CheckXML)
	response, err := xmltree.Parse(document, messageLimits)
	if err != nil {
		return nil, parseRefusal(err)
	}
	v.trace.begin(CheckStructure)
	if !response.Is(nsProtocol, "Response") {
		return nil, refuse(CodeStructureInvalid, "root element is %s, not a SAML 2.0 Response", quote(response.Local))
	}
	if err := checkShape(response, responseShape); err != nil {
		return nil, err
	}
	responseID, err := identity(response)
	if err != nil {
		return nil, err
	}
	v.trace.begin(CheckStatus)
	if err := checkStatus(response); err != nil {
		return nil, err
	}
	v.trace.begin(CheckOneAssertion)
	body, err := singleAssertion(response)
	if err != nil {
		return nil, err
	}
	if v.want.WantEncrypted {
		v.trace.begin(CheckEncrypted)
	}
	if v.want.WantEncrypted && body.Local != "EncryptedAssertion" {
		return nil, refuse(CodeNotEncrypted, "the assertion is not encrypted, and the tenant wants it to be; have the IdP encrypt it for the certificate in our metadata")
	}

	v.trace.begin(CheckResponseSignature)
	signer, err := v.signer(response)
	unknown := CodeOf(err) == CodeUnknownSigningKey
	switch {
	case unknown:
		v.trace.settle(ResultFailed)
	case err != nil:
		return nil, err
	case signer == nil:
		v.trace.settle(ResultAbsent)
	}
	request, refusal := v.checkResponse(response, signer != nil || unknown)
	switch {
	case refusal != nil:
		return nil, refusal
	case unknown:
		v.trace.settle(ResultPassed) // the check before: what failed is noted
		return nil, err
	}
	assertion, err := v.content(body, signer, request)
	switch {
	case err != nil && body.Local == "EncryptedAssertion" && signer == nil:
		return nil, renewable(err)
	case err != nil:
		return nil, err
	}
	assertion.ResponseID = responseID
	return assertion, nil
}

// content reads the assertion of a Response by that signer, nil if it is not
// signed.
func (v verifier) content(body *xmltree.Element, signer *x509.Certificate, request string) (_ *Assertion, err error) {
	signed, encrypted := signer != nil, body.Local == "EncryptedAssertion"
	if encrypted {
		v.trace.begin(CheckDecryption)
		if body, err = v.open(body); err != nil {
			return nil, errDecryption
		}
	}
	v.trace.begin(CheckAssertionSignature)
	own, err := v.signer(body)
	switch {
	case err != nil && encrypted && !signed && !tellable[CodeOf(err)]:
		v.trace.backTo(CheckDecryption)
		return nil, errDecryption
	case CodeOf(err) == CodeUnknownSigningKey:
		v.trace.settle(ResultFailed)
		if refusal := v.checkIssuer(body); refusal != nil {
			v.trace.begin(CheckAssertionIssuer)
			return nil, refusal
		}
		return nil, err
	case err != nil:
		return nil, err
	case own == nil && !signed && encrypted:
		v.trace.backTo(CheckDecryption)
		return nil, errDecryption
	case own == nil && !signed:
		return nil, refuse(CodeSignatureMissing, "neither the Response nor the assertion is signed")
	case own != nil:
		signer = own
	default:
		v.trace.settle(ResultAbsent) // that of the Response covers it
	}
	assertion, err := v.assertion(body, request)
	if err != nil {
		return nil, err
	}
	assertion.SigningCertificate = signer
	return assertion, nil
}

// checkStatus refuses every Status but Success.
func checkStatus(response *xmltree.Element) error {
	status := only(response, nsProtocol, "Status")
	if status == nil {
		return refuse(CodeStructureInvalid, "Response without Status")
	}
	code := only(status, nsProtocol, "StatusCode")
	if code == nil {
		return refuse(CodeStructureInvalid, "Status without StatusCode")
	}
	if value, _ := code.Attribute("Value"); value == StatusSuccess {
		return nil
	}
	return statusRefusal(status, code)
}

// statusRefusal tells what a Status with that outermost StatusCode says.
func statusRefusal(status, code *xmltree.Element) error {
	refusal := refuse(CodeStatusNotSuccess, "the IdP answered with an error")
	const maxCodes, maxCodeBytes, maxMessageBytes = 4, 200, 500
	for code != nil && len(refusal.StatusCodes) < maxCodes {
		value, _ := code.Attribute("Value")
		refusal.StatusCodes = append(refusal.StatusCodes, printable(value, maxCodeBytes))
		code = only(code, nsProtocol, "StatusCode")
	}
	if message := only(status, nsProtocol, "StatusMessage"); message != nil {
		refusal.StatusMessage = printable(message.DeepText(), maxMessageBytes)
	}
	return refusal
}

// singleAssertion returns the one Assertion or EncryptedAssertion of the
// Response. There must be none elsewhere, and no Signature but as a child of
// the Response or of the Assertion, whatever extension may hide it.
func singleAssertion(response *xmltree.Element) (*xmltree.Element, error) {
	var found *xmltree.Element
	count := 0
	for e := range response.All() {
		if e.Is(nsAssertion, "Assertion") || e.Is(nsAssertion, "EncryptedAssertion") {
			count++
			found = e
		}
	}
	if count != 1 || found.Parent != response {
		return nil, refuse(CodeAssertionCount, "the Response must hold exactly one assertion; found %d", count)
	}
	for e := range response.All() {
		if e.Is(xmldsig.Namespace, "Signature") && e.Parent != response && (e.Parent != found || found.Local != "Assertion") {
			return nil, refuse(CodeSignatureStructure, "Signature at an unexpected place")
		}
	}
	return found, nil
}

// open decrypts an EncryptedAssertion, of which the same holds as of the
// Response: no assertion nor Signature at an unexpected place.
func (v verifier) open(encrypted *xmltree.Element) (*xmltree.Element, error) {
	assertion, err := decrypt(encrypted, "Assertion", v.want.DecryptionKeys)
	if err != nil {
		return nil, err
	}
	for e := range assertion.All() {
		nested := e != assertion && (e.Is(nsAssertion, "Assertion") || e.Is(nsAssertion, "EncryptedAssertion"))
		if nested || e.Is(xmldsig.Namespace, "Signature") && e.Parent != assertion {
			return nil, errDecrypt
		}
	}
	return assertion, nil
}

// checkResponse checks the outer message [SAMLBindings 3.5.5.2, SAMLProf
// 4.1.4.2] and returns the request that it answers, "" if there is none.
func (v verifier) checkResponse(response *xmltree.Element, signed bool) (request string, err error) {
	v.trace.begin(CheckDestination)
	destination, ok := response.Attribute("Destination")
	switch {
	case !ok && signed:
		return "", refuse(CodeDestinationMissing, "signed Response without Destination")
	case ok && destination != v.want.ACSURL:
		return "", refuse(CodeDestinationMismatch, "Destination is %s, expected %s", quote(destination), quote(v.want.ACSURL))
	}
	if only(response, nsAssertion, "Issuer") != nil {
		v.trace.begin(CheckResponseIssuer)
		if err := v.checkIssuer(response); err != nil {
			return "", err
		}
	}
	v.trace.begin(CheckResponseAge)
	if _, err := v.issueInstant(response); err != nil {
		return "", err
	}
	v.trace.begin(CheckRequest)
	request, ok = response.Attribute("InResponseTo")
	switch {
	case !ok && v.want.AllowUnsolicited:
		return "", nil
	case !ok || request == "":
		return "", refuse(CodeUnsolicited, "the Response answers no request")
	case len(v.want.RequestIDs) == 0:
		return "", refuse(CodeUnsolicited, "the browser has no outstanding request")
	case !slices.Contains(v.want.RequestIDs, request):
		return "", refuse(CodeInResponseToMismatch, "InResponseTo is %s, which this browser did not request", quote(request))
	}
	return request, nil
}

func (v verifier) checkIssuer(e *xmltree.Element) error {
	issuer := only(e, nsAssertion, "Issuer")
	if issuer == nil {
		return refuse(CodeIssuerMismatch, "%s without Issuer", e.Local)
	}
	name, ok := issuer.Text()
	if !ok || name != v.want.IDPEntityID {
		return refuse(CodeIssuerMismatch, "Issuer of the %s is %s, expected %s", e.Local, quote(name), quote(v.want.IDPEntityID))
	}
	if format, ok := issuer.Attribute("Format"); ok && format != entityFormat {
		return refuse(CodeIssuerMismatch, "Issuer of the %s has the format %s", e.Local, quote(format))
	}
	return nil
}

func (v verifier) issueInstant(e *xmltree.Element) (time.Time, error) {
	instant, err := timeAttribute(e, "IssueInstant")
	switch {
	case err != nil:
		return time.Time{}, err
	case instant.IsZero():
		return time.Time{}, refuse(CodeIssueInstantInvalid, "%s without IssueInstant", e.Local)
	case v.future(instant):
		return time.Time{}, refuse(CodeIssueInstantInvalid, "%s issued in the future, at %s", e.Local, stamp(instant))
	case v.past(instant.Add(MaxAge)):
		return time.Time{}, refuse(CodeIssueInstantInvalid, "%s issued too long ago, at %s", e.Local, stamp(instant))
	}
	return instant, nil
}

// future tells whether t has not come yet, whatever the skew.
func (v verifier) future(t time.Time) bool {
	return t.After(v.want.Now.Add(v.want.ClockSkew))
}

// past tells whether t, when set, has come, whatever the skew.
func (v verifier) past(t time.Time) bool {
	return !t.IsZero() && !v.want.Now.Add(-v.want.ClockSkew).Before(t)
}

// timeAttribute returns zero when the attribute is absent. SAML's times are in
// UTC [SAMLCore 1.3.3], so one without a zone is too; an explicit offset is
// taken as well.
func timeAttribute(e *xmltree.Element, name string) (time.Time, error) {
	value, ok := e.Attribute(name)
	if !ok {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04:05", value)
	}
	if err != nil || t.IsZero() {
		return time.Time{}, refuse(CodeStructureInvalid, "%s of %s is no time: %s", name, e.Local, quote(value))
	}
	return t.UTC(), nil
}

// identity checks Version and returns ID, of a Response or an Assertion.
func identity(e *xmltree.Element) (string, error) {
	const maxIDBytes = 256
	if version, _ := e.Attribute("Version"); version != "2.0" {
		return "", refuse(CodeStructureInvalid, "%s of version %s", e.Local, quote(version))
	}
	id, _ := e.Attribute("ID")
	if id == "" || len(id) > maxIDBytes {
		return "", refuse(CodeStructureInvalid, "%s without ID, or with one of more than %d bytes", e.Local, maxIDBytes)
	}
	return id, nil
}

// shape lists the children that an element may have.
type shape []struct {
	space, local string
	once         bool
}

var (
	responseShape = shape{
		{nsAssertion, "Issuer", true},
		{xmldsig.Namespace, "Signature", true},
		{nsProtocol, "Extensions", true},
		{nsProtocol, "Status", true},
		{nsAssertion, "Assertion", false}, // counted by singleAssertion
		{nsAssertion, "EncryptedAssertion", false},
	}
	assertionShape = shape{
		{nsAssertion, "Issuer", true},
		{xmldsig.Namespace, "Signature", true},
		{nsAssertion, "Subject", true},
		{nsAssertion, "Conditions", true},
		{nsAssertion, "Advice", true},
		{nsAssertion, "AuthnStatement", false},
		{nsAssertion, "AttributeStatement", false},
		{nsAssertion, "AuthzDecisionStatement", false},
		{nsAssertion, "Statement", false},
	}
	subjectShape = shape{
		{nsAssertion, "NameID", true},
		{nsAssertion, "SubjectConfirmation", false},
	}
)

func checkShape(e *xmltree.Element, allowed shape) error {
	var seen uint
	for child := range e.Children() {
		at := -1
		for i := range allowed {
			if child.Is(allowed[i].space, allowed[i].local) {
				at = i
				break
			}
		}
		if at < 0 {
			return refuse(CodeStructureInvalid, "unexpected %s in %s", quote(child.Local), e.Local)
		}
		if allowed[at].once && seen&(1<<at) != 0 {
			return refuse(CodeStructureInvalid, "more than one %s in %s", child.Local, e.Local)
		}
		seen |= 1 << at
	}
	return nil
}

func parseRefusal(err error) error {
	code := CodeXMLMalformed
	switch {
	case errors.Is(err, xmltree.ErrTooLarge):
		code = CodeTooLarge
	case errors.Is(err, xmltree.ErrLimit):
		code = CodeXMLLimit
	case errors.Is(err, xmltree.ErrForbidden):
		code = CodeXMLForbidden
	}
	return refuse(code, "%v", err)
}

// invisible are control and format characters: NUL, line breaks, zero-width
// and bidirectional ones.
func invisible(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
