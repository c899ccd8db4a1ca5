package testidp

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/beevik/etree"
)

const (
	nsMetadata = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsProtocol = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsDSig     = "http://www.w3.org/2000/09/xmldsig#"

	bindingRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	bindingPOST     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"

	nameIDEmailAddress = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	nameIDUnspecified  = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
	nameIDPersistent   = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	nameIDTransient    = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"

	byteOrderMark = "\xEF\xBB\xBF"
)

// Metadata is the document as it is served, byte order mark included.
func (p *IDP) Metadata() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.metadata(p.entityID, p.rawCertificates())
}

// rawCertificates in DER. The caller holds the lock.
func (p *IDP) rawCertificates() [][]byte {
	var raw [][]byte
	for _, key := range p.keys {
		raw = append(raw, key.Certificate.Raw)
	}
	return raw
}

// metadata renders the document. The caller holds the lock.
func (p *IDP) metadata(entityID string, certificates [][]byte) ([]byte, error) {
	doc := etree.NewDocument()
	doc.CreateProcInst("xml", `version="1.0" encoding="utf-8"`)
	entity := doc.CreateElement("EntityDescriptor")
	entity.CreateAttr("xmlns", nsMetadata)
	entity.CreateAttr("ID", "_"+hex.EncodeToString(digest(entityID, certificates)))
	entity.CreateAttr("entityID", entityID)

	// The WS-Federation role with the same certificates stands first at Entra
	// ID: a reader has to find the SAML role behind it.
	ws := entity.CreateElement("RoleDescriptor")
	ws.CreateAttr("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
	ws.CreateAttr("xmlns:fed", "http://docs.oasis-open.org/wsfed/federation/200706")
	ws.CreateAttr("xsi:type", "fed:SecurityTokenServiceType")
	ws.CreateAttr("protocolSupportEnumeration", "http://docs.oasis-open.org/wsfed/federation/200706")
	addKeyDescriptors(ws, certificates)

	idp := entity.CreateElement("IDPSSODescriptor")
	idp.CreateAttr("protocolSupportEnumeration", nsProtocol)
	addKeyDescriptors(idp, certificates)
	slo := idp.CreateElement("SingleLogoutService")
	slo.CreateAttr("Binding", bindingRedirect)
	slo.CreateAttr("Location", p.baseURL+"/slo")
	for _, format := range []string{nameIDEmailAddress, nameIDPersistent, nameIDUnspecified} {
		idp.CreateElement("NameIDFormat").SetText(format)
	}
	for _, binding := range []string{bindingRedirect, bindingPOST} {
		sso := idp.CreateElement("SingleSignOnService")
		sso.CreateAttr("Binding", binding)
		sso.CreateAttr("Location", p.baseURL+"/sso")
	}

	b := bytes.NewBufferString(byteOrderMark)
	if _, err := doc.WriteTo(b); err != nil {
		return nil, fmt.Errorf("write metadata: %w", err)
	}
	return b.Bytes(), nil
}

func addKeyDescriptors(role *etree.Element, certificates [][]byte) {
	for _, der := range certificates {
		key := role.CreateElement("KeyDescriptor")
		key.CreateAttr("use", "signing")
		info := key.CreateElement("KeyInfo")
		info.CreateAttr("xmlns", nsDSig)
		info.CreateElement("X509Data").CreateElement("X509Certificate").
			SetText(base64.StdEncoding.EncodeToString(der))
	}
}

// digest names a content, so that a document which did not change is the same
// byte by byte.
func digest(entityID string, certificates [][]byte) []byte {
	h := sha256.New()
	h.Write([]byte(entityID))
	for _, der := range certificates {
		h.Write(der)
	}
	return h.Sum(nil)[:16]
}

// SetMetadataHandler makes h answer requests for the metadata, which are
// counted as before. With nil the IdP answers them itself again.
func (p *IDP) SetMetadataHandler(h http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.metadataHandler = h
	p.metadataChanged = p.now()
}

func (p *IDP) serveMetadata(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.counts.MetadataFetches++
	h := p.metadataHandler
	p.mu.Unlock()
	if h == nil {
		h = http.HandlerFunc(p.serveOwnMetadata)
	}
	h.ServeHTTP(&notModifiedCounter{ResponseWriter: w, idp: p}, r)
}

func (p *IDP) serveOwnMetadata(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	content, err := p.metadata(p.entityID, p.rawCertificates())
	changed := p.metadataChanged
	p.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	serveMetadataDocument(w, r, content, changed)
}

func serveMetadataDocument(w http.ResponseWriter, r *http.Request, content []byte, changed time.Time) {
	tag := sha256.Sum256(content)
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	w.Header().Set("ETag", `"`+hex.EncodeToString(tag[:])+`"`)
	http.ServeContent(w, r, "", changed, bytes.NewReader(content))
}

// notModifiedCounter watches for the status 304.
type notModifiedCounter struct {
	http.ResponseWriter
	idp *IDP
}

func (c *notModifiedCounter) WriteHeader(status int) {
	if status == http.StatusNotModified {
		c.idp.count(func(n *Counts) { n.NotModified++ })
	}
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (c *notModifiedCounter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
