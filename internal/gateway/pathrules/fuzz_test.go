package pathrules_test

import (
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/pathrules"
	"cequence.cloud/saml-operator/internal/gateway/paths"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// fuzzed are rules with all that could get in each other's way.
var fuzzed = []tenantconfig.PathRule{
	{Path: "/", Exact: true, Public: true},
	{Path: "/pub", Public: true},
	{Path: "/pub/x", Roles: []string{"x"}},
	{Path: "/pub/y", Exact: true, Roles: []string{"y"}},
	{Path: "/a", Roles: []string{"a"}},
	{Path: "/a/b", Public: true},
	{Path: "/a/b/c", Exact: true, FreshSignIn: 60},
	{Path: "/a/d", Exact: true},
	{Path: "/B", Exact: true, Public: true},
	{Path: "/b", Roles: []string{"b"}},
	{Path: "/s/", Roles: []string{"s"}},
}

// FuzzReadings: whatever a server makes of a path that has a form, no rule for
// what it has made asks for more than what was asked for.
func FuzzReadings(f *testing.F) {
	for _, seed := range []string{
		"/", "/pub", "/pub/x", "/pub/X", "/pub/y/", "/pub/y.json", "/pub/%78", "/pub/y%3Fz/a", "/pub//x", "/pub/./x", "/pub/z/../x", "/pub%2Fx", "/pub;/x",
		"/pub/;x", "/pub/%2e%2e/a", "/pub/%252e%252e/a", "/pub/%2%65%2e/a", "/pub/..%25zz/a", "/pub\\..\\a", "/pub/x%00", "/p%75b/x", "/a/b/C", "/A/b", "/a/b/../e",
		"/a/%62", "/a/D", "/a/d/", "/b", "/%42", "/S", "/s", "/pub/ x", "/pub/x.", "/pub/x%20", "/pub/y.", "/pub/%u0078", "/pub/x:$i30", "/pub/..;/a", "/..%c0%afa",
	} {
		f.Add(seed)
	}
	rules := pathrules.New(fuzzed)
	f.Fuzz(func(t *testing.T, escaped string) {
		form, err := paths.Normalize(escaped)
		if err != nil || len(escaped) > 64 {
			return
		}
		applied := rules.Of(form)
		for _, reading := range readings(escaped) {
			for _, folded := range []bool{false, true} {
				if asked, ok := ruleFor(reading, folded); stricter(asked, ok, applied) {
					t.Errorf("%q has been let through as %s, but is %q to some server, for which there is %+v", escaped, said(applied), reading, asked)
				}
			}
		}
	})
}

// readings are what servers may make of a path, in up to four steps.
func readings(escaped string) []string {
	found := []string{escaped}
	for next, step := found, 0; step < 4; step++ {
		var made []string
		for _, reading := range next {
			for _, make := range servers {
				if other := make(reading); !slices.Contains(found, other) {
					found, made = append(found, other), append(made, other)
				}
			}
		}
		next = made
	}
	return found
}

var servers = []func(string) string{
	decode,
	func(p string) string { return strings.ReplaceAll(p, `\`, "/") },
	func(p string) string { // parameters of each segment
		segments := strings.Split(p, "/")
		for i := range segments {
			segments[i], _, _ = strings.Cut(segments[i], ";")
		}
		return strings.Join(segments, "/")
	},
	func(p string) string { return cutAt(p, "?#;\x00") },
	func(p string) string { return cutAt(p, " \t\r\n\x00") },
	func(p string) string { return path.Clean("/" + p) },
	func(p string) string { // Windows
		segments := strings.Split(p, "/")
		for i := range segments {
			segments[i], _, _ = strings.Cut(segments[i], ":$")
			segments[i] = strings.TrimRight(segments[i], ". ")
		}
		return strings.Join(segments, "/")
	},
	func(p string) string { return strings.TrimSuffix(p, path.Ext(p)) },
	func(p string) string { return strings.ToValidUTF8(p, "") },
	func(p string) string { // control characters are no part of it
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1
			}
			return r
		}, p)
	},
}

func cutAt(p, signs string) string {
	if i := strings.IndexAny(p, signs); i >= 0 {
		return p[:i]
	}
	return p
}

// decode leaves alone what is no escape, as many a server does.
func decode(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			if c, err := hex.DecodeString(p[i+1 : i+3]); err == nil {
				b.WriteByte(c[0])
				i += 2
				continue
			}
			if c, err := hex.DecodeString(p[i+2 : min(i+6, len(p))]); p[i+1] == 'u' && err == nil && len(c) == 2 {
				b.WriteRune(rune(c[0])<<8 | rune(c[1]))
				i += 5
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// ruleFor is the rule for a path as a simple server would find it, which may
// make no difference between capital and small letters.
func ruleFor(p string, folded bool) (closest tenantconfig.PathRule, found bool) {
	fold := func(s string) string {
		if folded {
			return strings.ToLower(s)
		}
		return s
	}
	p = fold(p)
	for _, r := range fuzzed {
		own := fold(r.Path)
		covers := p == own || !r.Exact && (strings.HasPrefix(p, strings.TrimSuffix(own, "/")+"/"))
		if covers && (!found || len(r.Path) > len(closest.Path) || len(r.Path) == len(closest.Path) && r.Exact) {
			closest, found = r, true
		}
	}
	return closest, found
}

// stricter says whether the rule, or that there is none, asks for something that
// was not applied.
func stricter(asked tenantconfig.PathRule, found bool, applied pathrules.Requirement) bool {
	if found && asked.Public {
		return false
	}
	if applied.Public {
		return true
	}
	if len(asked.Roles) > 0 && !slices.ContainsFunc(applied.Roles, func(list []string) bool { return slices.Equal(list, asked.Roles) }) {
		return true
	}
	return asked.FreshSignIn != 0 && applied.FreshSignIn != asked.FreshSignIn.Duration()
}
