package authorization_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/authorization"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

var (
	none    = tenantconfig.Authorization{}
	groups  = tenantconfig.Authorization{AllowedGroups: []string{"staff", "Ops, EMEA"}}
	domains = tenantconfig.Authorization{AllowedEmailDomains: []string{"acme.example", "xn--mnchen-3ya.example"}}
	both    = tenantconfig.Authorization{AllowedGroups: []string{"staff"}, AllowedEmailDomains: []string{"acme.example"}}
)

func in(groups ...string) authorization.Subject { return authorization.Subject{Groups: groups} }

func mail(address string) authorization.Subject { return authorization.Subject{Email: address} }

func TestAdmit(t *testing.T) {
	for _, test := range []struct {
		name    string
		rules   tenantconfig.Authorization
		subject authorization.Subject
		want    authorization.Code
	}{
		{"no rules", none, authorization.Subject{}, ""},
		{"no rules, incomplete groups", none, authorization.Subject{GroupsIncomplete: true}, ""},

		{"one group of several", groups, in("x", "staff"), ""},
		{"a group with a comma", groups, in("Ops, EMEA"), ""},
		{"no groups", groups, in(), authorization.CodeGroupNotAllowed},
		{"an empty group", groups, in(""), authorization.CodeGroupNotAllowed},
		{"another group", groups, in("admins"), authorization.CodeGroupNotAllowed},
		{"another case", groups, in("Staff"), authorization.CodeGroupNotAllowed},
		{"a part of a group", groups, in("staf", "staff-x", "Ops", " EMEA"), authorization.CodeGroupNotAllowed},
		{"a look-alike", groups, in("st\u0430ff"), authorization.CodeGroupNotAllowed},
		{"a space", groups, in("staff "), authorization.CodeGroupNotAllowed},
		{"incomplete groups with an allowed one", groups, authorization.Subject{Groups: []string{"staff"}, GroupsIncomplete: true}, ""},
		{"incomplete groups without", groups, authorization.Subject{Groups: []string{"x"}, GroupsIncomplete: true}, authorization.CodeGroupOverage},
		{"only incomplete groups", groups, authorization.Subject{GroupsIncomplete: true}, authorization.CodeGroupOverage},

		{"the domain", domains, mail("alice@acme.example"), ""},
		{"upper case", domains, mail("Alice@ACME.Example"), ""},
		{"a guest of Entra ID", domains, mail("alice_other.example#EXT#@acme.example"), ""},
		{"punycode", domains, mail("a@xn--mnchen-3ya.example"), ""},
		{"no address", domains, mail(""), authorization.CodeEmailMissing},
		{"another domain", domains, mail("alice@globex.example"), authorization.CodeEmailDomainNotAllowed},
		{"a subdomain", domains, mail("alice@mail.acme.example"), authorization.CodeEmailDomainNotAllowed},
		{"a domain above", domains, mail("alice@example"), authorization.CodeEmailDomainNotAllowed},
		{"a longer name", domains, mail("alice@evilacme.example"), authorization.CodeEmailDomainNotAllowed},
		{"a domain below another", domains, mail("alice@acme.example.evil.example"), authorization.CodeEmailDomainNotAllowed},
		{"a trailing dot", domains, mail("alice@acme.example."), authorization.CodeEmailDomainNotAllowed},
		{"no @", domains, mail("acme.example"), authorization.CodeEmailInvalid},
		{"nothing before", domains, mail("@acme.example"), authorization.CodeEmailInvalid},
		{"nothing after", domains, mail("alice@"), authorization.CodeEmailInvalid},
		{"two @", domains, mail("alice@evil.example@acme.example"), authorization.CodeEmailInvalid},
		{"two @ the other way", domains, mail("alice@acme.example@evil.example"), authorization.CodeEmailInvalid},
		{"a quoted @", domains, mail(`"alice@evil.example"@acme.example`), authorization.CodeEmailInvalid},
		{"a comment", domains, mail("alice@acme.example(@evil.example)"), authorization.CodeEmailInvalid},
		{"a name and an address", domains, mail("<alice@acme.example>"), authorization.CodeEmailInvalid},
		{"two addresses", domains, mail("mallory,alice@acme.example"), authorization.CodeEmailInvalid},
		{"a percent that routes is of the name", domains, mail("alice%evil.example@acme.example"), ""},
		{"a NUL", domains, mail("alice@acme.example\x00.evil.example"), authorization.CodeEmailInvalid},
		{"a line break", domains, mail("alice@acme.example\n"), authorization.CodeEmailInvalid},
		{"a space within", domains, mail("alice @acme.example"), authorization.CodeEmailInvalid},
		{"a wide @", domains, mail("alice＠acme.example"), authorization.CodeEmailInvalid},
		{"a wide dot", domains, mail("alice@acme。example"), authorization.CodeEmailInvalid},
		{"a Cyrillic letter", domains, mail("alice@\u0430cme.example"), authorization.CodeEmailInvalid},
		{"a Kelvin sign", tenantconfig.Authorization{AllowedEmailDomains: []string{"kelvin.example"}}, mail("a@\u212aelvin.example"), authorization.CodeEmailInvalid},
		{"a long s", tenantconfig.Authorization{AllowedEmailDomains: []string{"s.example"}}, mail("a@\u017f.example"), authorization.CodeEmailInvalid},
		{"a soft hyphen", domains, mail("alice@ac\u00adme.example"), authorization.CodeEmailInvalid},
		{"a letter of another script in the name", domains, mail("\u0430lice@acme.example"), authorization.CodeEmailInvalid},
		{"not UTF-8", domains, mail("alice@acme.example\xff"), authorization.CodeEmailInvalid},

		{"group and domain", both, authorization.Subject{Email: "a@acme.example", Groups: []string{"staff"}}, ""},
		{"the group alone", both, authorization.Subject{Email: "a@globex.example", Groups: []string{"staff"}}, authorization.CodeEmailDomainNotAllowed},
		{"the domain alone", both, authorization.Subject{Email: "a@acme.example"}, authorization.CodeGroupNotAllowed},
		{"the domain alone, of too many groups", both, authorization.Subject{Email: "a@acme.example", GroupsIncomplete: true}, authorization.CodeGroupOverage},
	} {
		err := authorization.New(test.rules).Admit(test.subject)
		refusal, _ := errors.AsType[*authorization.Error](err)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (refusal == nil || refusal.Code != test.want || !strings.Contains(refusal.Detail, "authorization.")):
			t.Errorf("%s: got %v, want %s and the setting", test.name, err, test.want)
		}
	}
}

func TestRoles(t *testing.T) {
	rules := authorization.New(tenantconfig.Authorization{RoleMappings: []tenantconfig.RoleMapping{
		{Group: "staff", Role: "viewer"}, {Group: "ops", Role: "admin"}, {Group: "owners", Role: "admin"}, {Group: "ops", Role: "auditor"},
	}})
	for _, test := range []struct{ groups, want []string }{
		{nil, nil},
		{[]string{"others", "Staff", "viewer"}, nil},
		{[]string{"owners", "ops", "staff"}, []string{"viewer", "admin", "auditor"}},
		{[]string{"ops"}, []string{"admin", "auditor"}},
	} {
		if got := rules.Roles(test.groups); !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, want %q", test.groups, got, test.want)
		}
	}
	if got := authorization.New(none).Roles([]string{"admin"}); got != nil {
		t.Errorf("roles without a mapping: %q", got)
	}
}

// FuzzEmailDomain: an address that is let in ends with exactly the allowed
// domain, whoever reads it.
func FuzzEmailDomain(f *testing.F) {
	for _, seed := range []string{"a@acme.example", "a@b@acme.example", "a@ACME.EXAMPLE", "a@\u0430cme.example", "\"a\"@acme.example"} {
		f.Add(seed)
	}
	rules := authorization.New(domains)
	f.Fuzz(func(t *testing.T, email string) {
		if rules.Admit(mail(email)) != nil {
			return
		}
		if strings.Count(email, "@") != 1 || strings.ContainsFunc(email, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q is let in", email)
		}
		_, domain, _ := strings.Cut(email, "@")
		if !slices.ContainsFunc(domains.AllowedEmailDomains, func(allowed string) bool { return strings.EqualFold(allowed, domain) }) {
			t.Errorf("%q is let in", email)
		}
	})
}
