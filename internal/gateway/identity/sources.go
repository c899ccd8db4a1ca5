package identity

import (
	"slices"
	"strings"

	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Source says where a property of a user is from, for whoever looks after the
// mapping.
type Source struct {
	// Property is its name in the mapping.
	Property string
	// Names are those that were looked for, the best first.
	Names []string
	// Attribute is the name that was there, SourceNameID, or empty.
	Attribute string
	// Similar are names of attributes that were sent and look like the property;
	// only where Attribute is empty.
	Similar []string
}

// likeness are what the last part of an attribute's name holds when it looks
// like a property: for somebody who has to decide, never for mapping.
var likeness = map[string][]string{
	"userID":      {"userid", "uid", "objectid", "uniqueid", "subject", "principalname", "employee", "nameidentifier"},
	"email":       {"mail", "upn", "principalname"},
	"givenName":   {"given", "first", "vorname"},
	"surname":     {"surname", "last", "family", "nachname"},
	"displayName": {"display", "fullname", "commonname"},
	"groups":      {"group", "role", "memberof", "gruppe"},
}

// Sources says where the properties of a user are from, in the order of the
// mapping. FromAssertion decides what becomes of them.
func Sources(a *sp.Assertion, mapping tenantconfig.AttributeMapping) []Source {
	all := make(attributes, len(a.Attributes))
	for _, attribute := range a.Attributes {
		all[attribute.Name] = append(all[attribute.Name], attribute.Values...)
	}
	userIDs := mapping.UserID
	if !mapping.UserIDRequired {
		userIDs = slices.Concat(userIDs, []string{SourceNameID}, mapping.UserIDWithoutNameID)
	}
	sources := []Source{{Property: "userID", Names: userIDs}}
	if _, source, err := userID(a, all, mapping); err == nil {
		sources[0].Attribute = source
	} else {
		sources[0].Attribute, _ = all.firstPresent(mapping.UserID)
	}
	for _, property := range []struct {
		name  string
		names []string
		clean func(string) string
	}{
		{"email", mapping.Email, trim},
		{"givenName", mapping.GivenName, cleanName},
		{"surname", mapping.Surname, cleanName},
		{"displayName", mapping.DisplayName, cleanName},
	} {
		s := Source{Property: property.name, Names: property.names}
		for _, name := range property.names {
			if all.firstUsed([]string{name}, property.clean) != "" {
				s.Attribute = name
				break
			}
		}
		sources = append(sources, s)
	}
	groups := Source{Property: "groups", Names: mapping.Groups}
	var present bool
	if groups.Attribute, present = all.firstPresent(mapping.Groups); !present {
		groups.Attribute, _ = all.inNamespace(mapping.GroupsInNamespace)
	}
	sources = append(sources, groups)
	for i := range sources {
		if sources[i].Attribute == "" {
			sources[i].Similar = similar(a.Attributes, likeness[sources[i].Property])
		}
	}
	return sources
}

func similar(sent []sp.Attribute, parts []string) (names []string) {
	for _, attribute := range sent {
		last := strings.ToLower(attribute.Name[strings.LastIndexAny(attribute.Name, "/:#")+1:] + " " + attribute.FriendlyName)
		looks := slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(last, part) })
		if looks && !slices.Contains(names, attribute.Name) {
			names = append(names, attribute.Name)
		}
	}
	return names
}
