// Package paths tells the gateway's own paths from the application's, and
// where a browser may be sent to after a sign-in.
package paths

import (
	"net/url"
	"strings"
)

// maxReturnTo bounds a deep link, in bytes and escaped: it travels in a cookie.
const maxReturnTo = 2048

// Home is where users go who came from nowhere in particular.
const Home = "/"

// ReturnTo returns where to send the browser after the sign-in: target if
// it is a path on the same host, else Home. The result is ASCII, and no
// browser reads another host or one of our own endpoints into it.
func ReturnTo(target string) string {
	if len(target) > maxReturnTo || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") {
		return Home
	}
	for i := range len(target) {
		// Browsers take a backslash for a slash, and skip tabs and newlines.
		if c := target[i]; c < 0x20 || c == 0x7f || c == '\\' {
			return Home
		}
	}
	u, err := url.Parse(target)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" {
		return Home
	}
	if !safePath(u.Path) || Own(u.Path) {
		return Home
	}
	if target = escapeNonASCII(target); len(target) > maxReturnTo {
		return Home
	}
	return target
}

// OnSite is ReturnTo for a target that may be a whole URL of the site, which is
// an origin such as https://acme.example.
func OnSite(site, target string) string {
	// What else begins so, another host or port, is no path without it.
	return ReturnTo(strings.TrimPrefix(target, site))
}

// safePath looks at the path as a server behind us might decode it.
func safePath(path string) bool {
	if strings.HasPrefix(path, "//") {
		return false
	}
	for i := range len(path) {
		if c := path[i]; c < 0x20 || c == 0x7f || c == '\\' {
			return false
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch strings.ToLower(segment) {
		case ".", "..", "%2e", ".%2e", "%2e.", "%2e%2e":
			return false
		}
	}
	return true
}

// Own says whether path is the gateway's and not the application's.
func Own(path string) bool {
	return path == "/saml" || strings.HasPrefix(path, "/saml/")
}

func escapeNonASCII(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
