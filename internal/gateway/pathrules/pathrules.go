// Package pathrules says what a request to a path of the application has to
// bring. The rules are the gateway owner's and the tenant's own; what both ask
// for counts. docs/architecture.md says why that is safe.
package pathrules

import (
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"cequence.cloud/saml-operator/internal/gateway/paths"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Requirement is what a request has to bring. The zero value asks for somebody
// who is signed in.
type Requirement struct {
	// Public: nobody has to be signed in, and all else is empty.
	Public bool
	// Roles are lists of which the user must have one role each.
	Roles [][]string
	// FreshSignIn, unless zero, is how long ago the user may have been
	// authenticated.
	FreshSignIn time.Duration

	// ruled: there is a rule for the path.
	ruled bool
	// delegated: the tenant's rules may open the path.
	delegated bool
}

// Satisfied says whether somebody with these roles has one of each list.
func (r Requirement) Satisfied(roles []string) bool {
	for _, list := range r.Roles {
		if !intersect(list, roles) {
			return false
		}
	}
	return true
}

func intersect(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}

// Rules are ready to be asked, and never changed. Nil ones ask for somebody who
// is signed in.
type Rules struct{ rules []rule }

type rule struct {
	tenantconfig.PathRule
	folded string
	// delegated: see Requirement; of the gateway's rules only.
	delegated bool
}

// New returns the rules of a tenant's configuration, or nil for none.
func New(config []tenantconfig.PathRule) *Rules {
	if len(config) == 0 {
		return nil
	}
	r := &Rules{}
	for _, c := range config {
		r.add(c, false)
	}
	return r
}

func (r *Rules) add(c tenantconfig.PathRule, delegated bool) {
	r.rules = append(r.rules, rule{PathRule: c, folded: paths.Fold(c.Path), delegated: delegated})
}

// Of returns what a request to that path has to bring: what the rule with the
// longest path asks for, and what rules do that some server may take for more
// fitting, since it is not strict about the way in which paths are written.
func (r *Rules) Of(path paths.Form) Requirement {
	if r == nil {
		return Requirement{}
	}
	var closest *rule
	for i := range r.rules {
		if c := &r.rules[i]; c.names(path) && (closest == nil || c.replaces(closest)) {
			closest = c
		}
	}
	var required Requirement
	if closest != nil {
		required = closest.requirement()
	}
	for i := range r.rules {
		other := &r.rules[i]
		if other != closest && other.mayName(path.Folded) && (closest == nil || !closest.replaces(other)) {
			required = both(required, other.requirement())
		}
	}
	return required
}

// names says whether the rule is for the path as it is written.
func (r *rule) names(path paths.Form) bool {
	rest, ok := strings.CutPrefix(path.Path, r.Path)
	return ok && len(r.Path) <= path.Plain && (rest == "" || !r.Exact && (rest[0] == '/' || strings.HasSuffix(r.Path, "/")))
}

// mayName says whether some server may take a path, which is folded, for one
// that the rule is for: many ignore a slash at the end, what follows a dot
// (/admin.json), or what comes behind any other sign.
func (r *rule) mayName(folded string) bool {
	rest, ok := strings.CutPrefix(folded, strings.TrimSuffix(r.folded, "/"))
	if !ok || rest == "" || rest == "/" {
		return ok
	}
	first, _ := utf8.DecodeRuneInString(rest)
	return !paths.IsNamePart(first) && (first != '/' || !r.Exact)
}

// replaces says whether the rule counts instead of the other one, for a path that
// both are for.
func (r *rule) replaces(other *rule) bool {
	if len(r.folded) != len(other.folded) {
		return len(r.folded) > len(other.folded)
	}
	return r.Path == other.Path && r.Exact && !other.Exact
}

func (r *rule) requirement() Requirement {
	required := Requirement{Public: r.Public, FreshSignIn: r.FreshSignIn.Duration(), ruled: true, delegated: r.delegated}
	if r.Roles != nil {
		required.Roles = [][]string{r.Roles}
	}
	return required
}

// both asks for what either asks for.
func both(a, b Requirement) Requirement {
	required := Requirement{
		Public: a.Public && b.Public, delegated: a.delegated && b.delegated, ruled: a.ruled || b.ruled,
		FreshSignIn: a.FreshSignIn,
	}
	if b.FreshSignIn != 0 && (a.FreshSignIn == 0 || b.FreshSignIn < a.FreshSignIn) {
		required.FreshSignIn = b.FreshSignIn
	}
	required.Roles = append(append(required.Roles, a.Roles...), b.Roles...)
	return required
}

// Combine asks for what the gateway's rules and the tenant's ask for. The tenant
// opens a path only where the gateway's rules leave that to it; it may close one
// that they open.
func Combine(gateway, tenant Requirement) Requirement {
	required := both(gateway, tenant)
	required.Public = gateway.Public && (tenant.Public || !tenant.ruled) || gateway.delegated && tenant.Public
	return required
}

// Closed returns the paths that a tenant's rules make public and the gateway's
// do not, so that they are for those who are signed in.
func Closed(gateway *Rules, config []tenantconfig.PathRule) (closed []string) {
	tenant := New(config)
	for _, c := range config {
		path, err := paths.Normalize((&url.URL{Path: c.Path}).EscapedPath())
		if own := tenant.Of(path); err == nil && own.Public && !Combine(gateway.Of(path), own).Public {
			closed = append(closed, c.Path)
		}
	}
	return closed
}
