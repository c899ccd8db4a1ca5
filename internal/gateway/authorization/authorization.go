// Package authorization says who of those whom an IdP vouches for may come in,
// and in which roles.
//
// A rule that is there lets in whom it names and nobody else; all rules have to
// hold. They are the tenant's configuration, so they are asked at each request:
// that takes no I/O, and a change counts for sessions that go on.
package authorization

import (
	"fmt"
	"strings"

	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Code is the stable machine name of a refusal.
type Code string

// Why somebody may not come in.
const (
	// CodeGroupNotAllowed: none of the user's groups is an allowed one.
	CodeGroupNotAllowed Code = "group_not_allowed"
	// CodeGroupOverage: none of the groups that were sent is an allowed one,
	// and the IdP has withheld groups.
	CodeGroupOverage Code = "group_overage"
	// CodeEmailMissing: there is no e-mail address of any use.
	CodeEmailMissing Code = "email_missing"
	// CodeEmailInvalid: the e-mail address could be read in two ways, or deceive.
	CodeEmailInvalid Code = "email_invalid"
	// CodeEmailDomainNotAllowed: the e-mail address is in no allowed domain.
	CodeEmailDomainNotAllowed Code = "email_domain_not_allowed"
)

// Codes has all of them.
var Codes = []Code{
	CodeGroupNotAllowed, CodeGroupOverage, CodeEmailMissing, CodeEmailInvalid, CodeEmailDomainNotAllowed,
}

// Error is a refusal. Detail is for the administrator and names nobody.
type Error struct {
	Code   Code
	Detail string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// Rules are a tenant's, ready to be asked. They are never changed.
type Rules struct {
	// groups and domains are nil if they do not matter.
	groups, domains map[string]bool
	mappings        []tenantconfig.RoleMapping
}

// New returns the rules of a configuration.
func New(config tenantconfig.Authorization) *Rules {
	return &Rules{groups: set(config.AllowedGroups), domains: set(config.AllowedEmailDomains), mappings: config.RoleMappings}
}

func set(list []string) map[string]bool {
	if list == nil {
		return nil
	}
	members := make(map[string]bool, len(list))
	for _, member := range list {
		members[member] = true
	}
	return members
}

// Subject is what the rules ask of a user.
type Subject struct {
	Email  string
	Groups []string
	// GroupsIncomplete: the IdP has withheld groups.
	GroupsIncomplete bool
}

// Admit returns nil if s may come in. Its error is an *Error.
func (r *Rules) Admit(s Subject) error {
	if err := r.admitGroups(s); err != nil {
		return err
	}
	return r.admitEmail(s.Email)
}

func (r *Rules) admitGroups(s Subject) error {
	if r.groups == nil {
		return nil
	}
	for _, group := range s.Groups {
		if r.groups[group] {
			return nil
		}
	}
	if s.GroupsIncomplete {
		return &Error{CodeGroupOverage, "the IdP has withheld groups, and none that it sent is in authorization.allowedGroups: " +
			"let it send the groups that are assigned to the application only"}
	}
	return &Error{CodeGroupNotAllowed, fmt.Sprintf("none of the user's %d groups is in authorization.allowedGroups: "+
		"put the user into one of them at the IdP, or compare how the IdP spells groups", len(s.Groups))}
}

func (r *Rules) admitEmail(email string) error {
	if r.domains == nil {
		return nil
	}
	if email == "" {
		return &Error{CodeEmailMissing, "authorization.allowedEmailDomains needs an e-mail address, and there is none of any use: " +
			"let the IdP send it, or set attributeMapping.email"}
	}
	domain, ok := domainOf(email)
	switch {
	case !ok:
		return &Error{CodeEmailInvalid, "the e-mail address is not of the form name@domain in plain ASCII, as authorization.allowedEmailDomains needs it"}
	case !r.domains[domain]:
		return &Error{CodeEmailDomainNotAllowed, fmt.Sprintf("the e-mail address is in the domain %q, which is not in authorization.allowedEmailDomains", domain)}
	}
	return nil
}

// domainOf returns the domain of an address, in lower case, or false for one
// that is more than dot-atom@domain in ASCII [RFC 5322 3.4.1]: quotes, comments,
// two "@" and letters of other scripts are read by some as another domain.
func domainOf(email string) (domain string, ok bool) {
	local, domain, _ := strings.Cut(email, "@")
	if local == "" || domain == "" || strings.ContainsFunc(local, notAtom) || strings.ContainsFunc(domain, notDomain) {
		return "", false
	}
	return strings.ToLower(domain), true // ASCII, by now
}

func notAtom(r rune) bool {
	return !alphanumeric(r) && !strings.ContainsRune(".!#$%&'*+-/=?^_`{|}~", r)
}

func notDomain(r rune) bool { return !alphanumeric(r) && r != '.' && r != '-' }

func alphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// Roles returns the roles of somebody in these groups, each once, in the order
// of the mappings.
func (r *Rules) Roles(groups []string) []string {
	if len(r.mappings) == 0 || len(groups) == 0 {
		return nil
	}
	member := set(groups)
	var roles []string
	given := map[string]bool{}
	for _, mapping := range r.mappings {
		if member[mapping.Group] && !given[mapping.Role] {
			given[mapping.Role] = true
			roles = append(roles, mapping.Role)
		}
	}
	return roles
}
