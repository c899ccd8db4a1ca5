package sp

import (
	"crypto/rsa"
	"crypto/x509"
	"strings"
	"time"

	"cequence.cloud/saml-operator/internal/xmldsig"
	"cequence.cloud/saml-operator/internal/xmltree"
)

// The statuses that we answer with, and want to read [SAMLCore 3.2.2.2].
const (
	StatusSuccess   = "urn:oasis:names:tc:SAML:2.0:status:Success"
	StatusRequester = "urn:oasis:names:tc:SAML:2.0:status:Requester"
	StatusResponder = "urn:oasis:names:tc:SAML:2.0:status:Responder"
)

const (
	// Entra ID has two names [Entra ID, Single Sign-Out SAML Protocol].
	entraIssuer       = "https://sts.windows.net/"
	entraLogoutIssuer = "https://login.microsoftonline.com/"
)

// LogoutExpectations is what a logout message has to fit, as Expectations are
// for a Response.
type LogoutExpectations struct {
	// SLOURL must be equal to Destination, byte for byte.
	SLOURL              string
	IDPEntityID         string
	SigningCertificates []*x509.Certificate
	// AcceptExpired is as in Expectations.
	AcceptExpired bool
	Now           time.Time
	ClockSkew     time.Duration
	// DecryptionKeys open encrypted NameIDs, newest first.
	DecryptionKeys []*rsa.PrivateKey
}

// LogoutRequest asks to end a user's sessions [SAMLCore 3.7.1].
type LogoutRequest struct {
	ID           string
	IssueInstant time.Time
	// NotOnOrAfter, in one from VerifyLogoutRequest, is from when on that
	// refuses it, skew included: ID must be remembered until then.
	NotOnOrAfter time.Time
	Issuer       string
	Destination  string
	NameID       NameID
	// SessionIndexes name the sessions; none means all.
	SessionIndexes []string
}

// LogoutResponse answers a LogoutRequest [SAMLCore 3.7.2].
type LogoutResponse struct {
	ID           string
	IssueInstant time.Time
	Issuer       string
	Destination  string
	InResponseTo string
	Status       string
	// Signed: a trusted key vouches for one from VerifyLogoutResponse.
	Signed bool
}

var errLogoutUnsigned = refuse(CodeSignatureMissing, "the LogoutRequest is not signed")

// VerifyLogoutRequest checks a request of the IdP and returns what it says.
// One that is not signed is refused. The error is an *Error.
func VerifyLogoutRequest(m *LogoutMessage, want LogoutExpectations) (request *LogoutRequest, err error) {
	defer func() {
		if recover() != nil {
			request, err = nil, refuse(CodeInternal, "panic while verifying")
		}
	}()
	v, err := want.verifier()
	if err != nil {
		return nil, err
	}
	if m.query != nil && !m.query.signed {
		return nil, errLogoutUnsigned
	}
	root, signed, err := v.logoutMessage(m, "LogoutRequest", logoutRequestShape)
	switch {
	case err != nil:
		return nil, err
	case !signed:
		return nil, errLogoutUnsigned
	}
	request = &LogoutRequest{Issuer: want.IDPEntityID, Destination: want.SLOURL}
	if request.ID, err = identity(root); err != nil {
		return nil, err
	}
	if err := v.checkIssuer(root); err != nil {
		return nil, err
	}
	// It might have been sent to somebody else who trusts this IdP.
	if destination, _ := root.Attribute("Destination"); destination != want.SLOURL {
		return nil, destinationRefusal(destination, want.SLOURL)
	}
	if request.IssueInstant, err = v.issueInstant(root); err != nil {
		return nil, err
	}
	request.NotOnOrAfter = request.IssueInstant.Add(MaxAge)
	end, err := timeAttribute(root, "NotOnOrAfter")
	switch {
	case err != nil:
		return nil, err
	case v.past(end):
		return nil, refuse(CodeExpired, "the LogoutRequest was valid until %s, now it is %s", stamp(end), stamp(want.Now))
	case !end.IsZero() && end.Before(request.NotOnOrAfter):
		request.NotOnOrAfter = end
	}
	request.NotOnOrAfter = request.NotOnOrAfter.Add(want.ClockSkew)

	if request.NameID, err = v.logoutNameID(root); err != nil {
		return nil, err
	}
	for e := range root.Named(nsProtocol, "SessionIndex") {
		index, ok := e.Text()
		if !ok {
			return nil, refuse(CodeStructureInvalid, "SessionIndex with inner elements")
		}
		if index != "" {
			request.SessionIndexes = append(request.SessionIndexes, index)
		}
	}
	return request, nil
}

// VerifyLogoutResponse checks that m answers the request of that ID, and that
// the IdP has ended all sessions. It may be unsigned, so it must decide about
// nothing. The error is an *Error.
func VerifyLogoutResponse(m *LogoutMessage, requestID string, want LogoutExpectations) (response *LogoutResponse, err error) {
	defer func() {
		if recover() != nil {
			response, err = nil, refuse(CodeInternal, "panic while verifying")
		}
	}()
	v, err := want.verifier()
	if err != nil {
		return nil, err
	}
	if requestID == "" {
		return nil, refuse(CodeUnsolicited, "the browser has no outstanding LogoutRequest")
	}
	root, signed, err := v.logoutMessage(m, "LogoutResponse", logoutResponseShape)
	if err != nil {
		return nil, err
	}
	response = &LogoutResponse{InResponseTo: requestID, Status: StatusSuccess, Signed: signed}
	if response.ID, err = identity(root); err != nil {
		return nil, err
	}
	if response.Issuer, err = v.logoutIssuer(root); err != nil {
		return nil, err
	}
	// Entra ID may leave it out. InResponseTo says as well that it is for us.
	if destination, ok := root.Attribute("Destination"); ok && destination != want.SLOURL {
		return nil, destinationRefusal(destination, want.SLOURL)
	} else if ok {
		response.Destination = destination
	}
	if response.IssueInstant, err = v.issueInstant(root); err != nil {
		return nil, err
	}
	if answered, _ := root.Attribute("InResponseTo"); answered != requestID {
		return nil, refuse(CodeInResponseToMismatch, "InResponseTo is %s, which this browser did not request", quote(answered))
	}
	if err := checkStatus(root); err != nil {
		return nil, err
	}
	// Success may come with a second code: PartialLogout [SAMLCore 3.7.3.2].
	status := only(root, nsProtocol, "Status")
	if code := only(status, nsProtocol, "StatusCode"); only(code, nsProtocol, "StatusCode") != nil {
		return nil, statusRefusal(status, code)
	}
	return response, nil
}

// logoutNameID returns the NameID of a request whose signature is verified, so
// that nobody but the IdP learns what decrypts.
func (v verifier) logoutNameID(root *xmltree.Element) (NameID, error) {
	plain, encrypted := only(root, nsAssertion, "NameID"), only(root, nsAssertion, "EncryptedID")
	switch {
	case plain != nil && encrypted != nil:
		return NameID{}, refuse(CodeStructureInvalid, "LogoutRequest with two NameIDs")
	case encrypted != nil:
		var err error
		if plain, err = decrypt(encrypted, "NameID", v.want.DecryptionKeys); err != nil {
			return NameID{}, refuse(CodeDecryptionFailed, "the encrypted NameID cannot be used")
		}
	case plain == nil:
		return NameID{}, refuse(CodeNameIDMissing, "LogoutRequest without NameID")
	}
	return readNameID(plain)
}

func (want LogoutExpectations) verifier() (verifier, error) {
	if want.SLOURL == "" || want.IDPEntityID == "" {
		return verifier{}, refuse(CodeInternal, "incomplete expectations")
	}
	if len(want.SigningCertificates) == 0 {
		return verifier{}, refuse(CodeNoTrustedCertificate, "the IdP has no usable signing certificate")
	}
	return verifier{want: Expectations{
		IDPEntityID: want.IDPEntityID, SigningCertificates: want.SigningCertificates, AcceptExpired: want.AcceptExpired, Now: want.Now, ClockSkew: want.ClockSkew,
		DecryptionKeys: want.DecryptionKeys,
	}}, nil
}

var (
	logoutRequestShape = shape{
		{nsAssertion, "Issuer", true},
		{xmldsig.Namespace, "Signature", true},
		{nsProtocol, "Extensions", true},
		{nsAssertion, "NameID", true},
		{nsAssertion, "EncryptedID", true},
		{nsProtocol, "SessionIndex", false},
	}
	logoutResponseShape = shape{
		{nsAssertion, "Issuer", true},
		{xmldsig.Namespace, "Signature", true},
		{nsProtocol, "Extensions", true},
		{nsProtocol, "Status", true},
	}
)

// logoutMessage reads the message, and says whether a trusted key has signed
// it. A signature that does not hold is an error, never none. That of a query
// is checked before anything is inflated.
func (v verifier) logoutMessage(m *LogoutMessage, name string, allowed shape) (root *xmltree.Element, signed bool, err error) {
	if m.Response != (name == "LogoutResponse") {
		return nil, false, refuse(CodeStructureInvalid, "a %s in the other parameter", name)
	}
	document := m.encoded
	if m.query != nil {
		if signed, err = v.querySigned(m.query); err != nil {
			return nil, false, err
		}
		if document, err = inflate(m.encoded); err != nil {
			return nil, false, err
		}
	}
	if root, err = xmltree.Parse(document, messageLimits); err != nil {
		return nil, false, parseRefusal(err)
	}
	if !root.Is(nsProtocol, name) {
		return nil, false, refuse(CodeStructureInvalid, "root element is %s, not a SAML 2.0 %s", quote(root.Local), name)
	}
	if err := checkShape(root, allowed); err != nil {
		return nil, false, err
	}
	for e := range root.All() {
		// A query has no place for it [SAMLBindings 3.4.4.1].
		if e.Is(xmldsig.Namespace, "Signature") && (e.Parent != root || m.query != nil) {
			return nil, false, refuse(CodeSignatureStructure, "Signature at an unexpected place")
		}
	}
	if m.query == nil {
		signer, err := v.signer(root)
		if err != nil {
			return nil, false, err
		}
		signed = signer != nil
	}
	return root, signed, nil
}

// logoutIssuer returns the issuer of a LogoutResponse, which at Entra ID may
// be another than that of assertions.
func (v verifier) logoutIssuer(root *xmltree.Element) (string, error) {
	refusal := v.checkIssuer(root)
	if refusal == nil {
		return v.want.IDPEntityID, nil
	}
	directory, entra := strings.CutPrefix(v.want.IDPEntityID, entraIssuer)
	if !entra {
		return "", refusal
	}
	v.want.IDPEntityID = entraLogoutIssuer + directory
	if v.checkIssuer(root) != nil {
		return "", refusal
	}
	return v.want.IDPEntityID, nil
}

func destinationRefusal(got, want string) error {
	if got == "" {
		return refuse(CodeDestinationMissing, "logout message without Destination")
	}
	return refuse(CodeDestinationMismatch, "Destination is %s, expected %s", quote(got), quote(want))
}
