package sp

import (
	"bytes"
	"crypto"
	"errors"
)

// RedirectURL is as that of an AuthnRequest.
func (r LogoutRequest) RedirectURL(relayState string, signer crypto.Signer) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	return r.message().redirectURL(relayState, signer)
}

// PostForm is as that of an AuthnRequest.
func (r LogoutRequest) PostForm(relayState string, signer crypto.Signer) (PostForm, error) {
	if err := r.check(); err != nil {
		return PostForm{}, err
	}
	return r.message().postForm(relayState, signer)
}

func (r LogoutRequest) check() error {
	if r.ID == "" || r.Issuer == "" || r.NameID.Value == "" || r.IssueInstant.IsZero() {
		return errors.New("incomplete LogoutRequest")
	}
	return nil
}

func (r LogoutRequest) message() message {
	return message{parameter: parameterRequest, destination: r.Destination, document: r.document}
}

func (r LogoutRequest) document(signature string) []byte {
	var b bytes.Buffer
	attribute := openMessage(&b, "LogoutRequest", r.ID, r.IssueInstant, r.Destination)
	if !r.NotOnOrAfter.IsZero() {
		attribute("NotOnOrAfter", stamp(r.NotOnOrAfter))
	}
	b.WriteString("><saml:Issuer>")
	escape(&b, r.Issuer)
	b.WriteString("</saml:Issuer>" + signature + "<saml:NameID")
	for _, a := range []struct{ name, value string }{
		{"NameQualifier", r.NameID.NameQualifier},
		{"SPNameQualifier", r.NameID.SPNameQualifier},
		{"Format", r.NameID.Format},
		{"SPProvidedID", r.NameID.SPProvidedID},
	} {
		if a.value != "" {
			attribute(a.name, a.value)
		}
	}
	b.WriteString(">")
	escape(&b, r.NameID.Value)
	b.WriteString("</saml:NameID>")
	for _, index := range r.SessionIndexes {
		b.WriteString("<samlp:SessionIndex>")
		escape(&b, index)
		b.WriteString("</samlp:SessionIndex>")
	}
	b.WriteString("</samlp:LogoutRequest>")
	return b.Bytes()
}

// RedirectURL is as that of an AuthnRequest.
func (r LogoutResponse) RedirectURL(relayState string, signer crypto.Signer) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	return r.message().redirectURL(relayState, signer)
}

// PostForm is as that of an AuthnRequest.
func (r LogoutResponse) PostForm(relayState string, signer crypto.Signer) (PostForm, error) {
	if err := r.check(); err != nil {
		return PostForm{}, err
	}
	return r.message().postForm(relayState, signer)
}

func (r LogoutResponse) check() error {
	if r.ID == "" || r.Issuer == "" || r.InResponseTo == "" || r.Status == "" || r.IssueInstant.IsZero() {
		return errors.New("incomplete LogoutResponse")
	}
	return nil
}

func (r LogoutResponse) message() message {
	return message{parameter: parameterResponse, destination: r.Destination, document: r.document}
}

func (r LogoutResponse) document(signature string) []byte {
	var b bytes.Buffer
	attribute := openMessage(&b, "LogoutResponse", r.ID, r.IssueInstant, r.Destination)
	attribute("InResponseTo", r.InResponseTo)
	b.WriteString("><saml:Issuer>")
	escape(&b, r.Issuer)
	b.WriteString("</saml:Issuer>" + signature + "<samlp:Status><samlp:StatusCode")
	attribute("Value", r.Status)
	b.WriteString("/></samlp:Status></samlp:LogoutResponse>")
	return b.Bytes()
}
