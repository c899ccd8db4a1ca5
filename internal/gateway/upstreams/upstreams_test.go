package upstreams

import (
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/dialguard"
)

func TestParseRefuses(t *testing.T) {
	for _, list := range []string{
		"*", "*.com", "*.svc", "a*.example.com", "*.*.example.com", "app.example.com,", ",", "App.example.com", "https://app.example.com", "app.example.com:0",
		"app.example.com:http", "app.example.com:65536", "app.example.com:", "10.1.2.3", "10.1.2.3/8", "0.0.0.0/0", "::/0", "10.1.2.0/33", "127.1", "app_.example.com/a",
		"0x7f000001", "2130706433", "app..example.com", ".example.com", "app.example.com.", "a b", "[::1]:80",
	} {
		_, err := Parse(list)
		assert.Error(t, err, list)
	}
}

func TestT15_Check(t *testing.T) {
	allowed, err := Parse("app.example.com,*.apps.example.com:8443,app.customers.svc:8080,*.shop.svc,10.1.2.0/24,fd00:1::/64")
	require.NoError(t, err)
	for target, want := range map[string]bool{
		"https://app.example.com": true, "http://app.example.com:9000/base": true, "https://APP.example.com.": true,
		"https://a.apps.example.com:8443": true, "http://app.customers.svc:8080": true, "http://web.shop.svc": true,
		"http://10.1.2.3:80": true, "http://[fd00:1::1]": true, "http://[::ffff:10.1.2.3]": true,

		"https://example.com": false, "https://x.app.example.com": false, "https://app.example.com.evil.example": false, "https://evilapp.example.com": false,
		"https://a.apps.example.com": false, "https://apps.example.com:8443": false, "https://a.b.apps.example.com:8443": false, "https://.apps.example.com:8443": false,
		"http://app.customers.svc": false, "https://app.customers.svc": false, "http://other.customers.svc:8080": false,
		"http://kubernetes.default.svc": false, "http://shop.svc": false, "http://a.b.shop.svc": false,
		"http://10.1.3.1": false, "http://127.0.0.1:9090": false, "http://localhost:9090": false, "http://169.254.169.254/latest": false, "http://8.8.8.8": false,
		"http://[::1]:9090": false, "http://[fd00:2::1]": false, "http://167838211": false, "http://0x0a010203": false, "http://10.1.515": false,
	} {
		u, err := url.Parse(target)
		require.NoError(t, err)
		assert.Equal(t, want, allowed.Check(u) == nil, target)
		assert.ErrorIs(t, Allowed{}.Check(u), ErrNotAllowed, target)
	}
}

// A name that is allowed leads to the inside only where the cluster says so, or
// the network is allowed too.
func TestT15_MayDial(t *testing.T) {
	allowed, err := Parse("app.example.com,10.1.2.0/24")
	require.NoError(t, err)
	for address, want := range map[string][3]bool{ // of a host, of a Service, of an address
		"8.8.8.8":                {true, true, false},
		"10.1.2.3":               {true, true, true},
		"::ffff:10.1.2.3":        {true, true, true},
		"10.96.0.1":              {false, true, false},
		"fd00:2::1":              {false, true, false},
		"100.100.100.200":        {false, false, false},
		"169.254.169.254":        {false, false, false},
		"::ffff:169.254.169.254": {false, false, false},
		"168.63.129.16":          {false, false, false},
		"fd00:ec2::254":          {false, false, false},
		"127.0.0.1":              {false, false, false},
		"::1":                    {false, false, false},
		"0.0.0.0":                {false, false, false},
		"::":                     {false, false, false},
		"fe80::1":                {false, false, false},
	} {
		ip := netip.MustParseAddr(address)
		got := [3]bool{allowed.mayDial("app.example.com", ip), allowed.mayDial("App.customers.svc.", ip), allowed.mayDial(address, ip)}
		assert.Equal(t, want, got, address)
		for _, host := range []string{"evil.svc.example.com", "a.b.c.svc", "svc", "app.svc"} {
			assert.Equal(t, want[0], allowed.mayDial(host, ip), "%s at %s", host, address)
		}
	}
}

func TestT15_DialerChecksTheAddress(t *testing.T) {
	allowed, err := Parse("localhost.example.com")
	require.NoError(t, err)
	dial := allowed.Dialer(time.Second)
	for _, address := range []string{"127.0.0.1:9", "localhost:9", "[::1]:9"} {
		_, err := dial(t.Context(), "tcp", address)
		assert.ErrorIs(t, err, dialguard.ErrInside, address)
	}
}
