// Package rig sets up an installation with everything around it, has people work
// with it, takes parts of it away, and tells when all is well again.
package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/testpostgres"
	"cequence.cloud/saml-operator/test/cluster"
	"cequence.cloud/saml-operator/test/peers"
	"cequence.cloud/saml-operator/test/traffic"
)

const (
	// Namespace of the installation, as config/default has it.
	Namespace = "saml-operator-system"
	// BaseDomain needs no DNS: people are told where the gateway is.
	BaseDomain = "s.suite.example"
	// databasePort is not PostgreSQL's own, which may be taken.
	databasePort = 54329
	// startTimeout bounds the installation.
	startTimeout = 5 * time.Minute
	// staying are the people of each tenant who work all the time.
	staying = 8
)

// Options of a Rig.
type Options struct {
	// Node is the command that stops and starts the control plane; empty if the
	// cluster is not ours to stop.
	Node string
	// Address of this machine, at which pods reach what stands beside the cluster.
	// Empty: that of the node, if it is ours.
	Address string
	// Gateway is where browsers reach the gateway; empty for its Service.
	Gateway string
	// Directory takes the manifests that are applied.
	Directory string
	// ImagePrefix and Tag name the images, Manifests the directory that goes with
	// them; empty for that of this tree.
	ImagePrefix, Tag, Manifests string
}

// Rig is everything that runs.
type Rig struct {
	*cluster.Cluster
	Installation cluster.Installation
	Authority    *peers.Authority
	Database     *testpostgres.Server
	Load         *traffic.Load
	Providers    []*peers.Provider
	// Address is this machine's, Gateway the gateway's.
	Address, Gateway string

	directory   string
	sites       []*traffic.Site
	application *peers.Application
	background  sync.WaitGroup
	stop        context.CancelFunc

	mu       sync.Mutex
	outages  []*traffic.Outage
	replicas []string
	wanted   map[string]string // display names, by tenant
	edits    int
}

// Start installs the product and starts all that stands beside it. Close it.
func Start(ctx context.Context, o Options) (_ *Rig, err error) {
	r := &Rig{directory: o.Directory, wanted: map[string]string{}, stop: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if r.Cluster, err = cluster.Open(o.Node); err != nil {
		return nil, err
	}
	if err := r.Free(ctx, Namespace); err != nil {
		return nil, err
	}
	if r.Address, err = r.ownAddress(ctx, o.Address); err != nil {
		return nil, err
	}
	if err := r.startPeers(); err != nil {
		return nil, err
	}
	r.Installation = cluster.Installation{
		Namespace: Namespace, BaseDomain: BaseDomain, Replicas: 2,
		ImagePrefix: o.ImagePrefix, OperatorTag: o.Tag, GatewayTag: o.Tag, Manifests: o.Manifests,
	}
	if err := r.Complete(ctx, &r.Installation); err != nil {
		return nil, err
	}
	if err := r.Apply(ctx); err != nil {
		return nil, err
	}
	if r.Gateway = o.Gateway; r.Gateway == "" {
		var service corev1.Service
		if err := r.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: cluster.Gateway}, &service); err != nil {
			return nil, err
		}
		r.Gateway = net.JoinHostPort(service.Spec.ClusterIP, "443")
	}
	if err := cluster.Wait(ctx, func(ctx context.Context) error {
		connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", r.Gateway)
		if err != nil {
			return fmt.Errorf("the gateway is not reached from here, so that nobody can sign in: %w", err)
		}
		return connection.Close()
	}); err != nil {
		return nil, err
	}
	r.Load = traffic.New(traffic.Options{Roots: r.Authority.Pool(), Gateway: r.Gateway})
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	r.background.Go(func() { r.Load.Run(running) })
	r.background.Go(func() { r.followReplicas(running) })
	return r, nil
}

// ownAddress returns the address that was named, or that of the only node if it
// is this machine's.
func (r *Rig) ownAddress(ctx context.Context, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	var nodes corev1.NodeList
	if err := r.List(ctx, &nodes); err != nil {
		return "", err
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, node := range nodes.Items {
		for _, a := range node.Status.Addresses {
			mine := slices.ContainsFunc(own, func(n net.Addr) bool {
				prefix, err := netip.ParsePrefix(n.String())
				return err == nil && prefix.Addr().String() == a.Address
			})
			if a.Type == corev1.NodeInternalIP && mine {
				return a.Address, nil
			}
		}
	}
	return "", errors.New("no node of the cluster is this machine: name by -address where pods reach it")
}

func (r *Rig) startPeers() (err error) {
	ip, err := netip.ParseAddr(r.Address)
	if err != nil {
		return err
	}
	if r.Authority, err = peers.NewAuthority(); err != nil {
		return err
	}
	if r.application, err = peers.NewApplication(r.Address); err != nil {
		return err
	}
	r.Database, err = testpostgres.Listen(netip.AddrPortFrom(ip, databasePort))
	return err
}

// Complete fills in what every installation here has: application, database,
// authority and certificate.
func (r *Rig) Complete(ctx context.Context, i *cluster.Installation) (err error) {
	if i.DatabaseURL, err = r.Database.CreateDatabase(ctx); err != nil {
		return err
	}
	i.Upstream, i.Authorities = r.application.URL(), r.Authority.PEM()
	i.AllowCIDRs = netip.PrefixFrom(netip.MustParseAddr(r.Address), netip.MustParseAddr(r.Address).BitLen()).String()
	i.Certificate, i.Key, err = r.Authority.Issue("*." + i.BaseDomain)
	return err
}

// Apply applies the installation as it is now, and waits until it runs.
func (r *Rig) Apply(ctx context.Context) error {
	return r.Install(ctx, filepath.Join(r.directory, "install"), r.Installation)
}

// Directory of the installation's kustomization.
func (r *Rig) Directory() string { return filepath.Join(r.directory, "install") }

// NewProvider starts the identity provider of a tenant that is not there yet.
func (r *Rig) NewProvider(tenant string) (*peers.Provider, error) {
	p, err := peers.NewProvider(r.Authority, r.Address, tenant)
	if err != nil {
		return nil, err
	}
	r.Providers = append(r.Providers, p)
	return p, nil
}

// Tenant is the manifest for a provider: two fields.
func Tenant(p *peers.Provider) *v1alpha1.SAMLTenant {
	return &v1alpha1.SAMLTenant{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: p.Tenant},
		Spec:       v1alpha1.SAMLTenantSpec{CustomerName: p.Tenant, MetadataURL: p.MetadataURL()},
	}
}

// Onboard starts a provider, applies its tenant and has its people come to work.
func (r *Rig) Onboard(ctx context.Context, tenant string) (*peers.Provider, error) {
	p, err := r.NewProvider(tenant)
	if err != nil {
		return nil, err
	}
	if err := r.Create(ctx, Tenant(p)); err != nil {
		return nil, err
	}
	return p, r.Populate(ctx, p)
}

// Populate has people of a tenant come to work as soon as all replicas know it.
func (r *Rig) Populate(ctx context.Context, p *peers.Provider) error {
	if err := cluster.Wait(ctx, func(ctx context.Context) error { return r.ServedEverywhere(ctx, p.Tenant) }); err != nil {
		return err
	}
	site := p.Site(BaseDomain)
	if err := r.Load.Add(ctx, staying, site); err != nil {
		return err
	}
	r.sites = append(r.sites, site)
	return nil
}

// Sites are those that were populated, or only those of the tenants named.
func (r *Rig) Sites(tenants ...string) []*traffic.Site {
	if len(tenants) == 0 {
		return r.sites
	}
	return slices.DeleteFunc(slices.Clone(r.sites), func(s *traffic.Site) bool { return !slices.Contains(tenants, s.Tenant) })
}

// Replicas returns the addresses of the gateway's pods, as they were known last.
func (r *Rig) Replicas() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.replicas)
}

func (r *Rig) followReplicas(ctx context.Context) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		var slicesOfService discoveryv1.EndpointSliceList
		err := r.List(ctx, &slicesOfService, client.InNamespace(Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: cluster.Gateway})
		if err == nil {
			var found []string
			for _, s := range slicesOfService.Items {
				for _, e := range s.Endpoints {
					for _, port := range s.Ports {
						found = append(found, net.JoinHostPort(e.Addresses[0], fmt.Sprint(*port.Port)))
					}
				}
			}
			r.mu.Lock()
			r.replicas = found
			r.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// Close ends everything that stands beside the cluster. The installation stays.
func (r *Rig) Close() error {
	r.stop()
	r.background.Wait()
	var errs []error
	for _, p := range r.Providers {
		errs = append(errs, p.Stop())
	}
	if r.application != nil {
		errs = append(errs, r.application.Stop())
	}
	if r.Database != nil {
		errs = append(errs, r.Database.Close())
	}
	return errors.Join(errs...)
}

// WriteReport writes a report in JSON for people and programs.
func WriteReport(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(content, '\n'), 0o644)
}

// WriteManifest writes a file beside the installation and returns its path.
func (r *Rig) WriteManifest(name, content string) (string, error) {
	file := filepath.Join(r.directory, name)
	return file, os.WriteFile(file, []byte(content), 0o600)
}
