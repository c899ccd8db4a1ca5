// Package identity says who somebody is, from a verified assertion and the
// tenant's attribute mapping.
package identity

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Bounds, in bytes. An identity travels in a cookie and in request headers.
const (
	maxValueBytes  = 256
	maxGroupBytes  = 512
	maxGroups      = 1000
	maxGroupsTotal = 64 << 10
)

const (
	nameIDTransient = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	// groupsLink is what Entra ID sends instead of more than 150 groups.
	groupsLink = "http://schemas.microsoft.com/claims/groups.link"
)

// Code is the stable machine name of a refusal, as sp.Code is.
type Code string

// Why an assertion identifies nobody who may come in.
const (
	// CodeTransientNameID: the IdP sends another NameID at each sign-in, and
	// no mapped attribute says who it is.
	CodeTransientNameID Code = "nameid_transient"
	// CodeUserIDAmbiguous: the mapped attribute has not exactly one value.
	CodeUserIDAmbiguous Code = "user_id_ambiguous"
	// CodeAttributeInvalid: a value is too long, is not UTF-8, has control
	// characters, or begins or ends with a space where that could deceive.
	CodeAttributeInvalid Code = "attribute_invalid"
	// CodeGroupsTooMany: more groups than can be passed on.
	CodeGroupsTooMany Code = "groups_too_many"
	// CodeGroupOverage: the IdP withheld the groups because they are too many.
	// That must not pass for "no groups".
	CodeGroupOverage Code = "group_overage"
)

// Error is a refusal. Detail is for the administrator and holds no values.
type Error struct {
	Code   Code
	Detail string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// Identity is a user as the IdP describes them. Only UserID is never empty.
type Identity struct {
	// UserID is stable, and unique within tenant and IdP.
	UserID      string
	Email       string
	GivenName   string
	Surname     string
	DisplayName string
	// Groups are without duplicates, in the order of the assertion.
	Groups []string
}

// FromAssertion maps a verified assertion. Its error is an *Error.
func FromAssertion(a *sp.Assertion, mapping tenantconfig.AttributeMapping) (Identity, error) {
	attributes := make(map[string][]string, len(a.Attributes))
	for _, attribute := range a.Attributes {
		attributes[attribute.Name] = append(attributes[attribute.Name], attribute.Values...)
	}
	userID, err := userID(a.NameID, attributes, mapping.UserID)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{UserID: userID}
	for _, property := range []struct {
		name  string
		names []string
		exact bool
		value *string
	}{
		{"email", mapping.Email, true, &id.Email},
		{"givenName", mapping.GivenName, false, &id.GivenName},
		{"surname", mapping.Surname, false, &id.Surname},
		{"displayName", mapping.DisplayName, false, &id.DisplayName},
	} {
		values, _ := firstPresent(attributes, property.names)
		if len(values) == 0 {
			continue
		}
		if err := check(property.name, values[0], maxValueBytes, property.exact); err != nil {
			return Identity{}, err
		}
		*property.value = values[0]
	}
	if id.Groups, err = groups(attributes, mapping.Groups); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// userID takes the mapped attribute if the assertion has it. An attribute that
// is there but of no use is refused: falling back to the NameID would make
// another person of the same user.
func userID(nameID sp.NameID, attributes map[string][]string, names []string) (string, error) {
	value := nameID.Value
	if values, present := firstPresent(attributes, names); present {
		if len(values) != 1 || values[0] == "" {
			return "", &Error{CodeUserIDAmbiguous, fmt.Sprintf("the attribute mapped to userID has %d values, want one that is not empty", len(values))}
		}
		value = values[0]
	} else if nameID.Format == nameIDTransient {
		return "", &Error{CodeTransientNameID, "the NameID is transient and no attribute mapped to userID is present"}
	}
	if value == "" {
		return "", &Error{CodeAttributeInvalid, "userID is empty"}
	}
	return value, check("userID", value, maxValueBytes, true)
}

func groups(attributes map[string][]string, names []string) ([]string, error) {
	values, _ := firstPresent(attributes, names)
	if _, withheld := attributes[groupsLink]; withheld && len(values) == 0 {
		return nil, &Error{CodeGroupOverage, "the IdP sent a link instead of the groups: assign groups to the application, or let it send fewer"}
	}
	var groups []string
	seen := make(map[string]bool, len(values))
	total := 0
	for _, group := range values {
		if group == "" || seen[group] {
			continue
		}
		if err := check("groups", group, maxGroupBytes, true); err != nil {
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

// firstPresent returns the values of the first attribute that is there.
func firstPresent(attributes map[string][]string, names []string) (values []string, present bool) {
	for _, name := range names {
		if values, present = attributes[name]; present {
			return values, true
		}
	}
	return nil, false
}

// check refuses what could break a header, a page or a comparison. An exact
// value identifies something, so that surrounding space would deceive.
func check(property, value string, limit int, exact bool) error {
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
	case exact && strings.TrimSpace(value) != value:
		return invalid("begins or ends with a space")
	}
	return nil
}

// deceptive are control characters, line separators, and those that turn the
// direction of writing. [Unicode TR36]
func deceptive(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}
