package peers

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"cequence.cloud/saml-operator/internal/testidp"
	"cequence.cloud/saml-operator/test/traffic"
)

// server is an HTTP server that can go away and come back at the same address.
type server struct {
	handler http.Handler
	tls     *tls.Config // nil for plain HTTP
	address string

	mu      sync.Mutex
	running *http.Server // nil while it is away
}

// listen starts a server at a free port of the address.
func listen(ip string, handler http.Handler, config *tls.Config) (*server, error) {
	s := &server{handler: handler, tls: config, address: net.JoinHostPort(ip, "0")}
	return s, s.Start()
}

// Start has the server come back; one that is there stays.
func (s *server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return nil
	}
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen beside the node: %w", err)
	}
	s.address = listener.Addr().String()
	if s.tls != nil {
		listener = tls.NewListener(listener, s.tls)
	}
	s.running = &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: log.New(io.Discard, "", 0), // who is killed says no word
	}
	go func(running *http.Server) { _ = running.Serve(listener) }(s.running)
	return nil
}

// Stop has the server go away at once, with all connections.
func (s *server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return nil
	}
	err := s.running.Close()
	s.running = nil
	return err
}

// usersOfProvider is how many people each identity provider knows.
const usersOfProvider = 40

// Provider is the identity provider of one tenant, at an address of its own.
type Provider struct {
	*testidp.IDP
	*server
	Tenant string
	Users  []testidp.User
}

// NewProvider starts the identity provider of a tenant.
func NewProvider(authority *Authority, ip, tenant string) (*Provider, error) {
	p := &Provider{Tenant: tenant, Users: users(tenant, usersOfProvider)}
	var err error
	p.IDP, err = testidp.New(testidp.Options{EntityID: "https://idp." + tenant + ".example/", Users: p.Users})
	if err != nil {
		return nil, err
	}
	pair, err := authority.pair(ip)
	if err != nil {
		return nil, err
	}
	if p.server, err = listen(ip, p.IDP, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}); err != nil {
		return nil, err
	}
	p.SetBaseURL("https://" + p.address)
	return p, nil
}

func users(tenant string, n int) []testidp.User {
	var people []testidp.User
	for i := range n {
		name := fmt.Sprintf("person-%d@%s.example", i, tenant)
		people = append(people, testidp.User{Name: name, Password: "correct horse", Email: name, DisplayName: name, Groups: []string{"staff"}})
	}
	return people
}

// Farm is one host with the identity providers of many tenants, as Entra ID is.
type Farm struct {
	*server
	Providers []*Provider
}

// signingKeys are shared, since each takes a tenth of a second to make.
const signingKeys = 4

// NewFarm starts a Farm.
func NewFarm(authority *Authority, ip string, tenants []string) (*Farm, error) {
	pair, err := authority.pair(ip)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	f := &Farm{}
	if f.server, err = listen(ip, mux, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}); err != nil {
		return nil, err
	}
	var keys []*testidp.Key
	for range signingKeys {
		key, err := testidp.NewKey(testidp.KeyOptions{})
		if err != nil {
			return nil, errors.Join(err, f.Stop())
		}
		keys = append(keys, key)
	}
	for i, tenant := range tenants {
		p := &Provider{Tenant: tenant, Users: users(tenant, 1), server: f.server}
		p.IDP, err = testidp.New(testidp.Options{
			BaseURL: "https://" + f.address + "/" + tenant, EntityID: "https://idp." + tenant + ".example/",
			Users: p.Users, Keys: keys[i%len(keys) : i%len(keys)+1],
		})
		if err != nil {
			return nil, errors.Join(err, f.Stop())
		}
		mux.Handle("/"+tenant+"/", http.StripPrefix("/"+tenant, p.IDP))
		f.Providers = append(f.Providers, p)
	}
	return f, nil
}

// Application is what the gateway protects: it knows nothing of SAML and says
// what it was told.
type Application struct{ *server }

// NewApplication starts an Application.
func NewApplication(ip string) (*Application, error) {
	s, err := listen(ip, http.HandlerFunc(tell), nil)
	return &Application{s}, err
}

// URL of the application.
func (a *Application) URL() string { return "http://" + a.address }

func tell(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(traffic.Seen{ // the client may be gone
		Tenant: r.Header.Get("X-Auth-Request-Tenant"), User: r.Header.Get("X-Auth-Request-User"), Email: r.Header.Get("X-Auth-Request-Email"),
	})
}

// Site is the tenant as its people know it, below a base domain.
func (p *Provider) Site(baseDomain string) *traffic.Site {
	return &traffic.Site{Tenant: p.Tenant, Origin: "https://" + p.Tenant + "." + baseDomain, IDP: p.IDP, Users: p.Users}
}
