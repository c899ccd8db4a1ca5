package forwarded_test

import (
	"net/http"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/forwarded"
)

func TestParse(t *testing.T) {
	for text, good := range map[string]bool{
		"": true, "10.0.0.0/8": true, "10.1.0.0/16, fc00::/7": true, "192.0.2.1/32": true, "2001:db8::/64": true,
		"0.0.0.0/0": false, "::/0": false, "0.0.0.0/1": false, "2000::/3": false, "10.0.0.0/24,::/0": false,
		"::ffff:0.0.0.0/96": false, "10.0.0.1": false, "10.0.0.1/8": false, "10.0.0.0/8,": false, "private": false,
	} {
		if _, err := forwarded.Parse(text); (err == nil) != good {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

func TestClient(t *testing.T) {
	proxies, err := forwarded.Parse("10.0.0.0/24,2001:db8::/64")
	if err != nil {
		t.Fatal(err)
	}
	const peer, stranger = "10.0.0.1:5000", "192.0.2.9:5000"
	for name, test := range map[string]struct {
		peer  string
		lines []string
		want  string
	}{
		"one hop":                  {peer, []string{"198.51.100.7"}, "198.51.100.7:0"},
		"stranger as a peer":       {stranger, []string{"198.51.100.7"}, stranger},
		"nothing said":             {peer, nil, peer},
		"client lies":              {peer, []string{"6.6.6.6, 198.51.100.7"}, "198.51.100.7:0"},
		"client lies in trusted":   {peer, []string{"10.0.0.9, 198.51.100.7"}, "198.51.100.7:0"},
		"client writes rubbish":    {peer, []string{"<script>, 198.51.100.7"}, "198.51.100.7:0"},
		"two trusted hops":         {peer, []string{"6.6.6.6, 198.51.100.7, 10.0.0.2"}, "198.51.100.7:0"},
		"a line by each proxy":     {peer, []string{"6.6.6.6", "198.51.100.7", "10.0.0.2"}, "198.51.100.7:0"},
		"client within":            {peer, []string{"10.0.0.7, 10.0.0.2"}, "10.0.0.7:0"},
		"with a port":              {peer, []string{"198.51.100.7:1234"}, "198.51.100.7:0"},
		"IPv6":                     {"[2001:db8::1]:5000", []string{"2001:db8:1::7"}, "[2001:db8:1::7]:0"},
		"IPv6 with a port":         {peer, []string{"[2001:db8:1::7]:1234"}, "[2001:db8:1::7]:0"},
		"IPv4 in IPv6":             {"[::ffff:10.0.0.1]:5000", []string{"::ffff:198.51.100.7"}, "198.51.100.7:0"},
		"rubbish":                  {peer, []string{"198.51.100.7, unknown"}, peer},
		"empty hop":                {peer, []string{"198.51.100.7,"}, peer},
		"zone":                     {peer, []string{"fe80::1%eth0"}, peer},
		"too many trusted hops":    {peer, []string{"198.51.100.7" + strings.Repeat(",10.0.0.2", 16)}, peer},
		"many lines of a client's": {peer, append(make([]string, 200), "198.51.100.7"), "198.51.100.7:0"},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-For": test.lines, "Forwarded": {"for=6.6.6.6"}}}
		if got, plain := proxies.Client(r); got != test.want || plain {
			t.Errorf("%s: got %s (plain: %v), want %s", name, got, plain, test.want)
		}
	}
}

func TestPlain(t *testing.T) {
	proxies, err := forwarded.Parse("10.0.0.0/24")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		peer  string
		proto []string
		want  bool
	}{
		{"10.0.0.1:5000", []string{"http"}, true},
		{"10.0.0.1:5000", []string{"https"}, false},
		{"10.0.0.1:5000", nil, false},
		{"10.0.0.1:5000", []string{"https,http"}, false},
		{"10.0.0.1:5000", []string{"http", "http"}, false},
		{"192.0.2.9:5000", []string{"http"}, false},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-Proto": test.proto}}
		if _, plain := proxies.Client(r); plain != test.want {
			t.Errorf("%s, %q: plain is %v", test.peer, test.proto, plain)
		}
	}
}
