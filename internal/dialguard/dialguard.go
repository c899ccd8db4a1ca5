// Package dialguard tells addresses on the public internet from those that lead
// to the inside, for what is fetched or asked because others have named it. It
// is asked for the very address that is about to be dialled, so that no second
// answer of DNS can come in between.
package dialguard

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
)

// ErrInside says that an address was not dialled.
var ErrInside = errors.New("address is not on the public internet")

// Control returns the ControlContext of a net.Dialer that dials what may allows,
// and otherwise fails with ErrInside.
func Control(may func(netip.Addr) bool) func(ctx context.Context, network, address string, c syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		target, err := netip.ParseAddrPort(address)
		if err != nil || !may(target.Addr()) {
			return ErrInside
		}
		return nil
	}
}

// Addresses that are not on the public internet, from the IANA
// special-purpose registries, and what else leads to the inside. IPv6 is
// public only within globalIPv6, which already excludes the unspecified and
// loopback addresses, IPv4-mapped ones, NAT64 (64:ff9b::/96), unique local,
// link-local and multicast ones, and with them fd00:ec2::254.
var (
	globalIPv6 = netip.MustParsePrefix("2000::/3")

	insidePrefixes = parsePrefixes(
		"0.0.0.0/8",        // this network
		"10.0.0.0/8",       // private
		"100.64.0.0/10",    // shared by carrier-grade NAT
		"127.0.0.0/8",      // loopback
		"168.63.129.16/32", // Azure's platform services
		"169.254.0.0/16",   // link-local, metadata services
		"172.16.0.0/12",    // private
		"192.0.0.0/24",     // IETF protocol assignments
		"192.0.2.0/24",     // documentation
		"192.88.99.0/24",   // 6to4 relays
		"192.168.0.0/16",   // private
		"198.18.0.0/15",    // benchmarks
		"198.51.100.0/24",  // documentation
		"203.0.113.0/24",   // documentation
		"224.0.0.0/4",      // multicast
		"240.0.0.0/4",      // reserved, broadcast

		"2001::/23",     // IETF protocol assignments, with Teredo and benchmarks
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4, leads to any IPv4 address
		"3fff::/20",     // documentation
	)
)

func parsePrefixes(texts ...string) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		prefixes[i] = netip.MustParsePrefix(text)
	}
	return prefixes
}

// privatePrefixes are those in which clusters have their Services and pods, and
// metadataAddresses what clouds have put among them: they give credentials.
var (
	privatePrefixes = parsePrefixes("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")

	metadataAddresses = parsePrefixes("100.100.100.200/32", "fd00:ec2::/32", "fd20:ce::254/128")
)

// Public reports whether the address is on the public internet or in one of the
// networks.
func Public(address netip.Addr, or ...netip.Prefix) bool {
	address = address.WithZone("").Unmap()
	if contain(or, address) {
		return true
	}
	if address.Is6() && !globalIPv6.Contains(address) {
		return false
	}
	return address.IsValid() && !contain(insidePrefixes, address)
}

// Private reports whether the address is one of a private network's, where a
// cluster's Services may be, but not of a cloud's metadata service.
func Private(address netip.Addr) bool {
	address = address.WithZone("").Unmap()
	return contain(privatePrefixes, address) && !contain(metadataAddresses, address)
}

func contain(prefixes []netip.Prefix, address netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(address) {
			return true
		}
	}
	return false
}
