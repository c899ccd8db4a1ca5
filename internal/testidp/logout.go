package testidp

import (
	"bytes"
	"cmp"
	"compress/flate"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
)

const (
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"

	// logoutValidity is what Entra ID writes into a LogoutRequest.
	logoutValidity = time.Hour
)

// LogoutOptions say what a logout message of the IdP is like.
type LogoutOptions struct {
	// LogoutURL of the service provider becomes Destination, of a request only.
	LogoutURL string
	// NameID and SessionIndexes are of a request. Entra ID leaves the format
	// out.
	NameID         string
	SessionIndexes []string
	// InResponseTo and Status are of a response; Status is success if empty.
	InResponseTo, Status string

	RelayState string
	// Key replaces the active one.
	Key *Key
	// Unsigned leaves the signature out.
	Unsigned bool
	// Alter changes the message before it is signed.
	Alter func(message *etree.Element)
}

// logoutIssuer: Entra ID's LogoutResponse has another issuer than what it
// asserts.
func (p *IDP) logoutIssuer() string {
	if p.entityID == "https://sts.windows.net/"+p.tenantID+"/" {
		return "https://login.microsoftonline.com/" + p.tenantID + "/"
	}
	return p.entityID
}

func (p *IDP) logoutMessage(name, issuer string, o LogoutOptions) *etree.Element {
	el := etree.NewElement("samlp:" + name)
	el.CreateAttr("xmlns:samlp", nsProtocol)
	el.CreateAttr("ID", randomID())
	el.CreateAttr("Version", "2.0")
	el.CreateAttr("IssueInstant", p.now().Format(time.RFC3339Nano))
	el.CreateElement("Issuer").SetText(issuer)
	el.SelectElement("Issuer").CreateAttr("xmlns", nsAssertion)
	switch name {
	case "LogoutRequest":
		el.CreateAttr("Destination", o.LogoutURL)
		el.CreateAttr("NotOnOrAfter", p.now().Add(logoutValidity).Format(time.RFC3339Nano))
		nameID := el.CreateElement("NameID")
		nameID.CreateAttr("xmlns", nsAssertion)
		nameID.SetText(o.NameID)
		for _, index := range o.SessionIndexes {
			el.CreateElement("samlp:SessionIndex").SetText(index)
		}
	default:
		el.CreateAttr("InResponseTo", o.InResponseTo)
		el.CreateElement("samlp:Status").CreateElement("samlp:StatusCode").
			CreateAttr("Value", cmp.Or(o.Status, saml.StatusSuccess))
	}
	if o.Alter != nil {
		o.Alter(el)
	}
	return el
}

// LogoutRequest returns the XML of a request with an enveloped signature. The
// POST binding, which Entra ID has not, wants it in base64.
func (p *IDP) LogoutRequest(o LogoutOptions) ([]byte, error) {
	return p.enveloped(p.logoutMessage("LogoutRequest", p.entityID, o), o)
}

// LogoutResponse is LogoutRequest for a response.
func (p *IDP) LogoutResponse(o LogoutOptions) ([]byte, error) {
	return p.enveloped(p.logoutMessage("LogoutResponse", p.logoutIssuer(), o), o)
}

// LogoutRequestURL returns the URL that carries a request by the Redirect
// binding.
func (p *IDP) LogoutRequestURL(o LogoutOptions) (string, error) {
	return p.redirectURL("SAMLRequest", p.logoutMessage("LogoutRequest", p.entityID, o), o)
}

// LogoutResponseURL returns the URL that carries a response by the Redirect
// binding.
func (p *IDP) LogoutResponseURL(o LogoutOptions) (string, error) {
	return p.redirectURL("SAMLResponse", p.logoutMessage("LogoutResponse", p.logoutIssuer(), o), o)
}

func (p *IDP) enveloped(message *etree.Element, o LogoutOptions) ([]byte, error) {
	if !o.Unsigned {
		if err := sign(message, ResponseOptions{Key: p.logoutKey(o)}); err != nil {
			return nil, fmt.Errorf("sign the message: %w", err)
		}
	}
	return document(message)
}

func (p *IDP) logoutKey(o LogoutOptions) *Key {
	if o.Key != nil {
		return o.Key
	}
	return p.signingKey()
}

func document(root *etree.Element) ([]byte, error) {
	doc := etree.NewDocument()
	doc.SetRoot(root)
	content, err := doc.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("write the message: %w", err)
	}
	return content, nil
}

// redirectURL signs the query [SAMLBind 3.4.4.1].
func (p *IDP) redirectURL(parameter string, message *etree.Element, o LogoutOptions) (string, error) {
	content, err := document(message)
	if err != nil {
		return "", err
	}
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.DefaultCompression)
	if err != nil {
		return "", fmt.Errorf("compress the message: %w", err)
	}
	if _, err := w.Write(content); err != nil {
		return "", fmt.Errorf("compress the message: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("compress the message: %w", err)
	}
	query := parameter + "=" + escape(base64.StdEncoding.EncodeToString(deflated.Bytes()))
	if o.RelayState != "" {
		query += "&RelayState=" + escape(o.RelayState)
	}
	if !o.Unsigned {
		query += "&SigAlg=" + escape(algRSASHA256)
		sum := sha256.Sum256([]byte(query))
		signature, err := p.logoutKey(o).Signer.Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			return "", fmt.Errorf("sign the message: %w", err)
		}
		query += "&Signature=" + escape(base64.StdEncoding.EncodeToString(signature))
	}
	return o.LogoutURL + "?" + query, nil
}

var escaped = regexp.MustCompile("%[0-9A-F]{2}")

// escape writes lower-case digits as .NET does, so that whoever escapes anew
// before verifying computes another signature.
func escape(s string) string {
	return escaped.ReplaceAllStringFunc(url.QueryEscape(s), strings.ToLower)
}

// logoutRequest holds what Entra ID looks at: the NameID must be there, and
// its value does not matter.
type logoutRequest struct {
	XMLName xml.Name `xml:"urn:oasis:names:tc:SAML:2.0:protocol LogoutRequest"`
	ID      string   `xml:",attr"`
	Version string   `xml:",attr"`
	Issuer  string   `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	NameID  string   `xml:"urn:oasis:names:tc:SAML:2.0:assertion NameID"`
}

// serveSLO takes the messages of service providers. The IdP keeps no session,
// so there is nothing to end, and nobody else to tell.
func (p *IDP) serveSLO(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("SAMLResponse") {
		if err := p.receiveLogoutResponse(r); err != nil {
			showRefusal(w, err)
			return
		}
		show(w, http.StatusOK, "signedout", nil)
		return
	}
	request, sp, relayState, err := p.receiveLogoutRequest(r)
	if err != nil {
		showRefusal(w, err)
		return
	}
	p.count(func(n *Counts) { n.LogoutRequests++ })
	if sp.LogoutURL == "" {
		show(w, http.StatusOK, "signedout", nil)
		return
	}
	target, err := p.LogoutResponseURL(LogoutOptions{LogoutURL: sp.LogoutURL, InResponseTo: request.ID, RelayState: relayState})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, target, http.StatusFound)
}

func (p *IDP) receiveLogoutRequest(r *http.Request) (logoutRequest, ServiceProvider, string, error) {
	var request logoutRequest
	document, relayState, verify, err := readRedirect(r, "SAMLRequest")
	if err != nil {
		return request, ServiceProvider{}, "", err
	}
	if err := xml.Unmarshal(document, &request); err != nil {
		return request, ServiceProvider{}, "", refuse(codeUnsupported, "The request is not a valid SAML 2.0 LogoutRequest: %v.", err)
	}
	switch {
	case request.ID == "" || strings.ContainsAny(request.ID[:1], "0123456789"):
		err = refuse(codeUnsupported, "The ID of the request is missing or begins with a digit.")
	case request.Version != "2.0":
		err = refuse(codeUnsupported, "The version of the request is not 2.0.")
	case request.NameID == "":
		err = refuse(codeNameID, "SAML NameId cannot be null.")
	}
	if err != nil {
		return request, ServiceProvider{}, "", err
	}
	sp, known := p.serviceProvider(request.Issuer)
	if !known {
		return request, sp, "", refuse(codeUnknownApp, "Application with identifier '%s' was not found in the directory '%s'.", request.Issuer, p.tenantID)
	}
	if len(sp.VerificationCertificates) > 0 {
		err = verify(sp.VerificationCertificates)
	}
	return request, sp, relayState, err
}

func (p *IDP) receiveLogoutResponse(r *http.Request) error {
	document, _, verify, err := readRedirect(r, "SAMLResponse")
	if err != nil {
		return err
	}
	var response struct {
		XMLName xml.Name `xml:"urn:oasis:names:tc:SAML:2.0:protocol LogoutResponse"`
		Issuer  string   `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	}
	if err := xml.Unmarshal(document, &response); err != nil {
		return refuse(codeUnsupported, "The response is not a valid SAML 2.0 LogoutResponse: %v.", err)
	}
	sp, known := p.serviceProvider(response.Issuer)
	if !known {
		return refuse(codeUnknownApp, "Application with identifier '%s' was not found in the directory '%s'.", response.Issuer, p.tenantID)
	}
	if len(sp.VerificationCertificates) > 0 {
		if err := verify(sp.VerificationCertificates); err != nil {
			return err
		}
	}
	p.count(func(n *Counts) { n.LogoutResponses++ })
	return nil
}
