package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"cequence.cloud/saml-operator/internal/testidp"
)

// baseDomain resolves to this machine in browsers. [RFC6761 6.3]
const baseDomain = "s.localhost"

// provider is the identity provider of one sample tenant.
type provider struct {
	*testidp.IDP
	tenant string
	user   testidp.User
	server *httptest.Server
}

func (d *demo) startPeers(context.Context) error {
	for i, p := range []provider{
		{tenant: "acme", user: testidp.User{
			Name: "alice@acme.example", Password: "wonderland", GivenName: "Alice", Surname: "Liddell",
			Email: "alice@acme.example", DisplayName: "Alice Liddell", Groups: []string{"engineering", "sso-admins"},
		}},
		{tenant: "globex", user: testidp.User{
			Name: "hank@globex.example", Password: "springfield", GivenName: "Hank", Surname: "Scorpio",
			Email: "hank@globex.example", DisplayName: "Hank Scorpio",
			// The sample maps Entra ID's own name for groups.
			Attributes: map[string][]string{
				testidp.ClaimGroup: nil,
				"http://schemas.microsoft.com/ws/2008/06/identity/claims/groups": {"executives"},
			},
		}},
	} {
		var err error
		if p.IDP, err = testidp.New(testidp.Options{EntityID: "https://idp." + p.tenant + ".example/", Users: []testidp.User{p.user}}); err != nil {
			return err
		}
		p.server = quiet(httptest.NewUnstartedServer(p.IDP))
		port := 0
		if d.onNode {
			port = nodeIDPPort + i
			pair, err := d.peerCertificate("idp-" + p.tenant)
			if err != nil {
				return err
			}
			p.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		}
		if err := d.listen(p.server, port); err != nil {
			return err
		}
		p.server.StartTLS()
		p.SetBaseURL(p.server.URL)
		if d.onNode {
			// A browser outside of the node's network gets there.
			p.SetBaseURL(fmt.Sprintf("https://localhost:%d", port))
		}
		d.providers = append(d.providers, p)
	}
	d.app = &application{}
	d.app.server = quiet(httptest.NewUnstartedServer(d.app))
	if err := d.listen(d.app.server, 0); err != nil {
		return err
	}
	d.app.server.Start()
	return nil
}

// listen gives a server that was not started an address of the demo, and a free
// port if it is zero.
func (d *demo) listen(server *httptest.Server, port int) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(d.address, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	_ = server.Listener.Close() // a port that it has taken by itself
	server.Listener = listener
	return nil
}

// peerCertificate makes the TLS certificate of a server on the node.
func (d *demo) peerCertificate(name string) (tls.Certificate, error) {
	certificate, key, err := d.serverCertificate(name, "localhost", d.address)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.LoadX509KeyPair(certificate, key)
}

// quiet drops the server's log: browsers that do not trust the demo's
// certificates would fill the terminal.
func quiet(s *httptest.Server) *httptest.Server {
	s.Config.ErrorLog = log.New(discard{}, "", 0)
	return s
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// ca returns the certificate that verifies the provider's TLS, PEM.
func (p provider) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}))
}

// application is the protected one: it knows nothing of SAML and shows what
// the gateway tells it.
type application struct {
	server *httptest.Server
	mu     sync.Mutex
	seen   *seen
}

// seen is what the application was told with a request.
type seen struct {
	Path, User, Email, Tenant string
	Groups                    []string
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := &seen{
		Path: r.URL.RequestURI(), User: r.Header.Get("X-Auth-Request-User"), Email: r.Header.Get("X-Auth-Request-Email"),
		Tenant: r.Header.Get("X-Auth-Request-Tenant"), Groups: strings.Split(r.Header.Get("X-Auth-Request-Groups"), ","),
	}
	if r.URL.Path != "/favicon.ico" {
		a.mu.Lock()
		a.seen = s
		a.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(s) // the browser may be gone
}

// last returns what was seen last and forgets it.
func (a *application) last() *seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.seen
	a.seen = nil
	return s
}

func (d *demo) startOperator(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	d.gateway = fmt.Sprintf("%s:%d", baseDomain, port)
	health, err := freePort()
	if err != nil {
		return err
	}
	refresh, err := freePort()
	if err != nil {
		return err
	}
	d.operator = fmt.Sprintf("127.0.0.1:%d", refresh)
	kubeconfig, err := d.writeKubeconfig("operator", "saml-operator")
	if err != nil {
		return err
	}
	if err := d.programs.start(d.directory, "bin/operator", []string{"KUBECONFIG=" + kubeconfig},
		"--namespace="+namespace, "--base-domain="+d.gateway, "--metadata-allow-cidrs=127.0.0.0/8",
		"--gateway-rollout=Off", "--refresh-bind-address="+d.operator, fmt.Sprintf("--health-probe-bind-address=127.0.0.1:%d", health)); err != nil {
		return err
	}
	return answers(ctx, fmt.Sprintf("http://127.0.0.1:%d/readyz", health))
}

func (d *demo) startGateway(ctx context.Context) error {
	certificate, key, err := d.serverCertificate("gateway", "*."+baseDomain)
	if err != nil {
		return err
	}
	kubeconfig, err := d.writeKubeconfig("gateway", "saml-gateway")
	if err != nil {
		return err
	}
	token, err := d.operatorToken(ctx)
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	internal := fmt.Sprintf("127.0.0.1:%d", port)
	_, public, err := net.SplitHostPort(d.gateway)
	if err != nil {
		return err
	}
	if err := d.programs.start(d.directory, "bin/gateway", nil,
		"--listen=127.0.0.1:"+public, "--internal-listen="+internal,
		"--tls-cert-file="+certificate, "--tls-key-file="+key, "--namespace="+namespace, "--kubeconfig="+kubeconfig,
		"--operator-url=http://"+d.operator, "--operator-token-file="+token,
		"--upstream="+d.app.server.URL, "--data-dir="+filepath.Join(d.directory, "data")); err != nil {
		return err
	}
	return answers(ctx, "http://"+internal+"/readyz")
}

// operatorToken returns a file with the token that in a cluster a projected
// volume holds, and replaces every few minutes.
func (d *demo) operatorToken(ctx context.Context) (string, error) {
	token, err := d.kubectl(ctx, "create", "token", "saml-gateway", "--audience=saml-operator", "--duration=24h")
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.directory, "operator-token")
	return file, os.WriteFile(file, []byte(token), 0o600)
}

// applySamples applies config/samples as they are, but for the metadata URLs,
// which are those of the demo's own identity providers.
func (d *demo) applySamples(ctx context.Context) error {
	patches := "patches:\n"
	for _, p := range d.providers {
		patch, err := json.Marshal([]map[string]string{
			{"op": "replace", "path": "/spec/metadataURL", "value": d.metadataURL(p)},
			{"op": "add", "path": "/spec/metadataCA", "value": p.ca()},
		})
		if err != nil {
			return err
		}
		patches += fmt.Sprintf("- target: {kind: SAMLTenant, name: %s}\n  patch: '%s'\n", p.tenant, patch)
	}
	return d.applyOverlay(ctx, "tenants", "namespace: "+namespace+"\n"+patches, "config/samples")
}

func (d *demo) waitReady(ctx context.Context) error {
	_, err := d.kubectl(ctx, "wait", "--for=condition=Ready", "--timeout=120s", "samltenants", "--all")
	return err
}

// serverCertificate makes a TLS certificate for host names and addresses.
func (d *demo) serverCertificate(name string, hosts ...string) (certificateFile, keyFile string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "saml-operator demo"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	certificateFile, keyFile = filepath.Join(d.directory, name+".crt"), filepath.Join(d.directory, name+".key")
	for file, block := range map[string]*pem.Block{
		certificateFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return "", "", err
		}
	}
	return certificateFile, keyFile, nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// answers waits until url answers 200.
func answers(ctx context.Context, url string) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", url, ctx.Err())
		case <-ticker.C:
		}
	}
}

// trust has the certificates of the demo's servers.
func (d *demo) trust() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, p := range d.providers {
		pool.AddCert(p.server.Certificate())
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(d.directory, "gateway.crt"), filepath.Join(d.directory, "gateway.key"))
	if err != nil {
		return nil, err
	}
	pool.AddCert(pair.Leaf)
	return pool, nil
}
