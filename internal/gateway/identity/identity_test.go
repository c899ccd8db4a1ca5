package identity_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/identity"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

const (
	transient  = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	persistent = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	overage    = "http://schemas.microsoft.com/claims/groups.link"
	tenantID   = "http://schemas.microsoft.com/identity/claims/tenantid"
)

var mapping = tenantconfig.AttributeMapping{
	UserID: []string{"oid", "uid"}, UserIDWithoutNameID: []string{"subject", "eppn"}, Email: []string{"email", "mail"}, GivenName: []string{"given"},
	Surname: []string{"sn"}, DisplayName: []string{"cn"}, Groups: []string{"Group", "groups"},
}

func assertion(nameIDFormat string, attributes ...sp.Attribute) *sp.Assertion {
	return &sp.Assertion{Issuer: "https://idp.example/", NameID: sp.NameID{Value: "name-id", Format: nameIDFormat}, Attributes: attributes}
}

func withoutNameID(attributes ...sp.Attribute) *sp.Assertion {
	return &sp.Assertion{Issuer: "https://idp.example/", Attributes: attributes}
}

func issuedBy(issuer string, a *sp.Assertion) *sp.Assertion {
	a.Issuer = issuer
	return a
}

func attribute(name string, values ...string) sp.Attribute {
	return sp.Attribute{Name: name, Values: values}
}

func TestFromAssertion(t *testing.T) {
	for _, test := range []struct {
		name      string
		assertion *sp.Assertion
		want      identity.Identity
	}{
		{"NameID alone", assertion(persistent), identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID}},
		{"NameID without a format", assertion(""), identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID}},
		{"a mapped userID comes first", assertion(persistent, attribute("uid", "u1"), attribute("oid", "o1")), identity.Identity{UserID: "o1", UserIDSource: "oid"}},
		{"a mapped userID makes a transient NameID harmless", assertion(transient, attribute("uid", "u1")), identity.Identity{UserID: "u1", UserIDSource: "uid"}},
		{"a mapped userID without a NameID", withoutNameID(attribute("uid", "u1")), identity.Identity{UserID: "u1", UserIDSource: "uid"}},
		{"transient, and identifying attributes", assertion(transient, attribute("eppn", "e1"), attribute("subject", "s1")), identity.Identity{UserID: "s1", UserIDSource: "subject"}},
		{"transient, and the second one only", assertion(transient, attribute("eppn", "e1")), identity.Identity{UserID: "e1", UserIDSource: "eppn"}},
		{"no NameID, and an identifying attribute", withoutNameID(attribute("eppn", "e1")), identity.Identity{UserID: "e1", UserIDSource: "eppn"}},
		{"a NameID that lasts comes before them", assertion(persistent, attribute("subject", "s1")), identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID}},
		{"Entra ID", issuedBy("https://sts.windows.net/t/", assertion("", attribute("oid", "o1"), attribute(tenantID, "t"))), identity.Identity{UserID: "o1", UserIDSource: "oid"}},
		{"Entra ID without the claim", issuedBy("https://sts.windows.net/t/", assertion("", attribute(tenantID, "t"))), identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID}},
		{"everything", assertion("", attribute("mail", "a@x.example", "b@x.example"), attribute("given", "Zoë"), attribute("sn", " O'Neil "),
			attribute("cn", "Zoë \u200dO'Neil"), attribute("Group", "a", "", "b", "a"), attribute("groups", "c")),
			identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID, Email: "a@x.example", GivenName: "Zoë", Surname: "O'Neil", DisplayName: "Zoë \u200dO'Neil", Groups: []string{"a", "b"}}},
		{"an attribute in two parts", assertion("", attribute("Group", "a"), attribute("Group", "b")), identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID, Groups: []string{"a", "b"}}},
		{"the second name of groups", assertion("", attribute("groups", "c")), identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID, Groups: []string{"c"}}},
		{"empty e-mail", assertion("", attribute("email")), identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID}},
		{"an empty alias before a used one", assertion("", attribute("email", "", " "), attribute("mail", "a@x.example")), identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID, Email: "a@x.example"}},
		{"an empty value before a used one", assertion("", attribute("email", "", "a@x.example")), identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID, Email: "a@x.example"}},
		{"the layout of the document", assertion("", attribute("email", "\n\t a@x.example\r\n"), attribute("given", "\u00a0Zoë\n"), attribute("Group", " a\n", "\n", "a", "b c ")),
			identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID, Email: "a@x.example", GivenName: "Zoë", Groups: []string{"a", "b c"}}},
		{"marks for the direction of writing", assertion("", attribute("given", "\u200eZo\u202eë \u200f"), attribute("sn", "\u2067\u2069")), identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID, GivenName: "Zoë"}},
	} {
		got, err := identity.FromAssertion(test.assertion, mapping)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, %v, want %+v", test.name, got, err, test.want)
		}
	}
}

// What describes a user, and is of no use, must not keep the user out.
func TestFromAssertionDropsWhatIsOfNoUse(t *testing.T) {
	long := strings.Repeat("x", 257)
	for _, test := range []struct {
		name      string
		attribute sp.Attribute
		dropped   []string
	}{
		{"e-mail with a line break", attribute("email", "a\r\nb"), []string{"email"}},
		{"e-mail written backwards", attribute("email", "a\u202eb"), []string{"email"}},
		{"e-mail with a no-break space", attribute("email", "admin@x.example\u00a0"), []string{"email"}},
		{"e-mail too long", attribute("email", long), []string{"email"}},
		{"given name too long", attribute("given", long), []string{"givenName"}},
		{"surname with a line separator", attribute("sn", "a\u2028b"), []string{"surname"}},
		{"name not UTF-8", attribute("cn", "\xff"), []string{"displayName"}},
		{"name with NUL", attribute("cn", "a\x00"), []string{"displayName"}},
	} {
		got, err := identity.FromAssertion(assertion("", test.attribute, attribute("Group", "g")), mapping)
		want := identity.Identity{UserID: "name-id", UserIDSource: identity.SourceNameID, Groups: []string{"g"}, Dropped: test.dropped}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", test.name, got, err, want)
		}
	}
}

// Whoever can get a NameID that equals the ID of another, and an assertion
// without the attribute, must not become the other.
func TestANameIDNeverStandsInForTheAttributeThatIdentifies(t *testing.T) {
	required := mapping
	required.UserID, required.UserIDRequired = []string{"employee"}, true
	for _, test := range []struct {
		name      string
		assertion *sp.Assertion
		mapping   tenantconfig.AttributeMapping
	}{
		{"the tenant names the attribute", assertion(persistent), required},
		{"nor do other attributes", assertion(transient, attribute("subject", "s1")), required},
		{"nor without a NameID", withoutNameID(attribute("subject", "s1")), required},
	} {
		got, err := identity.FromAssertion(test.assertion, test.mapping)
		refusal, ok := errors.AsType[*identity.Error](err)
		if !ok || refusal.Code != identity.CodeUserIDMissing || got.UserID != "" {
			t.Errorf("%s: got %+v, %v, want %s", test.name, got, err, identity.CodeUserIDMissing)
			continue
		}
		if !strings.Contains(refusal.Detail, test.mapping.UserID[0]) || !strings.Contains(refusal.Detail, "attributeMapping.userID") {
			t.Errorf("%s: the administrator is told %q", test.name, refusal.Detail)
		}
	}
}

func TestRefusalsForWantOfAnIDNameTheSetting(t *testing.T) {
	for _, a := range []*sp.Assertion{assertion(transient), withoutNameID()} {
		if _, err := identity.FromAssertion(a, mapping); err == nil || !strings.Contains(err.Error(), "attributeMapping.userID") {
			t.Errorf("the administrator is told %v", err)
		}
	}
}

func TestGroupsAreBounded(t *testing.T) {
	for _, test := range []struct{ number, bytes int }{{1001, 4}, {82, 505}} {
		groups := make([]string, test.number)
		for i := range groups {
			groups[i] = fmt.Sprintf("%0*d", test.bytes, i)
		}
		_, err := identity.FromAssertion(assertion("", attribute("Group", groups...)), mapping)
		if refusal, ok := errors.AsType[*identity.Error](err); !ok || refusal.Code != identity.CodeGroupsTooMany {
			t.Errorf("%d groups: got %v, want %s", len(groups), err, identity.CodeGroupsTooMany)
		}
		if got, err := identity.FromAssertion(assertion("", attribute("Group", groups[1:]...)), mapping); err != nil || len(got.Groups) != test.number-1 {
			t.Errorf("one fewer: got %d, %v", len(got.Groups), err)
		}
	}
}

// Entra ID's administrators choose the name of the claim, and a namespace that
// stands before it. (E18, E19)
func TestE18_GroupsUnderOtherNames(t *testing.T) {
	const (
		id  = "7d0c8a51-94a3-4c55-9e0e-1b8f3c2b6a40"
		uri = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/Group"
	)
	mapping := mapping
	mapping.GroupsInNamespace = []string{"Group", "groups"}
	for _, test := range []struct {
		name       string
		attributes []sp.Attribute
		want       []string
		refused    identity.Code
	}{
		{"plain", []sp.Attribute{attribute("Group", id, "staff")}, []string{id, "staff"}, ""},
		{"in a namespace", []sp.Attribute{attribute(uri, id)}, []string{id}, ""},
		{"in a namespace, in two parts", []sp.Attribute{attribute(uri, "a"), attribute(uri, "b")}, []string{"a", "b"}, ""},
		{"in the customer's namespace", []sp.Attribute{attribute("https://acme.example/claims/groups", "a")}, []string{"a"}, ""},
		{"a known name comes first", []sp.Attribute{attribute(uri, "a"), attribute("groups", "b")}, []string{"b"}, ""},
		{"a known name without values too", []sp.Attribute{attribute(uri, "a"), attribute("groups")}, nil, ""},
		{"in two namespaces", []sp.Attribute{attribute(uri, "a"), attribute("https://acme.example/Group", "b")}, nil, identity.CodeGroupsAmbiguous},
		{"another name", []sp.Attribute{attribute("https://acme.example/AdminGroup", "a"), attribute("urn:acme:Group", "b"), attribute(uri+"/x", "c")}, nil, ""},
		{"another case", []sp.Attribute{attribute("https://acme.example/GROUP", "a")}, nil, ""},
	} {
		got, err := identity.FromAssertion(assertion("", test.attributes...), mapping)
		refusal, _ := errors.AsType[*identity.Error](err)
		switch {
		case test.refused != "":
			if refusal == nil || refusal.Code != test.refused {
				t.Errorf("%s: got %v, want %s", test.name, err, test.refused)
			}
		case err != nil || !slices.Equal(got.Groups, test.want):
			t.Errorf("%s: got %v, %v, want %v", test.name, got.Groups, err, test.want)
		}
	}
}

// What is tolerated is said so, and what the IdP did send is still true. (E20)
func TestE20_ToleratedOverage(t *testing.T) {
	mapping := mapping
	mapping.TolerateGroupOverage = true
	for _, test := range []struct {
		attributes []sp.Attribute
		groups     []string
		incomplete bool
	}{
		{[]sp.Attribute{attribute(overage, "https://graph.example")}, nil, true},
		{[]sp.Attribute{attribute(overage), attribute("Group", "a")}, []string{"a"}, true},
		{[]sp.Attribute{attribute("Group", "a")}, []string{"a"}, false},
		{nil, nil, false},
	} {
		got, err := identity.FromAssertion(assertion("", test.attributes...), mapping)
		if err != nil || !slices.Equal(got.Groups, test.groups) || got.GroupsIncomplete != test.incomplete {
			t.Errorf("%v: got %v, incomplete %v, %v", test.attributes, got.Groups, got.GroupsIncomplete, err)
		}
	}
}

func TestFromAssertionRefuses(t *testing.T) {
	long := strings.Repeat("x", 257)
	for _, test := range []struct {
		name      string
		assertion *sp.Assertion
		want      identity.Code
	}{
		{"transient", assertion(transient), identity.CodeTransientNameID},
		{"no NameID", withoutNameID(attribute("email", "a@x.example")), identity.CodeNameIDMissing},
		{"transient, and an empty attribute before a used one", assertion(transient, attribute("subject", ""), attribute("eppn", "e1")), identity.CodeUserIDAmbiguous},
		{"transient, and two values", assertion(transient, attribute("eppn", "e1", "e2")), identity.CodeUserIDAmbiguous},
		{"transient, and a value with a space", assertion(transient, attribute("eppn", "e1 ")), identity.CodeAttributeInvalid},
		{"NameID too long", &sp.Assertion{NameID: sp.NameID{Value: long}}, identity.CodeAttributeInvalid},
		{"userID empty", assertion(persistent, attribute("oid", "")), identity.CodeUserIDAmbiguous},
		{"userID without a value", assertion(persistent, attribute("oid"), attribute("uid", "u1")), identity.CodeUserIDAmbiguous},
		{"userID twice", assertion(persistent, attribute("oid", "o1", "o2")), identity.CodeUserIDAmbiguous},
		{"userID in two parts", assertion(persistent, attribute("oid", "o1"), attribute("oid", "o2")), identity.CodeUserIDAmbiguous},
		{"userID too long", assertion("", attribute("oid", long)), identity.CodeAttributeInvalid},
		{"userID with a space", assertion("", attribute("oid", "admin ")), identity.CodeAttributeInvalid},
		{"userID with a no-break space", assertion("", attribute("oid", "admin\u00a0")), identity.CodeAttributeInvalid},
		{"group too long", assertion("", attribute("Group", strings.Repeat("x", 513))), identity.CodeAttributeInvalid},
		{"group with a no-break space", assertion("", attribute("Group", "admin\u00a0")), identity.CodeAttributeInvalid},
		{"group with a mark", assertion("", attribute("Group", "admin\u200e")), identity.CodeAttributeInvalid},
		{"group with a line separator", assertion("", attribute("Group", "a\u2028b")), identity.CodeAttributeInvalid},
		{"overage", assertion("", attribute(overage, "https://graph.example")), identity.CodeGroupOverage},
		{"overage without a value", assertion("", attribute(overage)), identity.CodeGroupOverage},
		{"overage beside groups", assertion("", attribute("Group", "a"), attribute(overage, "x")), identity.CodeGroupOverage},
		{"overage beside an empty list", assertion("", attribute("Group"), attribute(overage, "x")), identity.CodeGroupOverage},
	} {
		_, err := identity.FromAssertion(test.assertion, mapping)
		refusal, ok := errors.AsType[*identity.Error](err)
		if !ok || refusal.Code != test.want {
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
	}
}
