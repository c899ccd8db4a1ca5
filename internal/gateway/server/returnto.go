package server

import (
	"net/url"
	"strings"
)

// maxReturnTo bounds a deep link, in bytes and escaped: it travels in a cookie.
const maxReturnTo = 2048

// home is where users go who came from nowhere in particular.
const home = "/"

// SafeReturnTo returns where to send the browser after the sign-in: target if
// it is a path on the same host, else home. The result is ASCII, and no
// browser reads another host or one of our own endpoints into it.
func SafeReturnTo(target string) string {
	if len(target) > maxReturnTo || !strings.HasPrefix(target, "/") {
		return home
	}
	for i := range len(target) {
		// Browsers take a backslash for a slash, and skip tabs and newlines.
		if c := target[i]; c < 0x20 || c == 0x7f || c == '\\' {
			return home
		}
	}
	u, err := url.Parse(target)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" {
		return home
	}
	if !safePath(u.Path) || ownPath(u.Path) {
		return home
	}
	if target = escapeNonASCII(target); len(target) > maxReturnTo {
		return home
	}
	return target
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

// ownPath says whether path is the gateway's and not the application's.
func ownPath(path string) bool {
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
