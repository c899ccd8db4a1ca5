package server_test

import (
	"net/url"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/server"
)

func TestSafeReturnToKeepsDeepLinks(t *testing.T) {
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
		if got := server.SafeReturnTo(target); got != want {
			t.Errorf("%q became %q, want %q", target, got, want)
		}
	}
}

// Row T7.
func TestSafeReturnToRefusesOtherSites(t *testing.T) {
	for _, target := range []string{
		"", " ", "a", "evil.example", "evil.example/path", "?a=b", "#a", ".", "..", "*",
		"//evil.example", "//evil.example/", "///evil.example", "////evil.example",
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
	} {
		if got := server.SafeReturnTo(target); got != "/" {
			t.Errorf("%q became %q, want /", target, got)
		}
	}
}

func FuzzSafeReturnTo(f *testing.F) {
	for _, seed := range []string{"/a?b#c", "//evil.example", `/\evil.example`, "/%2f/evil.example", "/a/../b", "/\t/evil.example"} {
		f.Add(seed)
	}
	base, err := url.Parse("https://acme.s.localhost/saml/acs")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, target string) {
		got := server.SafeReturnTo(target)
		u, err := base.Parse(got)
		if err != nil || u.Scheme != "https" || u.Host != base.Host || u.User != nil {
			t.Errorf("%q became %q, which leads to %v", target, got, u)
		}
		if again := server.SafeReturnTo(got); again != got {
			t.Errorf("%q became %q, and that became %q", target, got, again)
		}
		for i := range len(got) {
			if c := got[i]; c <= ' ' || c >= 0x7f || c == '\\' {
				t.Errorf("%q became %q", target, got)
			}
		}
	})
}
