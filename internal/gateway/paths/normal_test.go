package paths_test

import (
	"net/url"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/paths"
)

func TestNormalize(t *testing.T) {
	for escaped, want := range map[string]paths.Form{
		"/":                      {Path: "/", Folded: "/", Plain: len("/")},
		"/a/b/":                  {Path: "/a/b/", Folded: "/a/b/", Plain: len("/a/b/")},
		"/Admin/Users.json":      {Path: "/Admin/Users.json", Folded: "/admin/users.json", Plain: len("/Admin/Users.json")},
		"/%61dmin":               {Path: "/admin", Folded: "/admin", Plain: 1},
		"/a%2Db%7Ec":             {Path: "/a-b~c", Folded: "/a-b~c", Plain: 2},
		"/%40scope/x":            {Path: "/@scope/x", Folded: "/@scope/x", Plain: 1},
		"/a%20b%3Fc%23d":         {Path: "/a b?c#d", Folded: "/a b?c#d", Plain: len("/a b?c#d")},
		"/%C3%BC/%61":            {Path: "/ü/a", Folded: "/u/a", Plain: len("/ü/")},
		"/.well-known/x":         {Path: "/.well-known/x", Folded: "/.well-known/x", Plain: len("/.well-known/x")},
		"/v1/x:cancel":           {Path: "/v1/x:cancel", Folded: "/v1/x:cancel", Plain: len("/v1/x:cancel")},
		"/%C3%9Cbersicht":        {Path: "/Übersicht", Folded: "/ubersicht", Plain: len("/Übersicht")},
		"/U%CC%88bersicht":       {Path: "/U\u0308bersicht", Folded: "/ubersicht", Plain: len("/U\u0308bersicht")},
		"/%EF%BD%81dmin":         {Path: "/ａdmin", Folded: "/admin", Plain: len("/ａdmin")},
		"/adm%C4%B1n":            {Path: "/admın", Folded: "/admin", Plain: len("/admın")},
		"/ADM%C4%B0N":            {Path: "/ADMİN", Folded: "/admin", Plain: len("/ADMİN")},
		"/%E2%84%AAeys/%C5%BFee": {Path: "/\u212aeys/ſee", Folded: "/keys/see", Plain: len("/\u212aeys/ſee")},
		"/stra%C3%9Fe":           {Path: "/straße", Folded: "/strasse", Plain: len("/straße")},
		"/%F0%9F%98%80":          {Path: "/😀", Folded: "/😀", Plain: len("/😀")},
	} {
		if got, err := paths.Normalize(escaped); err != nil || got != want {
			t.Errorf("%q became %+v, %v, want %+v", escaped, got, err, want)
		}
	}
}

// ambiguous are paths that some server takes for others.
var ambiguous = []string{
	"", "*", "a", "%2Fa", "\\a",
	"/a%2Fb", "/a%2fb", "/a%5Cb", "/a%5cb", `/a\b`, "/a//b", "//a", "/a//", "//",
	"/.", "/..", "/a/.", "/a/./b", "/a/../b", "/%2e%2e/b", "/a/%2E./b", "/a/.%2e/b", "/a/..%2Fb",
	"/%252e%252e/b", "/a%252Fb", "/%2561dmin", "/100%25", "/a%25", "/a%25zz/..", "/%25%32%65%2e/b", "/a/%2%65%2e/b", "/a/.%25zz./b", "/%25u002e%25u002e/b",
	"/a%zz", "/a%", "/a%2", "/a%u002e",
	"/a;b", "/a;b=c/d", "/..;/b", "/a/.;/b", "/a%3Bb", "/;/b",
	"/a%00", "/a%00.json", "/a%0d%0ab", "/a%09", "/a%7f", "/a\x00", "/a\tb", "/a%C2%80", "/a%C2%85",
	"/%C0%AE%C0%AE/b", "/a%C0%AFb", "/a%E0%80%AFb", "/%ff", "/%ED%A0%80", "/a%C3",
	"/.. a", "/..a", "/a/...a", "/..~/b", "/.%23/b", "/admin.", "/admin./b", "/admin%20", "/admin%20/b", "/%20admin", "/a/.../b", "/a/. /b", "/a/..%20/b",
	"/a:$i30:$INDEX_ALLOCATION/b", "/a::$DATA",
	"/a%EF%BC%8Fb", "/a%EF%BC%BCb", "/%EF%BC%8E%EF%BC%8E/b", "/%E2%80%A5/b", "/%E2%80%A4./b", "/a%EF%BC%85b", "/a%EF%BC%9Bb", "/a%E2%81%84b", "/a%E2%88%95b", "/a%E2%88%96b", "/%E2%84%80",
	"/a%E2%80%8Bb", "/a%C2%ADb", "/a%E2%80%AEb", "/a%EF%BB%BFb", "/a%C2%A0", "/a%E3%80%80b", "/a%E2%80%A8b",
	"/%CC%81/b", "/.%CC%81./b", "/.%CC%81",
}

func TestT14_AmbiguousPathsHaveNoForm(t *testing.T) {
	for _, escaped := range ambiguous {
		if got, err := paths.Normalize(escaped); err == nil {
			t.Errorf("%q became %+v", escaped, got)
		}
	}
}

// FuzzNormalize: what has a form has it for good, and with nothing in it that a
// server could act on.
func FuzzNormalize(f *testing.F) {
	for _, seed := range append([]string{"/Admin/x.json", "/%61", "/%C3%9C", "/a%20b?c"}, ambiguous...) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		form, err := paths.Normalize(escaped)
		if err != nil {
			return
		}
		for _, path := range []string{form.Path, form.Folded} {
			if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "\\%;\x00\r\n\t\x7f") ||
				strings.Contains(path, "//") || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
				t.Errorf("%q became %+v", escaped, form)
			}
		}
		if again, err := paths.Normalize((&url.URL{Path: form.Path}).EscapedPath()); err != nil || again.Path != form.Path || again.Folded != form.Folded {
			t.Errorf("%q became %+v, and that %+v, %v", escaped, form, again, err)
		}
		if again := paths.Fold(form.Folded); again != form.Folded {
			t.Errorf("%q is folded to %q, and that to %q", escaped, form.Folded, again)
		}
		if form.Plain == len(form.Path) && isASCIILetters(form.Path) && escaped != form.Path {
			t.Errorf("%q is no plain %q", escaped, form.Path)
		}
	})
}

// isASCIILetters says whether nothing of the path needs an escape.
func isASCIILetters(path string) bool {
	return !strings.ContainsFunc(path, func(r rune) bool {
		return r != '/' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}
