package identity_test

import (
	"errors"
	"reflect"
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
)

var mapping = tenantconfig.AttributeMapping{
	UserID: []string{"oid", "uid"}, Email: []string{"email", "mail"}, GivenName: []string{"given"},
	Surname: []string{"sn"}, DisplayName: []string{"cn"}, Groups: []string{"Group", "groups"},
}

func assertion(nameIDFormat string, attributes ...sp.Attribute) *sp.Assertion {
	return &sp.Assertion{NameID: sp.NameID{Value: "name-id", Format: nameIDFormat}, Attributes: attributes}
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
		{"NameID alone", assertion(persistent), identity.Identity{UserID: "name-id"}},
		{"NameID without a format", assertion(""), identity.Identity{UserID: "name-id"}},
		{"a mapped userID comes first", assertion(persistent, attribute("uid", "u1"), attribute("oid", "o1")), identity.Identity{UserID: "o1"}},
		{"a mapped userID makes a transient NameID harmless", assertion(transient, attribute("uid", "u1")), identity.Identity{UserID: "u1"}},
		{"everything", assertion("", attribute("mail", "a@x.example", "b@x.example"), attribute("given", "Zoë"), attribute("sn", " O'Neil "),
			attribute("cn", "Zoë \u200dO'Neil"), attribute("Group", "a", "", "b", "a"), attribute("groups", "c")),
			identity.Identity{UserID: "name-id", Email: "a@x.example", GivenName: "Zoë", Surname: " O'Neil ", DisplayName: "Zoë \u200dO'Neil", Groups: []string{"a", "b"}}},
		{"an attribute in two parts", assertion("", attribute("Group", "a"), attribute("Group", "b")), identity.Identity{UserID: "name-id", Groups: []string{"a", "b"}}},
		{"the second name of groups", assertion("", attribute("groups", "c")), identity.Identity{UserID: "name-id", Groups: []string{"c"}}},
		{"a link beside groups", assertion("", attribute("Group", "a"), attribute(overage, "https://graph.example")), identity.Identity{UserID: "name-id", Groups: []string{"a"}}},
		{"empty e-mail", assertion("", attribute("email")), identity.Identity{UserID: "name-id"}},
	} {
		got, err := identity.FromAssertion(test.assertion, mapping)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, %v, want %+v", test.name, got, err, test.want)
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
		{"userID empty", assertion(persistent, attribute("oid", "")), identity.CodeUserIDAmbiguous},
		{"userID without a value", assertion(persistent, attribute("oid"), attribute("uid", "u1")), identity.CodeUserIDAmbiguous},
		{"userID twice", assertion(persistent, attribute("oid", "o1", "o2")), identity.CodeUserIDAmbiguous},
		{"userID in two parts", assertion(persistent, attribute("oid", "o1"), attribute("oid", "o2")), identity.CodeUserIDAmbiguous},
		{"userID too long", assertion("", attribute("oid", long)), identity.CodeAttributeInvalid},
		{"userID with a space", assertion("", attribute("oid", "admin ")), identity.CodeAttributeInvalid},
		{"userID with a no-break space", assertion("", attribute("oid", "admin\u00a0")), identity.CodeAttributeInvalid},
		{"e-mail with a line break", assertion("", attribute("email", "a\r\nb")), identity.CodeAttributeInvalid},
		{"e-mail written backwards", assertion("", attribute("email", "a\u202eb")), identity.CodeAttributeInvalid},
		{"e-mail with a space", assertion("", attribute("email", "admin@x.example ")), identity.CodeAttributeInvalid},
		{"name not UTF-8", assertion("", attribute("cn", "\xff")), identity.CodeAttributeInvalid},
		{"name with NUL", assertion("", attribute("cn", "a\x00")), identity.CodeAttributeInvalid},
		{"name too long", assertion("", attribute("given", long)), identity.CodeAttributeInvalid},
		{"group too long", assertion("", attribute("Group", strings.Repeat("x", 513))), identity.CodeAttributeInvalid},
		{"group with a line separator", assertion("", attribute("Group", "a\u2028b")), identity.CodeAttributeInvalid},
		{"overage", assertion("", attribute(overage, "https://graph.example")), identity.CodeGroupOverage},
		{"overage without a value", assertion("", attribute(overage)), identity.CodeGroupOverage},
		{"overage beside an empty list", assertion("", attribute("Group"), attribute(overage, "x")), identity.CodeGroupOverage},
	} {
		_, err := identity.FromAssertion(test.assertion, mapping)
		refusal, ok := errors.AsType[*identity.Error](err)
		if !ok || refusal.Code != test.want {
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
	}
}
