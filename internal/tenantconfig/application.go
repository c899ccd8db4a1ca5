package tenantconfig

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Application says where a tenant's application is, and what of it is for whom.
type Application struct {
	// Upstream is the URL of the tenant's own application; empty if it has the
	// gateway's. The gateway sends requests there only if its owner allows it.
	Upstream string `json:"upstream,omitempty"`
	// Paths are rules for parts of the application.
	Paths []PathRule `json:"paths,omitempty"`
}

// PathRule says what a request to some paths has to bring. Without Public it has
// to be of somebody who is signed in.
type PathRule struct {
	// Path is decoded and passes CheckPath.
	Path string `json:"path"`
	// Exact: the rule is for Path alone, else for all that is below it as well.
	Exact bool `json:"exact,omitempty"`
	// Public: nobody has to be signed in.
	Public bool `json:"public,omitempty"`
	// Roles, unless nil, keep out who has none of them.
	Roles []string `json:"roles,omitempty"`
	// FreshSignIn, unless zero, is how long ago the user may have been
	// authenticated by the IdP.
	FreshSignIn Seconds `json:"freshSignInSeconds,omitempty"`
}

// restricted says whether a reader that ignores a would let requests through
// that a keeps out, or send them elsewhere. One that does not know of public
// paths lets nobody in.
func (a Application) restricted() bool {
	return a.Upstream != "" || slices.ContainsFunc(a.Paths, func(r PathRule) bool { return !r.Public })
}

func (a Application) validate(fail func(format string, args ...any)) {
	if a.Upstream != "" {
		if _, err := ParseUpstream(a.Upstream); err != nil {
			fail("application.upstream %q: %w", a.Upstream, err)
		}
	}
	for i, rule := range a.Paths {
		if err := rule.Validate(); err != nil {
			fail("application.paths[%d]: %w", i, err)
		}
	}
}

// Validate refuses what looks like a rule and is none, or says two things.
func (r PathRule) Validate() error {
	if err := CheckPath(r.Path); err != nil {
		return err
	}
	switch {
	case r.Roles != nil && len(r.Roles) == 0 || slices.Contains(r.Roles, ""):
		return errors.New("roles is empty, or an element of it is")
	case r.FreshSignIn < 0:
		return errors.New("freshSignIn is negative")
	case r.Public && (r.Roles != nil || r.FreshSignIn != 0):
		return errors.New("a public path cannot ask for roles or a fresh sign-in")
	}
	return nil
}

// pathOfRule is what the CustomResourceDefinition holds paths to.
var pathOfRule = regexp.MustCompile(`^(/|(/[\pL\pN\pM_~!&()+,=:@.-]*[\pL\pN\pM_~!&()+,=:@-])+/?)$`)

// ownPath is where the gateway's own endpoints are on a tenant's host.
const ownPath = "/saml"

// CheckPath says why a rule cannot be for that path. A path that it takes can be
// read in one way only.
func CheckPath(path string) error {
	if !pathOfRule.MatchString(path) {
		return fmt.Errorf("path %q is not written as /admin or /admin/reports, of letters, digits and -_~!&()+,=:@ with '.' within a name: "+
			"without '%%' and '*', without '//', and without '.' at a name's end", path)
	}
	if path == ownPath || strings.HasPrefix(path, ownPath+"/") {
		return fmt.Errorf("path %q is the gateway's own, which no rule is for", path)
	}
	return nil
}

// schemes of applications; h2c is HTTP/2 without TLS.
var schemes = []string{"http", "https", "h2c"}

// ParseUpstream reads the URL of an application.
func ParseUpstream(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("want an http, https or h2c URL such as https://app.example.com, without user information, query and fragment")
	}
	return u, nil
}
