// Package upstreams says which applications tenants may name for themselves.
// Whoever writes a tenant's configuration could have the gateway ask anybody
// that it can reach, so only what its owner has listed is asked: a name by its
// name, and whatever its name leads to by its address, when it is dialled.
package upstreams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cequence.cloud/saml-operator/internal/dialguard"
)

// ErrNotAllowed says that the gateway's owner has not allowed an application.
var ErrNotAllowed = errors.New("the application is not among those that the gateway's owner allows (--tenant-upstreams)")

// Allowed is what the gateway's owner allows; the zero value is nothing.
type Allowed struct {
	names    []name
	networks []netip.Prefix
}

// name is a host.
type name struct {
	// host is in lower case; what follows a first label of any kind, with the dot,
	// if wildcard.
	host     string
	wildcard bool
	// port is empty for any.
	port string
}

// hostName is a name in DNS: such as are written in lower case, and no address
// in whatever notation.
var hostName = regexp.MustCompile(`^([a-z0-9_]([-a-z0-9_]*[a-z0-9_])?\.)*[a-z]([-a-z0-9]*[a-z0-9])?$`)

// Parse reads a list with commas of names such as app.example.com,
// *.apps.example.com and app.customers.svc:8080, and of networks such as
// 10.1.2.0/24. A '*' stands for one label.
func Parse(list string) (Allowed, error) {
	var a Allowed
	if list == "" {
		return a, nil
	}
	for text := range strings.SplitSeq(list, ",") {
		if strings.Contains(text, "/") {
			network, err := netip.ParsePrefix(text)
			if err != nil || network != network.Masked() || network.Bits() == 0 {
				return Allowed{}, fmt.Errorf("%q is no network such as 10.1.2.0/24 or fd00::/64; all addresses are none", text)
			}
			a.networks = append(a.networks, network)
			continue
		}
		n, err := parseName(text)
		if err != nil {
			return Allowed{}, err
		}
		a.names = append(a.names, n)
	}
	return a, nil
}

func parseName(text string) (n name, err error) {
	n.host = text
	if host, port, ok := strings.Cut(text, ":"); ok {
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return name{}, fmt.Errorf("%q has no port from 1 to 65535 behind its ':'", text)
		}
		n.host, n.port = host, port
	}
	rest, wildcard := strings.CutPrefix(n.host, "*.")
	if !hostName.MatchString(rest) || wildcard && !strings.Contains(rest, ".") {
		return name{}, fmt.Errorf("%q is no host such as app.example.com, *.apps.example.com or app.customers.svc:8080, in lower case", text)
	}
	if wildcard {
		n.host, n.wildcard = "."+rest, true
	}
	return n, nil
}

// Check returns ErrNotAllowed unless the application at u is allowed by its
// name, or by the address that is in the place of one.
func (a Allowed) Check(u *url.URL) error {
	host, port := strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "h2c": "80", "https": "443"}[u.Scheme]
	}
	if address, err := netip.ParseAddr(host); err == nil {
		if a.inNetworks(address) {
			return nil
		}
		return ErrNotAllowed
	}
	for _, n := range a.names {
		if n.matches(host) && (n.port == "" || n.port == port) {
			return nil
		}
	}
	return ErrNotAllowed
}

func (n name) matches(host string) bool {
	if !n.wildcard {
		return host == n.host
	}
	label, ok := strings.CutSuffix(host, n.host)
	return ok && label != "" && !strings.Contains(label, ".")
}

// mayDial says whether the address may be one of the host's, which is allowed.
func (a Allowed) mayDial(host string, address netip.Addr) bool {
	if a.inNetworks(address) {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	// Whose Service it is says the cluster, and nobody out there.
	return dialguard.Public(address) || isService(host) && dialguard.Private(address)
}

// isService says whether the host is a Service's: <name>.<namespace>.svc.
func isService(host string) bool {
	before, ok := strings.CutSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".svc")
	return ok && strings.Count(before, ".") == 1
}

func (a Allowed) inNetworks(address netip.Addr) bool {
	address = address.WithZone("").Unmap()
	for _, network := range a.networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// Dialer returns the DialContext of a transport to allowed applications. Whether
// a name is allowed it does not ask again.
func (a Allowed) Dialer(timeout time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		dialer := net.Dialer{Timeout: timeout, ControlContext: dialguard.Control(func(ip netip.Addr) bool { return a.mayDial(host, ip) })}
		return dialer.DialContext(ctx, network, address)
	}
}
