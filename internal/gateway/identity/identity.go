// Package identity says who somebody is, from a verified assertion and the
// tenant's attribute mapping.
//
// A user's stable ID should come from one place for all users of an IdP.
// Otherwise somebody whose NameID happens, or was made, to equal what an
// attribute says of another would become that other. So:
//
//   - A tenant that names the attribute (UserIDRequired) gets that attribute
//     or a refusal.
//   - By default the attribute is Entra ID's object identifier, when it is
//     sent: Entra ID sends it for every user, unless an administrator took the
//     claim away for all.
//   - Otherwise it is the NameID.
//   - A transient NameID, or none, says nothing. Only then the attributes of
//     UserIDWithoutNameID count: identifiers that the IdP assigns, so that
//     users do not choose them.
//
// What remains: requests pass through the browser, unsigned unless the tenant
// wants otherwise, so at some IdPs a user may ask for a transient NameID and be
// known by an attribute while others are known by the NameID. So a user is the
// ID and its source together: Identity.UserIDSource tells such users apart in
// the store, and Identity.Name for the application. A tenant whose users can
// influence such an attribute should name the one that identifies them.
package identity

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Bounds, in bytes. An identity travels in a cookie and in request headers.
// 40 KiB are 1,000 groups by GUID; how many of them an application gets in
// one header is for the server to bound.
const (
	maxValueBytes  = 256
	maxGroupBytes  = 512
	maxGroups      = 1000
	maxGroupsTotal = 40 << 10
)

const (
	nameIDTransient = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	// groupsLink is what Entra ID sends instead of more than 150 groups.
	groupsLink = "http://schemas.microsoft.com/claims/groups.link"

	xmlSpace = " \t\r\n" // [XML 2.3]
)

// SourceNameID is the Identity.UserIDSource of a user known by the NameID.
const SourceNameID = "NameID"

// Code is the stable machine name of a refusal, as sp.Code is.
type Code string

// Why an assertion identifies nobody who may come in.
const (
	// CodeUserIDMissing: the attribute that has to identify the user is not
	// there.
	CodeUserIDMissing Code = "user_id_missing"
	// CodeTransientNameID: the IdP sends another NameID at each sign-in, and
	// no mapped attribute says who it is.
	CodeTransientNameID Code = "nameid_transient"
	// CodeNameIDMissing: there is no NameID, and no mapped attribute says who
	// it is.
	CodeNameIDMissing Code = "nameid_missing"
	// CodeUserIDAmbiguous: the mapped attribute has not exactly one value.
	CodeUserIDAmbiguous Code = "user_id_ambiguous"
	// CodeAttributeInvalid: a userID or a group is too long, is not UTF-8, has
	// control characters, or begins or ends with a space that could deceive.
	CodeAttributeInvalid Code = "attribute_invalid"
	// CodeGroupsTooMany: more groups than can be passed on.
	CodeGroupsTooMany Code = "groups_too_many"
	// CodeGroupOverage: the IdP withheld groups because they are too many. That
	// must not pass for "no groups". A sign-in that is tolerated all the same is
	// logged with this code.
	CodeGroupOverage Code = "group_overage"
	// CodeGroupsAmbiguous: several attributes could be the groups.
	CodeGroupsAmbiguous Code = "groups_ambiguous"
)

// Codes has all of them.
var Codes = []Code{
	CodeUserIDMissing, CodeTransientNameID, CodeNameIDMissing, CodeUserIDAmbiguous, CodeAttributeInvalid, CodeGroupsTooMany, CodeGroupOverage, CodeGroupsAmbiguous,
}

// Error is a refusal. Detail is for the administrator and holds no values.
type Error struct {
	Code   Code
	Detail string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// Identity is a user as the IdP describes them. Only UserID and UserIDSource
// are never empty.
type Identity struct {
	// UserID is stable, and unique within tenant, IdP and UserIDSource.
	UserID string
	// UserIDSource is the name of the attribute that UserID is from, or
	// SourceNameID.
	UserIDSource string
	Email        string
	GivenName    string
	Surname      string
	DisplayName  string
	// Groups are without duplicates, in the order of the assertion.
	Groups []string
	// GroupsIncomplete: the IdP has withheld groups, and the tenant tolerates it.
	GroupsIncomplete bool
	// Dropped names the properties, as in the mapping, whose values were of no
	// use and left out: for the log.
	Dropped []string
}

// attributes are the values of an assertion's attributes by name.
type attributes map[string][]string

// FromAssertion maps a verified assertion. Its error is an *Error.
func FromAssertion(a *sp.Assertion, mapping tenantconfig.AttributeMapping) (Identity, error) {
	all := make(attributes, len(a.Attributes))
	for _, attribute := range a.Attributes {
		all[attribute.Name] = append(all[attribute.Name], attribute.Values...)
	}
	var id Identity
	var err error
	if id.UserID, id.UserIDSource, err = userID(a, all, mapping); err != nil {
		return Identity{}, err
	}
	if _, withheld := all[groupsLink]; withheld && !mapping.TolerateGroupOverage {
		return Identity{}, &Error{CodeGroupOverage, "the IdP sent a link instead of the groups: assign groups to the application, or let it send fewer"}
	} else if withheld {
		id.GroupsIncomplete = true
	}
	if id.Groups, err = groups(all, mapping); err != nil {
		return Identity{}, err
	}
	for _, property := range []struct {
		name  string
		names []string
		clean func(string) string
		value *string
	}{
		{"email", mapping.Email, trim, &id.Email},
		{"givenName", mapping.GivenName, cleanName, &id.GivenName},
		{"surname", mapping.Surname, cleanName, &id.Surname},
		{"displayName", mapping.DisplayName, cleanName, &id.DisplayName},
	} {
		value := all.firstUsed(property.names, property.clean)
		if check(property.name, value, maxValueBytes) != nil {
			id.Dropped = append(id.Dropped, property.name)
			continue
		}
		*property.value = value
	}
	return id, nil
}

// userID returns the stable ID and where it is from; see the package comment.
// An attribute that is there but of no use is refused: to go on to the next
// source would make another person of the same user.
func userID(a *sp.Assertion, all attributes, mapping tenantconfig.AttributeMapping) (value, source string, err error) {
	name, present := all.firstPresent(mapping.UserID)
	switch {
	case present:
		return identifier(all, name)
	case mapping.UserIDRequired:
		return "", "", &Error{CodeUserIDMissing, fmt.Sprintf("the assertion has no attribute %s, which identifies users: "+
			"let the IdP send it for every user, or set attributeMapping.userID to one that it sends for every user", strings.Join(mapping.UserID, " or "))}
	case a.NameID.Value != "" && a.NameID.Format != nameIDTransient:
		return a.NameID.Value, SourceNameID, check("userID", a.NameID.Value, maxValueBytes)
	}
	if name, present = all.firstPresent(mapping.UserIDWithoutNameID); present {
		return identifier(all, name)
	}
	const advice = ": set attributeMapping.userID to an attribute that the IdP sends for every user, or let the IdP send a persistent NameID"
	if a.NameID.Value == "" {
		return "", "", &Error{CodeNameIDMissing, "there is no NameID, and no attribute that identifies the user" + advice}
	}
	return "", "", &Error{CodeTransientNameID, "the NameID is transient, and there is no attribute that identifies the user" + advice}
}

// guid is what Entra ID's object identifiers look like.
var guid = regexp.MustCompile(`^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$`)

// escapeSource keeps the brace after a source the first one.
var escapeSource = strings.NewReplacer("%", "%25", "}", "%7D")

// Name is UserID and UserIDSource in one, for the application: unique within
// tenant and IdP. It is the ID by itself from where tenants have theirs: from
// the attribute that the tenant has named, or by default object identifiers from
// their attribute and everything else from the NameID. An ID that is from
// elsewhere, or does not look like one from there, has its source in braces
// before it, so that no two sources make one name.
func (id Identity) Name(mapping tenantconfig.AttributeMapping) string {
	named := len(mapping.UserID) > 0
	usual := false
	switch {
	case strings.HasPrefix(id.UserID, "{"):
	case named && id.UserIDSource == mapping.UserID[0]:
		usual = mapping.UserIDRequired || guid.MatchString(id.UserID)
	case id.UserIDSource == SourceNameID:
		usual = !named || !guid.MatchString(id.UserID)
	}
	if usual {
		return id.UserID
	}
	return "{" + escapeSource.Replace(id.UserIDSource) + "}" + id.UserID
}

// identifier returns the one value of an attribute, exactly as it was sent.
func identifier(all attributes, name string) (value, source string, err error) {
	values := all[name]
	if len(values) != 1 || values[0] == "" {
		return "", "", &Error{CodeUserIDAmbiguous, fmt.Sprintf("the attribute %q, which identifies the user, has %d values, want one that is not empty", name, len(values))}
	}
	return values[0], name, check("userID", values[0], maxValueBytes)
}

func groups(all attributes, mapping tenantconfig.AttributeMapping) ([]string, error) {
	name, present := all.firstPresent(mapping.Groups)
	if !present {
		var err error
		if name, err = all.inNamespace(mapping.GroupsInNamespace); err != nil {
			return nil, err
		}
	}
	values := all[name]
	var groups []string
	seen := make(map[string]bool, len(values))
	total := 0
	for _, group := range values {
		group = trim(group)
		if group == "" || seen[group] {
			continue
		}
		if err := check("groups", group, maxGroupBytes); err != nil {
			return nil, err
		}
		seen[group] = true
		groups = append(groups, group)
		total += len(group)
	}
	if len(groups) > maxGroups || total > maxGroupsTotal {
		return nil, &Error{CodeGroupsTooMany, fmt.Sprintf("%d groups of %d bytes, want at most %d of %d", len(groups), total, maxGroups, maxGroupsTotal)}
	}
	return groups, nil
}

// firstPresent returns the first of the names that is there, with or without
// values.
func (all attributes) firstPresent(names []string) (name string, present bool) {
	for _, name := range names {
		if _, present := all[name]; present {
			return name, true
		}
	}
	return "", false
}

// inNamespace returns the one name that is there whose last segment is one of
// the local names, empty if there is none. Entra ID puts a namespace that its
// administrator chooses before the name of a claim, and a slash between them.
func (all attributes) inNamespace(locals []string) (name string, err error) {
	for candidate := range all {
		slash := strings.LastIndexByte(candidate, '/')
		if slash < 0 || !slices.Contains(locals, candidate[slash+1:]) {
			continue
		}
		if name != "" {
			return "", &Error{CodeGroupsAmbiguous, "several attributes could be the groups: set attributeMapping.groups to the one that is"}
		}
		name = candidate
	}
	return name, nil
}

// firstUsed returns the first value, cleaned, of which something is left.
func (all attributes) firstUsed(names []string, clean func(string) string) string {
	for _, name := range names {
		for _, value := range all[name] {
			if value = clean(value); value != "" {
				return value
			}
		}
	}
	return ""
}

// trim removes the white space that the layout of an XML document leaves.
func trim(value string) string { return strings.Trim(value, xmlSpace) }

// cleanName removes surrounding space of any kind, and the marks for the
// direction of writing, which come along when names are copied and could
// deceive when shown.
func cleanName(value string) string {
	isMark := func(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }
	return strings.TrimSpace(strings.Join(strings.FieldsFunc(value, isMark), ""))
}

// Presentable is a name or an address that somebody else than an assertion has
// told, cleaned, or nothing if it cannot be shown.
func Presentable(value string) string {
	if value = cleanName(value); check("", value, maxValueBytes) != nil {
		return ""
	}
	return value
}

// CheckUserID says what keeps value from being the stable ID of anybody.
func CheckUserID(value string) error { return check("userID", value, maxValueBytes) }

// check refuses what could break a header, a page or a comparison.
func check(property, value string, limit int) error {
	invalid := func(why string) error {
		return &Error{CodeAttributeInvalid, property + " " + why}
	}
	switch {
	case len(value) > limit:
		return invalid(fmt.Sprintf("has %d bytes, want at most %d", len(value), limit))
	case !utf8.ValidString(value):
		return invalid("is not UTF-8")
	case strings.ContainsFunc(value, deceptive):
		return invalid("has control characters")
	case strings.TrimSpace(value) != value:
		return invalid("begins or ends with a space")
	}
	return nil
}

// deceptive are control characters, line separators, and those that turn the
// direction of writing. [Unicode TR36]
func deceptive(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}
