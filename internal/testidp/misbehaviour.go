package testidp

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Misbehaviour is a way in which the metadata endpoint lets people down.
type Misbehaviour string

// The misbehaviours. The first ones answer something that is not metadata.
const (
	// NotFound answers 404 with an HTML page.
	NotFound Misbehaviour = "not found"
	// Unavailable answers 503 with Retry-After.
	Unavailable Misbehaviour = "unavailable"
	// HTMLPage answers 200 with a sign-in page, as portals do.
	HTMLPage Misbehaviour = "HTML page"
	// Endless begins as metadata and never ends.
	Endless Misbehaviour = "endless body"
	// Stalled sends the headers, the first bytes and then nothing until the
	// client leaves.
	Stalled Misbehaviour = "stalled"
	// RedirectsToHTTP redirects to the same document without TLS.
	RedirectsToHTTP Misbehaviour = "redirect to http"
	// RedirectsInward redirects to the metadata service of a cloud.
	RedirectsInward Misbehaviour = "redirect inward"

	// ChangedEntityID is metadata of another entity at the same URL.
	ChangedEntityID Misbehaviour = "changed entity ID"
	// NoCertificates is metadata without a key.
	NoCertificates Misbehaviour = "no certificates"
	// BadCertificate is metadata with an unreadable certificate before the
	// good ones.
	BadCertificate Misbehaviour = "bad certificate beside the good ones"
)

// Misbehave makes the metadata endpoint misbehave until Behave is called.
// Sign-in goes on as before.
func (p *IDP) Misbehave(m Misbehaviour) error {
	var h http.HandlerFunc
	switch m {
	case NotFound:
		h = func(w http.ResponseWriter, _ *http.Request) {
			writeHTML(w, http.StatusNotFound, "<title>Not found</title><p>There is nothing here.")
		}
	case Unavailable:
		h = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			writeHTML(w, http.StatusServiceUnavailable, "<title>Unavailable</title><p>Try again later.")
		}
	case HTMLPage:
		h = func(w http.ResponseWriter, _ *http.Request) {
			writeHTML(w, http.StatusOK, "<title>Sign in</title><form><input name=user><input type=password name=password></form>")
		}
	case Endless:
		h = p.serveEndless
	case Stalled:
		h = func(w http.ResponseWriter, r *http.Request) {
			p.writeBeginning(w)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	case RedirectsToHTTP:
		h = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http"+strings.TrimPrefix(p.MetadataURL(), "https"), http.StatusFound)
		}
	case RedirectsInward:
		h = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://169.254.169.254/latest/meta-data/", http.StatusFound)
		}
	case ChangedEntityID:
		h = p.alteredMetadata(func(_ string, certificates [][]byte) (string, [][]byte) {
			return "https://sts.windows.net/00000000-0000-0000-0000-000000000bad/", certificates
		})
	case NoCertificates:
		h = p.alteredMetadata(func(entityID string, _ [][]byte) (string, [][]byte) {
			return entityID, nil
		})
	case BadCertificate:
		h = p.alteredMetadata(func(entityID string, certificates [][]byte) (string, [][]byte) {
			return entityID, append([][]byte{[]byte("not a certificate")}, certificates...)
		})
	default:
		return fmt.Errorf("no misbehaviour %q", m)
	}
	p.SetMetadataHandler(h)
	return nil
}

// Behave ends a misbehaviour.
func (p *IDP) Behave() { p.SetMetadataHandler(nil) }

func (p *IDP) alteredMetadata(alter func(string, [][]byte) (string, [][]byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		content, err := p.metadata(alter(p.entityID, p.rawCertificates()))
		changed := p.metadataChanged
		p.mu.Unlock()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		serveMetadataDocument(w, r, content, changed)
	}
}

func (p *IDP) writeBeginning(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	_, _ = io.WriteString(w, `<?xml version="1.0" encoding="utf-8"?><EntityDescriptor xmlns="`+nsMetadata+`">`)
}

func (p *IDP) serveEndless(w http.ResponseWriter, r *http.Request) {
	p.writeBeginning(w)
	chunk := strings.Repeat("<!-- more to come -->", 1000)
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, chunk); err != nil {
			return
		}
	}
}

func writeHTML(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<!DOCTYPE html><html lang=en>"+body+"</html>")
}
