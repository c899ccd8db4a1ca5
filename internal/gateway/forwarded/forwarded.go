// Package forwarded tells who has sent a request that came through proxies
// which the administrator trusts to say so.
//
// Only X-Forwarded-For and X-Forwarded-Proto count. A proxy that writes one
// convention passes on what a client has written in the other one, so that
// Forwarded [RFC 7239] beside them would be a way to lie.
package forwarded

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// The widest networks that may be trusted: 10.0.0.0/8 and fc00::/7 are private,
// anything wider holds addresses of strangers.
const (
	minBits4 = 8
	minBits6 = 7
)

// maxHops bounds the chain of trusted proxies.
const maxHops = 16

// Proxies are the networks of trusted proxies; none are trusted without any.
type Proxies []netip.Prefix

// Parse reads networks in CIDR notation, separated by commas. Its errors are
// sentences.
func Parse(text string) (Proxies, error) {
	if text == "" {
		return nil, nil
	}
	var proxies Proxies
	for part := range strings.SplitSeq(text, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%q is no network such as 10.0.0.0/24", part)
		}
		if prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("%q must be written as an IPv4 network", part)
		}
		if prefix != prefix.Masked() {
			return nil, fmt.Errorf("%q has bits set behind its length, %s does not", part, prefix.Masked())
		}
		least := minBits6
		if prefix.Addr().Is4() {
			least = minBits4
		}
		if prefix.Bits() < least {
			return nil, fmt.Errorf("%q holds addresses of strangers, who could then claim any address: name the networks of your proxies", part)
		}
		proxies = append(proxies, prefix)
	}
	return proxies, nil
}

// Client returns the address, with a port, of the client that has sent r, and
// whether it did so by plain HTTP to a trusted proxy. The port is 0 if a proxy
// has named the client. What cannot be understood leaves the peer's address.
func (p Proxies) Client(r *http.Request) (address string, plain bool) {
	if !p.Trust(r.RemoteAddr) {
		return r.RemoteAddr, false
	}
	address = r.RemoteAddr
	if client, err := p.client(r.Header.Values("X-Forwarded-For")); err == nil {
		address = netip.AddrPortFrom(client, 0).String()
	}
	// Of several proxies, the outermost one meets the client: a list does not
	// say which of them it is, and a wrong guess would redirect for ever.
	proto := r.Header.Values("X-Forwarded-Proto")
	return address, len(proto) == 1 && strings.EqualFold(proto[0], "http")
}

// Trust says whether a peer, named by address and port, is one of the proxies.
func (p Proxies) Trust(remoteAddress string) bool {
	peer, err := netip.ParseAddrPort(remoteAddress)
	return err == nil && p.trust(peer.Addr())
}

// client returns the rightmost address that is not a trusted proxy's: what is
// left of it was written by somebody whom nobody trusts. If all are trusted,
// the leftmost one is where the request began.
func (p Proxies) client(lines []string) (netip.Addr, error) {
	var client netip.Addr
	hops := strings.Split(strings.Join(lines, ","), ",")
	for i, hop := range slices.Backward(hops) {
		if len(hops)-i > maxHops {
			return netip.Addr{}, errors.New("too many hops")
		}
		addr, err := parseHop(strings.TrimSpace(hop))
		if err != nil {
			return netip.Addr{}, err
		}
		if client = addr; !p.trust(client) {
			break
		}
	}
	return client, nil
}

// parseHop reads an address; some proxies write its port, too.
func parseHop(hop string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(hop)
	if err != nil {
		withPort, err := netip.ParseAddrPort(hop)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("read address: %w", err)
		}
		addr = withPort.Addr()
	}
	if addr.Zone() != "" {
		return netip.Addr{}, errors.New("address has a zone")
	}
	return addr.Unmap(), nil
}

func (p Proxies) trust(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}
