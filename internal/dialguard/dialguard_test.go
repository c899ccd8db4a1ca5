package dialguard

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPublic(t *testing.T) {
	allowed := parsePrefixes("10.1.0.0/16", "fd00:1::/32")
	for address, may := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.15.255.255": true, "172.32.0.0": true, "100.63.255.255": true, "100.128.0.0": true,
		"2606:4700::1111": true, "2a00:1450:4001::1": true, "::ffff:8.8.8.8": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "10.2.0.1": false, "100.64.0.1": false, "100.100.100.200": false,
		"127.0.0.1": false, "127.255.255.255": false, "168.63.129.16": false, "169.254.169.254": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.0.0.192": false, "192.0.2.1": false, "192.88.99.1": false, "192.168.0.1": false, "198.18.0.1": false,
		"198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.250": false, "240.0.0.1": false, "255.255.255.255": false,

		"::": false, "::1": false, "::127.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:0:127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::808:808": false, "64:ff9b:1::1": false, "100::1": false, "2001::1": false, "2001:2::1": false,
		"2001:10::1": false, "2001:db8::1": false, "2002:7f00:1::": false, "3fff::1": false, "fc00::1": false, "fd00:ec2::254": false,
		"fe80::1": false, "fe80::1%eth0": false, "fec0::1": false, "ff02::1": false, "5f00::1": false,

		"10.1.2.3": true, "::ffff:10.1.2.3": true, "fd00:1::1": true, "fd00:2::1": false,
	} {
		assert.Equal(t, may, Public(netip.MustParseAddr(address), allowed...), address)
	}
	assert.False(t, Public(netip.Addr{}), "no address")
}

func TestPrivate(t *testing.T) {
	for address, private := range map[string]bool{
		"10.96.0.1": true, "100.64.0.1": true, "172.20.0.1": true, "192.168.1.1": true, "::ffff:10.0.0.1": true, "fd00:1::1": true, "fc00::1": true,

		"8.8.8.8": false, "127.0.0.1": false, "169.254.169.254": false, "168.63.129.16": false, "0.0.0.0": false, "224.0.0.1": false,
		"100.100.100.200": false, "fd00:ec2::254": false, "fd20:ce::254": false, "::1": false, "::ffff:127.0.0.1": false,
		"fe80::1": false, "::ffff:169.254.169.254": false, "64:ff9b::a00:1": false, "2001:db8::1": false,
	} {
		assert.Equal(t, private, Private(netip.MustParseAddr(address)), address)
	}
	assert.False(t, Private(netip.Addr{}), "no address")
}

func TestControl(t *testing.T) {
	control := Control(func(address netip.Addr) bool { return Public(address) })
	for address, want := range map[string]error{
		"8.8.8.8:443": nil, "[2606:4700::1111]:443": nil,
		"10.0.0.1:443": ErrInside, "[::ffff:127.0.0.1]:80": ErrInside, "[fe80::1%eth0]:80": ErrInside, "localhost:80": ErrInside, "": ErrInside,
	} {
		assert.ErrorIs(t, control(t.Context(), "tcp", address, nil), want, address)
	}
}
