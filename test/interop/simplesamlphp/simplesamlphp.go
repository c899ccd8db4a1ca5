// Package simplesamlphp runs SimpleSAMLphp, a SAML identity provider which
// others wrote, for interoperability tests.
//
// It needs the program and PHP, on Debian the packages simplesamlphp, php-cli
// and php-xml. It reads the program only: configuration, keys, sessions and
// logs lie in a directory of the test, and nothing in /etc is read or changed.
//
// PHP's built-in server speaks no TLS, and metadata are fetched by https only.
// So a reverse proxy of the fixture terminates TLS, with a certificate authority
// of its own. All else, the sign-in pages, metadata and SAML, is SimpleSAMLphp's.
package simplesamlphp

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

const (
	// directoryVariable names a SimpleSAMLphp 1.19 elsewhere than
	// defaultDirectory, which is Debian's.
	directoryVariable = "SIMPLESAMLPHP_DIR"
	defaultDirectory  = "/usr/share/simplesamlphp"

	startTimeout = 30 * time.Second

	entityPath = "/simplesaml/saml2/idp/metadata.php"

	formatEmailAddress = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	formatUnspecified  = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
	formatPersistent   = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"

	claimEmail = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"
)

//go:embed php
var php embed.FS

// Options of an IDP.
type Options struct {
	// Host is idp.localhost if empty; for who does not resolve that, it may be
	// 127.0.0.1. The port is free and made up.
	Host string
	// Users who can sign in.
	Users []User
	// WantSignedRequests is published as WantAuthnRequestsSigned. Whose requests
	// are checked is up to AuthnRequestsSigned in the service provider's
	// metadata, and up to this where that is missing.
	WantSignedRequests bool
	// UnsignedResponses leaves it at the assertion's signature, which the service
	// provider's metadata asks for.
	UnsignedResponses bool
	// EncryptAssertions to the key in the service provider's metadata.
	EncryptAssertions bool
}

// User of the IdP. The attributes are sent as they are; the one with the claim
// name of the e-mail address is the NameID too, so it needs exactly one value.
type User struct {
	Name, Password string
	Attributes     map[string][]string
}

// Person is a user with the attributes that Entra ID sends, by its names.
func Person(name, password, givenName, surname, email string, groups ...string) User {
	const claims = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
	id := sha256.Sum256([]byte(name))
	objectID := fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])
	attributes := map[string][]string{
		claims + "givenname": {givenName},
		claims + "surname":   {surname},
		claimEmail:           {email},
		claims + "name":      {name},
		"http://schemas.microsoft.com/identity/claims/objectidentifier": {objectID},
	}
	if len(groups) > 0 {
		attributes["Group"] = groups
	}
	return User{Name: name, Password: password, Attributes: attributes}
}

// IDP is a running SimpleSAMLphp. Its methods end the test when they fail and
// belong into the goroutine of the test.
type IDP struct {
	tb        testing.TB
	directory string
	baseURL   string
	address   string
	caPEM     []byte
	keys      []signingKey
	options   Options
}

// signingKey is a pair of files in the directory, and what they hold.
type signingKey struct {
	name        string
	certificate *x509.Certificate
}

// Start runs SimpleSAMLphp until the test ends. What PHP had to say is logged
// if the test failed.
func Start(tb testing.TB, o Options) *IDP {
	tb.Helper()
	program := programDirectory(tb)
	host := cmp.Or(o.Host, "idp.localhost")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err, "listen")
	_, port, err := net.SplitHostPort(listener.Addr().String())
	must(tb, err, "read the port")
	p := &IDP{
		tb:        tb,
		directory: tb.TempDir(),
		baseURL:   "https://" + net.JoinHostPort(host, port),
		address:   listener.Addr().String(),
		options:   o,
	}
	p.configure(program)
	backend := p.startPHP()
	p.startProxy(listener, host, backend)
	return p
}

// EntityID of the IdP, which is the URL of its metadata.
func (p *IDP) EntityID() string { return p.baseURL + entityPath }

// MetadataURL of the IdP.
func (p *IDP) MetadataURL() string { return p.baseURL + entityPath }

// LogoutURL ends the session at the IdP and, one after the other, those at
// service providers. Then it leads to the IdP's start page.
func (p *IDP) LogoutURL() string {
	start := p.baseURL + "/simplesaml/"
	return start + "saml2/idp/SingleLogoutService.php?" + url.Values{"ReturnTo": {start}}.Encode()
}

// Address on the loopback interface where the host of the URLs is served.
func (p *IDP) Address() string { return p.address }

// CAPEM is the authority that signed the TLS certificate.
func (p *IDP) CAPEM() []byte { return p.caPEM }

// RootCAs holds only the authority that signed the TLS certificate.
func (p *IDP) RootCAs() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.caPEM)
	return roots
}

// Certificate that belongs to the key which signs.
func (p *IDP) Certificate() *x509.Certificate { return p.keys[0].certificate }

// RegisterServiceProvider makes the IdP know a service provider by its metadata
// (one EntityDescriptor), or replaces what it knew.
func (p *IDP) RegisterServiceProvider(metadata []byte) {
	p.tb.Helper()
	var entity struct {
		XMLName xml.Name `xml:"urn:oasis:names:tc:SAML:2.0:metadata EntityDescriptor"`
		ID      string   `xml:"entityID,attr"`
	}
	must(p.tb, xml.Unmarshal(metadata, &entity), "read the metadata of the service provider")
	name := sha256.Sum256([]byte(entity.ID))
	p.write(filepath.Join("config", "sp-"+hex.EncodeToString(name[:8])+".xml"), metadata)
}

// AnnounceKey generates a signing key and publishes its certificate beside the
// one that goes on signing. It returns the new certificate.
func (p *IDP) AnnounceKey() *x509.Certificate {
	p.tb.Helper()
	if len(p.keys) > 1 {
		p.tb.Fatal("simplesamlphp: a key is announced already: switch to it first")
	}
	p.addKey()
	p.writeHosted()
	return p.keys[1].certificate
}

// SwitchKey makes the announced key sign, and publishes it alone.
func (p *IDP) SwitchKey() {
	p.tb.Helper()
	if len(p.keys) != 2 {
		p.tb.Fatal("simplesamlphp: no key was announced")
	}
	p.keys = p.keys[1:]
	p.writeHosted()
}

// programDirectory finds the program, or says how to get it.
func programDirectory(tb testing.TB) string {
	tb.Helper()
	const install = "install it with `apt-get install simplesamlphp php-cli php-xml`, or have PHP in PATH and set " + directoryVariable + " to the directory of a SimpleSAMLphp 1.19"
	directory := cmp.Or(os.Getenv(directoryVariable), defaultDirectory)
	if _, err := os.Stat(filepath.Join(directory, "www", "_include.php")); err != nil {
		tb.Fatalf("SimpleSAMLphp is not in %s: %s", directory, install)
	}
	if _, err := exec.LookPath("php"); err != nil {
		tb.Fatalf("the command php is missing: %s", install)
	}
	check := exec.CommandContext(tb.Context(), "php", "-r", `exit(extension_loaded("dom") && extension_loaded("openssl") ? 0 : 1);`)
	if err := check.Run(); err != nil {
		tb.Fatalf("PHP lacks the extension dom or openssl: %s", install)
	}
	return directory
}

func (p *IDP) configure(program string) {
	p.tb.Helper()
	for _, name := range []string{"config", "metadata", "cert", "data", "tmp", "sessions", "log", "www"} {
		must(p.tb, os.Mkdir(filepath.Join(p.directory, name), 0o700), "make the directory")
	}
	must(p.tb, os.Symlink(filepath.Join(program, "www"), filepath.Join(p.directory, "www", "simplesaml")), "link the program")
	for from, to := range map[string]string{
		"config.php": "config", "authsources.php": "config", "saml20-idp-hosted.php": "metadata",
	} {
		content, err := php.ReadFile("php/" + from)
		must(p.tb, err, "read "+from)
		p.write(filepath.Join(to, from), content)
	}
	p.writeJSON(filepath.Join("config", "config.json"), map[string]any{
		// With the whole URL SimpleSAMLphp knows that it is reached by TLS.
		"baseurlpath":                  p.baseURL + "/simplesaml/",
		"certdir":                      p.path("cert/"),
		"datadir":                      p.path("data/"),
		"tempdir":                      p.path("tmp"),
		"loggingdir":                   p.path("log/"),
		"metadatadir":                  p.path("metadata/"),
		"session.phpsession.savepath":  p.path("sessions"),
		"secretsalt":                   secret(),
		"auth.adminpassword":           secret(),
		"admin.checkforupdates":        false,
		"technicalcontact_email":       "na@example.org", // the value that is not published
		"timezone":                     "UTC",
		"enable.saml20-idp":            true,
		"module.enable":                map[string]bool{"core": true, "saml": true, "exampleauth": true},
		"store.type":                   "phpsession",
		"session.cookie.secure":        true,
		"session.cookie.samesite":      "None",
		"session.phpsession.httponly":  true,
		"logging.format":               "%level %msg",
		"logging.handler":              "errorlog",
		"logging.level":                4, // warnings
		"showerrors":                   true,
		"errorreporting":               false,
		"assertion.allowed_clock_skew": 60,
		"metadata.sources":             []map[string]string{{"type": "flatfile"}},
		// As it comes: a service provider gets the attributes that its metadata
		// requests, if it requests any.
		"authproc.idp": map[string]any{"50": "core:AttributeLimit"},
	})
	source := map[string]any{"0": "exampleauth:UserPass"}
	for _, u := range p.options.Users {
		source[u.Name+":"+u.Password] = u.Attributes
	}
	p.writeJSON(filepath.Join("config", "authsources.json"), map[string]any{"people": source})
	p.addKey()
	p.writeHosted()
}

// writeHosted writes how the IdP presents itself and with which keys.
func (p *IDP) writeHosted() {
	p.tb.Helper()
	nameIDs := map[string]any{}
	for i, format := range []string{formatEmailAddress, formatPersistent, formatUnspecified} {
		nameIDs[strconv.Itoa(10+i)] = map[string]any{
			"class": "saml:AttributeNameID", "attribute": claimEmail, "Format": format,
		}
	}
	hosted := map[string]any{
		"host":                 "__DEFAULT__",
		"auth":                 "people",
		"authproc":             nameIDs,
		"NameIDFormat":         []string{formatEmailAddress, formatPersistent, formatUnspecified},
		"userid.attribute":     claimEmail,
		"privatekey":           p.keys[0].name + ".key",
		"certificate":          p.keys[0].name + ".crt",
		"signature.algorithm":  "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
		"sign.logout":          true,
		"validate.logout":      true,
		"saml20.sign.response": !p.options.UnsignedResponses,
		"assertion.encryption": p.options.EncryptAssertions,
		"SingleSignOnServiceBinding": []string{
			"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect", "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST",
		},
	}
	if p.options.WantSignedRequests {
		hosted["validate.authnrequest"] = true
	}
	if len(p.keys) > 1 {
		hosted["new_privatekey"] = p.keys[1].name + ".key"
		hosted["new_certificate"] = p.keys[1].name + ".crt"
	}
	p.writeJSON(filepath.Join("metadata", "idp-hosted.json"), map[string]any{p.EntityID(): hosted})
}

func (p *IDP) addKey() {
	p.tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(p.tb, err, "generate the signing key")
	template := template("SimpleSAMLphp signing")
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(p.tb, err, "make the signing certificate")
	certificate, err := x509.ParseCertificate(der)
	must(p.tb, err, "parse the signing certificate")
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(p.tb, err, "encode the signing key")
	name := hex.EncodeToString(template.SerialNumber.Bytes())
	p.write(filepath.Join("cert", name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	p.write(filepath.Join("cert", name+".crt"), certificatePEM(der))
	p.keys = append(p.keys, signingKey{name: name, certificate: certificate})
}

// listening is what PHP says when it took a port.
var listening = regexp.MustCompile(`Development Server \((http://127\.0\.0\.1:\d+)\) started`)

// startPHP runs PHP's built-in server on a free port and returns its URL.
func (p *IDP) startPHP() *url.URL {
	p.tb.Helper()
	// The code cache would hide changed files for two seconds.
	command := exec.Command("php", "-d", "opcache.enable=0", "-d", "display_errors=0", "-d", "session.save_path="+p.path("sessions"),
		"-S", "127.0.0.1:0", "-t", p.path("www"))
	command.Dir = p.directory
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + p.path("tmp"), "SIMPLESAMLPHP_CONFIG_DIR=" + p.path("config"),
	}
	output, err := command.StderrPipe()
	must(p.tb, err, "connect to PHP")
	must(p.tb, command.Start(), "start PHP")

	var logged syncBuffer
	started, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(io.TeeReader(output, &logged))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if match := listening.FindStringSubmatch(lines.Text()); match != nil {
				started <- match[1]
			}
		}
	}()
	p.tb.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		_ = command.Wait() // the signal is the reason
		if p.tb.Failed() {
			p.tb.Logf("what SimpleSAMLphp said:\n%s", logged.String())
		}
	})
	select {
	case at := <-started:
		u, err := url.Parse(at)
		must(p.tb, err, "read the address of PHP")
		return u
	case <-ended:
	case <-time.After(startTimeout):
	}
	p.tb.Fatalf("PHP did not start a server: %s", logged.String())
	return nil
}

// startProxy serves the host by TLS in front of PHP.
func (p *IDP) startProxy(listener net.Listener, host string, backend *url.URL) {
	p.tb.Helper()
	certificate, caPEM := tlsCertificate(p.tb, host)
	p.caPEM = caPEM
	server := &http.Server{
		Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(backend)
			r.Out.Host = r.In.Host
		}},
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: startTimeout,
		ErrorLog:          log.New(io.Discard, "", 0), // clients that leave
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(listener, "", "") // until it is closed
	}()
	p.tb.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

// tlsCertificate makes an authority and a certificate of it for the host.
func tlsCertificate(tb testing.TB, host string) (certificate tls.Certificate, caPEM []byte) {
	tb.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err, "generate the authority's key")
	ca := template("Interoperability test CA")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	must(tb, err, "make the authority's certificate")

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err, "generate the TLS key")
	leaf := template(host)
	if ip := net.ParseIP(host); ip != nil {
		leaf.IPAddresses = []net.IP{ip}
	} else {
		leaf.DNSNames = []string{host}
	}
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	must(tb, err, "make the TLS certificate")
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, certificatePEM(caDER)
}

func template(commonName string) *x509.Certificate {
	serial := new(big.Int).SetBytes(random(16))
	return &x509.Certificate{
		SerialNumber: serial.SetBit(serial, 127, 0), // positive in 16 octets
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(30 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (p *IDP) path(name string) string { return p.directory + string(filepath.Separator) + name }

func (p *IDP) writeJSON(name string, value any) {
	p.tb.Helper()
	content, err := json.MarshalIndent(value, "", "  ")
	must(p.tb, err, "encode "+name)
	p.write(name, content)
}

// write replaces a file in one step: PHP may read it at any time.
func (p *IDP) write(name string, content []byte) {
	p.tb.Helper()
	must(p.tb, os.WriteFile(p.path(name+".new"), content, 0o600), "write "+name)
	must(p.tb, os.Rename(p.path(name+".new"), p.path(name)), "write "+name)
}

func secret() string { return hex.EncodeToString(random(16)) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return b
}

func must(tb testing.TB, err error, what string) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("simplesamlphp: %s: %v", what, err)
	}
}

// syncBuffer is written by one goroutine and read by another.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
