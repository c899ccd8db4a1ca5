package testidp

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	// maxRequestBytes bounds an AuthnRequest as XML.
	maxRequestBytes = 256 << 10

	algRSASHA256 = dsig.RSASHA256SignatureMethod
	// triedCertificates are how many are tried for a request, the newest.
	triedCertificates = 2

	acPassword                   = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
	acPasswordProtectedTransport = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
	acUnspecified                = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"
)

// refusal is an error page of the IdP. The code is one of Entra ID's.
type refusal struct {
	code    string
	message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(code, format string, args ...any) error {
	return &refusal{code: code, message: fmt.Sprintf(format, args...)}
}

// The codes of Entra ID that this IdP uses.
const (
	codeReplyURL     = "AADSTS50011"
	codeNotSignedIn  = "AADSTS50058"
	codePassword     = "AADSTS50126"
	codeUnknownApp   = "AADSTS700016"
	codeNoMessage    = "AADSTS750054"
	codeUnsupported  = "AADSTS75005"
	codeAuthnContext = "AADSTS75011"
	codeNameIDPolicy = "AADSTS75016"
	codeNotSigned    = "AADSTS76021"
	codeNameID       = "AADSTS7500530"
)

// authnRequest holds what Entra ID looks at: it ignores Destination, Consent,
// ProviderName and Conditions, and does not evaluate IssueInstant.
type authnRequest struct {
	XMLName      xml.Name  `xml:"urn:oasis:names:tc:SAML:2.0:protocol AuthnRequest"`
	ID           string    `xml:",attr"`
	Version      string    `xml:",attr"`
	IssueInstant string    `xml:",attr"`
	ACSURL       string    `xml:"AssertionConsumerServiceURL,attr"`
	IsPassive    bool      `xml:",attr"`
	Issuer       string    `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	Subject      *struct{} `xml:"urn:oasis:names:tc:SAML:2.0:assertion Subject"`
	NameIDPolicy struct {
		Format string `xml:",attr"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:protocol NameIDPolicy"`
	RequestedAuthnContext *struct {
		Comparison string   `xml:",attr"`
		ClassRefs  []string `xml:"urn:oasis:names:tc:SAML:2.0:assertion AuthnContextClassRef"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:protocol RequestedAuthnContext"`
	Scoping *struct {
		ProxyCount  string     `xml:",attr"`
		IDPList     *struct{}  `xml:"urn:oasis:names:tc:SAML:2.0:protocol IDPList"`
		RequesterID []struct{} `xml:"urn:oasis:names:tc:SAML:2.0:protocol RequesterID"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:protocol Scoping"`
}

// pendingRequest waits for the user's password.
type pendingRequest struct {
	id              string
	serviceProvider string
	acsURL          string
	relayState      string
	nameIDFormat    string
	passive         bool
}

// receive reads, verifies and judges an AuthnRequest of either binding. Its
// errors are refusals.
func (p *IDP) receive(r *http.Request) (pendingRequest, error) {
	document, relayState, verify, err := readMessage(r)
	if err != nil {
		return pendingRequest{}, err
	}
	var req authnRequest
	if err := xml.Unmarshal(document, &req); err != nil {
		return pendingRequest{}, refuse(codeUnsupported, "The request is not a valid SAML 2.0 AuthnRequest: %v.", err)
	}
	if err := req.check(); err != nil {
		return pendingRequest{}, err
	}
	sp, known := p.serviceProvider(req.Issuer)
	if !known {
		return pendingRequest{}, refuse(codeUnknownApp, "Application with identifier '%s' was not found in the directory '%s'.", req.Issuer, p.tenantID)
	}
	if certificates := sp.VerificationCertificates; len(certificates) > 0 {
		if err := verify(certificates[max(0, len(certificates)-triedCertificates):]); err != nil {
			return pendingRequest{}, err
		}
	}
	acsURL, err := replyURL(req, sp)
	if err != nil {
		return pendingRequest{}, err
	}
	return pendingRequest{
		id: req.ID, serviceProvider: req.Issuer, acsURL: acsURL, relayState: relayState,
		nameIDFormat: req.NameIDPolicy.Format, passive: req.IsPassive,
	}, nil
}

// check applies the rules of Entra ID that need no registration.
func (r authnRequest) check() error {
	switch {
	case r.ID == "" || strings.ContainsAny(r.ID[:1], "0123456789"):
		return refuse(codeUnsupported, "The ID of the request is missing or begins with a digit.")
	case r.Version != "2.0":
		return refuse(codeUnsupported, "The version of the request is not 2.0.")
	case r.IssueInstant == "":
		return refuse(codeUnsupported, "The request has no IssueInstant.")
	case r.Issuer == "":
		return refuse(codeUnsupported, "The request has no Issuer.")
	case r.Subject != nil:
		return refuse(codeUnsupported, "The request contains a Subject, which is not supported.")
	case r.Scoping != nil && (r.Scoping.ProxyCount != "" || r.Scoping.IDPList != nil || len(r.Scoping.RequesterID) > 0):
		return refuse(codeUnsupported, "The Scoping of the request contains a ProxyCount, an IDPList or a RequesterID, which are not supported.")
	}
	formats := []string{"", nameIDEmailAddress, nameIDUnspecified, nameIDPersistent, nameIDTransient}
	if !slices.Contains(formats, r.NameIDPolicy.Format) {
		return refuse(codeNameIDPolicy, "The request contains the unsupported NameIDPolicy format '%s'.", r.NameIDPolicy.Format)
	}
	return r.checkAuthnContext()
}

// checkAuthnContext: this IdP authenticates by password, over TLS or not.
func (r authnRequest) checkAuthnContext() error {
	if r.RequestedAuthnContext == nil {
		return nil
	}
	if c := r.RequestedAuthnContext.Comparison; c != "" && c != "exact" {
		return refuse(codeUnsupported, "The comparison '%s' of the RequestedAuthnContext is not supported, only 'exact' is.", c)
	}
	for _, class := range r.RequestedAuthnContext.ClassRefs {
		if class == acPassword || class == acPasswordProtectedTransport || class == acUnspecified {
			return nil
		}
	}
	return refuse(codeAuthnContext, "The authentication method 'Password' by which the user authenticated does not match the requested method.")
}

func replyURL(req authnRequest, sp ServiceProvider) (string, error) {
	if sp.ACSURL != "" {
		if req.ACSURL != "" && req.ACSURL != sp.ACSURL {
			return "", refuse(codeReplyURL, "The reply URL '%s' specified in the request does not match the reply URLs configured for the application '%s'.", req.ACSURL, req.Issuer)
		}
		return sp.ACSURL, nil
	}
	u, err := url.Parse(req.ACSURL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return "", refuse(codeReplyURL, "The request names no reply URL, and none is configured for the application '%s'.", req.Issuer)
	}
	return req.ACSURL, nil
}

// readMessage takes the AuthnRequest out of a binding and returns it with its
// RelayState and a function that verifies the signature of that binding.
func readMessage(r *http.Request) (document []byte, relayState string, verify func([]*x509.Certificate) error, err error) {
	if r.Method == http.MethodPost {
		return readPOST(r)
	}
	return readRedirect(r, "SAMLRequest")
}

// readRedirect reads the HTTP Redirect binding [SAMLBind 3.4.4.1], whose
// message is in that parameter.
func readRedirect(r *http.Request, parameter string) ([]byte, string, func([]*x509.Certificate) error, error) {
	raw, err := rawQuery(r.URL.RawQuery)
	if err != nil {
		return nil, "", nil, err
	}
	query := r.URL.Query()
	message := query.Get(parameter)
	if message == "" {
		return nil, "", nil, refuse(codeNoMessage, "%s must be present as a query string parameter in an HTTP request of the SAML Redirect binding.", parameter)
	}
	compressed, err := base64.StdEncoding.DecodeString(message)
	if err != nil {
		return nil, "", nil, refuse(codeUnsupported, "The %s is not base64.", parameter)
	}
	inflater := flate.NewReader(bytes.NewReader(compressed))
	document, err := io.ReadAll(io.LimitReader(inflater, maxRequestBytes+1))
	if err != nil {
		return nil, "", nil, refuse(codeUnsupported, "The %s is not compressed with DEFLATE.", parameter)
	}
	if len(document) > maxRequestBytes {
		return nil, "", nil, refuse(codeUnsupported, "The %s is too large.", parameter)
	}
	verify := func(certificates []*x509.Certificate) error {
		return verifyQuery(parameter, raw, query, certificates)
	}
	return document, query.Get("RelayState"), verify, nil
}

// rawQuery maps the parameters that a signature covers to their octets as
// received, and refuses a parameter that comes twice.
func rawQuery(q string) (map[string]string, error) {
	raw := map[string]string{}
	for part := range strings.SplitSeq(q, "&") {
		name, value, _ := strings.Cut(part, "=")
		if _, twice := raw[name]; twice {
			return nil, refuse(codeUnsupported, "The query string contains '%s' twice.", name)
		}
		raw[name] = value
	}
	return raw, nil
}

func verifyQuery(parameter string, raw map[string]string, query url.Values, certificates []*x509.Certificate) error {
	if query.Get("Signature") == "" {
		return refuse(codeNotSigned, "The request sent by client is not signed while the application requires signed requests.")
	}
	if alg := query.Get("SigAlg"); alg != algRSASHA256 {
		return refuse(codeNotSigned, "The request is signed with '%s', only RSA-SHA256 is accepted.", alg)
	}
	signature, err := base64.StdEncoding.DecodeString(query.Get("Signature"))
	if err != nil {
		return refuse(codeNotSigned, "The signature of the request is not base64.")
	}
	signed := parameter + "=" + raw[parameter]
	if relayState, ok := raw["RelayState"]; ok {
		signed += "&RelayState=" + relayState
	}
	signed += "&SigAlg=" + raw["SigAlg"]
	sum := sha256.Sum256([]byte(signed))
	for _, certificate := range certificates {
		key, ok := certificate.PublicKey.(*rsa.PublicKey)
		if ok && rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil {
			return nil
		}
	}
	return refuse(codeNotSigned, "The signature of the request does not verify with the certificates of the application.")
}

// readPOST reads the HTTP POST binding [SAMLBind 3.5.4].
func readPOST(r *http.Request) ([]byte, string, func([]*x509.Certificate) error, error) {
	if err := r.ParseForm(); err != nil {
		return nil, "", nil, refuse(codeUnsupported, "The form cannot be read.")
	}
	document, err := base64.StdEncoding.DecodeString(r.PostForm.Get("SAMLRequest"))
	if err != nil || len(document) == 0 {
		return nil, "", nil, refuse(codeUnsupported, "The form has no SAMLRequest in base64.")
	}
	verify := func(certificates []*x509.Certificate) error {
		if err := verifyEnveloped(document, certificates); err != nil {
			return refuse(codeNotSigned, "The request is not signed as the application requires: %v.", err)
		}
		return nil
	}
	return document, r.PostForm.Get("RelayState"), verify, nil
}

func verifyEnveloped(document []byte, certificates []*x509.Certificate) error {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(document); err != nil {
		return fmt.Errorf("parse the request: %w", err)
	}
	method := doc.FindElement("./AuthnRequest/Signature/SignedInfo/SignatureMethod")
	if method == nil {
		return errors.New("no signature")
	}
	if alg := method.SelectAttrValue("Algorithm", ""); alg != algRSASHA256 {
		return fmt.Errorf("signed with %q, only RSA-SHA256 is accepted", alg)
	}
	ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: certificates})
	ctx.IdAttribute = "ID"
	if _, err := ctx.Validate(doc.Root()); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}
