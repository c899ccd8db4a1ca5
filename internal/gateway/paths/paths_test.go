package paths_test

import (
	"net/url"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/paths"
)

func TestReturnToKeepsDeepLinks(t *testing.T) {
	for target, want := range map[string]string{
		"/":                              "/",
		"/reports":                       "/reports",
		"/a/b/?c=d&e=f":                  "/a/b/?c=d&e=f",
		"/a?next=https://other.example/": "/a?next=https://other.example/",
		"/a?x=//y":                       "/a?x=//y",
		"/a//b":                          "/a//b",
		"/a%2Fb%20c?d=%00":               "/a%2Fb%20c?d=%00",
		"/a#/route?x":                    "/a#/route?x",
		"/@user":                         "/@user",
		"/suche?q=ü ä":                   "/suche?q=%C3%BC%20%C3%A4",
		"/<b>\"":                         "/%3Cb%3E%22",
		"/samlp":                         "/samlp",
		"/...":                           "/...",
		"/a;b=c":                         "/a;b=c",
	} {
		if got := paths.ReturnTo(target); got != want {
			t.Errorf("%q became %q, want %q", target, got, want)
		}
	}
}

// elsewhere are targets that lead to another site, or to one of our own
// endpoints, in the eyes of some browser or server.
var elsewhere = []string{
	"", " ", "a", "evil.example", "evil.example/path", "?a=b", "#a", ".", "..", "*",
	"//", "//?a", "//#a", "//evil.example", "//evil.example/", "///evil.example", "////evil.example",
	`/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`, `//\evil.example`, `/a\..\b`,
	"/\t/evil.example", "/\n/evil.example", "\t//evil.example", " //evil.example", "/\r\nSet-Cookie: a=b", "/a\x00b", "/a\x7f",
	"http://evil.example", "https://evil.example", "HTTPS://evil.example", "https:evil.example", "http:www", "https:/evil.example", "https:///evil.example",
	"javascript:alert(1)", "data:text/html,x", "ftp://evil.example", "blob:https://evil.example/x",
	"/%2F/evil.example", "/%2f%2fevil.example", "/%5Cevil.example", "/%5c/evil.example", "/%09/evil.example", "/%0d%0aSet-Cookie:a=b", "/%00",
	"/./evil.example", "/.//evil.example", "/..//evil.example", "/a/../../evil.example", "/%2e//evil.example", "/%2E%2e/saml/logout", "/%252e%252e/saml/logout",
	"/saml", "/saml/logout", "/saml/login?return_to=/saml/login", "/%73aml/logout", "/a/../saml/logout",
	"/a%zz", "/" + strings.Repeat("a", 2048),
	"https://acme.s.localhost@evil.example/", "https://acme.s.localhost/", "@evil.example", ":80", "//acme.s.localhost:80@evil.example",
	"/" + strings.Repeat("ü", 400),
	"／evil.example", "/／evil.example\\", "\u2028//evil.example",
}

func TestT7_ReturnToLeadsToNoOtherSite(t *testing.T) {
	for _, target := range elsewhere {
		if got := paths.ReturnTo(target); got != "/" {
			t.Errorf("%q became %q, want /", target, got)
		}
	}
}

// FuzzReturnTo holds what comes of a target to what Go and what browsers
// make of it.
func FuzzReturnTo(f *testing.F) {
	for _, seed := range append([]string{"/a?b#c", "/a/../b", "/a%2F..%2Fb", "/a;/..;/b", "/a?/../saml"}, elsewhere...) {
		f.Add(seed)
	}
	base, err := url.Parse("https://acme.s.localhost/saml/acs")
	if err != nil {
		f.Fatal(err)
	}
	const site = "https://acme.s.localhost"
	for _, seed := range elsewhere {
		f.Add(site + seed)
	}
	check := func(t *testing.T, target, got string) {
		u, err := base.Parse(got)
		if err != nil || u.Scheme != "https" || u.Host != base.Host || u.User != nil || isOwn(u.Path) {
			t.Errorf("%q became %q, which leads to %v", target, got, u)
		}
		if path, stays := browserPath(got); !stays || isOwn(path) {
			t.Errorf("%q became %q, where browsers go to %q, on this host: %t", target, got, path, stays)
		}
		if again := paths.ReturnTo(got); again != got {
			t.Errorf("%q became %q, and that became %q", target, got, again)
		}
		for i := range len(got) {
			if c := got[i]; c <= ' ' || c >= 0x7f || c == '\\' {
				t.Errorf("%q became %q", target, got)
			}
		}
	}
	f.Fuzz(func(t *testing.T, target string) {
		for _, target := range []string{target, site + target} {
			check(t, target, paths.ReturnTo(target))
			check(t, target, paths.OnSite(site, target))
		}
	})
}

func TestT7_OnSiteLeadsToNoOtherSite(t *testing.T) {
	const site = "https://acme.s.localhost"
	for target, want := range map[string]string{
		"/reports?a=b": "/reports?a=b", site: "/", site + "/": "/", site + "/reports#a": "/reports#a", site + site + "/a": "/",
		"HTTPS://acme.s.localhost/a": "/", site + ":443/a": "/", site + ".evil.example/": "/", site + "@evil.example/": "/",
	} {
		if got := paths.OnSite(site, target); got != want {
			t.Errorf("%q became %q, want %q", target, got, want)
		}
	}
	for _, target := range elsewhere {
		for _, target := range []string{site + target, site + site + target} {
			if got := paths.OnSite(site, target); got != "/" {
				t.Errorf("%q became %q, want /", target, got)
			}
		}
		// A URL of the site itself is among them.
		if got := paths.OnSite(site, target); got != "/" {
			t.Errorf("%q became %q, want /", target, got)
		}
	}
}

func TestBrowserPathLeavesTheHostAsBrowsersDo(t *testing.T) {
	for _, target := range []string{"//x", `/\x`, `\/x`, "/\t/x", " //x", "https:x", "javascript:x", "\n/\r/\tx"} {
		if path, stays := browserPath(target); stays {
			t.Errorf("%q leads to %q", target, path)
		}
	}
	for target, want := range map[string]string{"/a/../saml": "/saml", "/a/%2E./saml?x": "/saml", "/./a/.": "/a/", `/a\b`: "/a/b", "/%73aml": "/saml"} {
		if path, stays := browserPath(target); !stays || path != want {
			t.Errorf("%q leads to %q, %t", target, path, stays)
		}
	}
}

// browserPath is the URL parser of browsers [WHATWG URL 4.4], as far as a
// reference on an https page needs it: the decoded path that is asked for, and
// whether it is on the same host at all.
func browserPath(reference string) (path string, stays bool) {
	reference = strings.TrimFunc(reference, func(r rune) bool { return r <= ' ' })
	reference = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(reference)
	reference, _, _ = strings.Cut(reference, "#")
	reference, _, _ = strings.Cut(reference, "?")
	reference = strings.ReplaceAll(reference, `\`, "/")
	if !strings.HasPrefix(reference, "/") || strings.HasPrefix(reference, "//") {
		return "", false // a scheme, a host, or relative to the page
	}
	var segments []string
	all := strings.Split(reference[1:], "/")
	for i, segment := range all {
		last := i == len(all)-1
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case "..":
			segments = segments[:max(0, len(segments)-1)]
		case ".":
		default:
			segments = append(segments, segment)
			last = false
		}
		if last {
			segments = append(segments, "")
		}
	}
	path, err := url.PathUnescape("/" + strings.Join(segments, "/"))
	return path, err == nil
}

func isOwn(path string) bool { return path == "/saml" || strings.HasPrefix(path, "/saml/") }
