package testidp

import (
	"net/http"
	"net/url"
	"strings"
)

// commonDirectory is Entra ID's name for no directory in particular.
const commonDirectory = "common"

// FederationMetadataURL is what Entra ID shows as "App Federation Metadata Url".
// Without an application it is the directory's document: the same IdP, with keys
// that sign for none of its applications.
func (p *IDP) FederationMetadataURL(application string) string {
	u := p.url("/" + p.tenantID + "/federationmetadata/2007-06/federationmetadata.xml")
	if application != "" {
		u += "?appid=" + url.QueryEscape(application)
	}
	return u
}

// CommonMetadataURL is that of no directory in particular. Its entity ID is a
// template.
func (p *IDP) CommonMetadataURL() string {
	return p.url("/" + commonDirectory + "/federationmetadata/2007-06/federationmetadata.xml")
}

// InstanceSSOURL is the single sign-on service of one application, when several
// have the same entity ID.
func (p *IDP) InstanceSSOURL(application string) string {
	return p.url("/" + p.tenantID + "/saml2/" + application)
}

func (p *IDP) serveFederationMetadata(w http.ResponseWriter, r *http.Request) {
	directory := r.PathValue("directory")
	switch {
	case directory == p.tenantID && r.URL.Query().Get("appid") != "":
		p.serveMetadata(w, r)
	case directory == p.tenantID || directory == commonDirectory:
		key, err := p.directoryKey()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		p.alteredMetadata(func(entityID string, _ [][]byte) (string, [][]byte) {
			if directory == commonDirectory {
				entityID = strings.Replace(entityID, p.tenantID, "{tenantid}", 1)
			}
			return entityID, [][]byte{key.Certificate.Raw}
		})(w, r)
	default:
		http.NotFound(w, r)
	}
}

// serveInstanceSSO is serveSSO for applications without signed requests: for
// others Entra ID has no such address.
func (p *IDP) serveInstanceSSO(w http.ResponseWriter, r *http.Request) {
	request, err := p.receive(r)
	if err == nil {
		if sp, _ := p.serviceProvider(request.serviceProvider); len(sp.VerificationCertificates) > 0 {
			err = refuse(codeUnsupported, "The application requires signed requests, which are not supported at its own address.")
		}
	}
	if r.PathValue("directory") != p.tenantID {
		err = refuse(codeUnsupported, "There is no directory '%s'.", r.PathValue("directory"))
	}
	if err != nil {
		showRefusal(w, err)
		return
	}
	p.serveSSO(w, r)
}

// audience: an issuer that is no URI gets a prefix.
func audience(issuer string) string {
	if u, err := url.Parse(issuer); err != nil || u.Scheme == "" {
		return "spn:" + issuer
	}
	return issuer
}
