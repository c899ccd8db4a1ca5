package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// entraDocument is what a directory of Entra ID publishes: 14 KiB, with the
// same certificate four times and two roles that are no SAML ones.
const (
	entraDocument  = "internal/idpmetadata/testdata/real/entra-akashsolanki-76db22f8.xml"
	entraDirectory = "76db22f8-ca3e-4d0a-b5c1-795947fc8943"
)

// idpKeys is how many RSA keys the tenants' certificates share. Nothing here
// verifies a sign-in.
const idpKeys = 8

// farm is the one host of all tenants' identity providers, as Entra ID is. Each
// tenant has a directory of its own there: another entity ID, other endpoints
// and another certificate.
type farm struct {
	server *httptest.Server
	// ca is the file with the certificate that verifies the host's TLS.
	ca          string
	template    []byte
	certificate []byte // in the template, base64
	keys        []*rsa.PrivateKey
	signer      *ecdsa.PrivateKey

	directories sync.Map // name of the tenant to its document
	fetches     atomic.Int64
	notModified atomic.Int64
}

type document struct {
	content []byte
	etag    string
}

func startFarm(directory string) (*farm, error) {
	f := &farm{ca: filepath.Join(directory, "farm.pem")}
	var err error
	if f.template, err = os.ReadFile(entraDocument); err != nil {
		return nil, err
	}
	match := regexp.MustCompile(`<X509Certificate>([^<]+)`).FindSubmatch(f.template)
	if match == nil || !bytes.Contains(f.template, []byte(entraDirectory)) {
		return nil, fmt.Errorf("%s is not the document that is meant", entraDocument)
	}
	f.certificate = match[1]
	for range idpKeys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		f.keys = append(f.keys, key)
	}
	if f.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	own, err := f.ownCertificate()
	if err != nil {
		return nil, err
	}
	f.server.TLS = &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
	f.server.StartTLS()
	return f, os.WriteFile(f.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}), 0o600)
}

// ownCertificate is for the host: with an elliptic key, as big hosts have.
func (f *farm) ownCertificate() (tls.Certificate, error) {
	template := f.certificateTemplate("metadata farm")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.DNSNames = []string{"localhost"}
	der, err := x509.CreateCertificate(rand.Reader, template, template, f.signer.Public(), f.signer)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: f.signer}, err
}

func (f *farm) certificateTemplate(name string) *x509.Certificate {
	sum := sha256.Sum256([]byte(name))
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(sum[:15]), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(3 * 365 * 24 * time.Hour),
	}
}

func (f *farm) url(tenant string) string {
	return "https://localhost:" + f.server.URL[strings.LastIndex(f.server.URL, ":")+1:] + "/" + tenant + "/federationmetadata.xml"
}

// prepare makes the documents of the tenants, so that serving costs little.
func (f *farm) prepare(tenants []string) error {
	return each(tenants, func(name string) error {
		_, err := f.document(name)
		return err
	})
}

func (f *farm) document(tenant string) (document, error) {
	if d, ok := f.directories.Load(tenant); ok {
		return d.(document), nil
	}
	sum := sha256.Sum256([]byte(tenant))
	key := f.keys[int(sum[0])%len(f.keys)]
	// Signed by an elliptic key, which is faster and makes no difference: what
	// counts in metadata is the public key.
	issuer := f.certificateTemplate("farm")
	der, err := x509.CreateCertificate(rand.Reader, f.certificateTemplate(tenant), issuer, key.Public(), f.signer)
	if err != nil {
		return document{}, err
	}
	id := hex.EncodeToString(sum[:16])
	content := bytes.ReplaceAll(f.template, f.certificate, []byte(base64.StdEncoding.EncodeToString(der)))
	content = bytes.ReplaceAll(content, []byte(entraDirectory), []byte(strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")))
	d, _ := f.directories.LoadOrStore(tenant, document{content, `"` + id + `"`})
	return d.(document), nil
}

func (f *farm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tenant, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	d, err := f.document(tenant)
	if err != nil {
		http.Error(w, "no certificate", http.StatusInternalServerError)
		return
	}
	f.fetches.Add(1)
	w.Header().Set("ETag", d.etag)
	if r.Header.Get("If-None-Match") == d.etag {
		f.notModified.Add(1)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	_, _ = w.Write(d.content) // the reader may be gone
}

// workers is how many requests are under way at once in each.
const workers = 64

// each calls do for all, many at a time, and returns the first errors.
func each[T any](all []T, do func(T) error) error {
	var (
		wait   sync.WaitGroup
		next   atomic.Int64
		failed [workers]error
	)
	for w := range workers {
		wait.Go(func() {
			for failed[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				failed[w] = do(all[i])
			}
		})
	}
	wait.Wait()
	return errors.Join(failed[:]...)
}
