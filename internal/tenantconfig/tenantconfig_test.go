package tenantconfig_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/tenantconfig"
)

func valid() tenantconfig.Config {
	return tenantconfig.Config{
		Version: 1, Tenant: "acme", CustomerName: "acme", DisplayName: "Acme & Söhne <Inc>", Host: "acme.s.example.com",
		ServiceProvider: tenantconfig.ServiceProvider{
			EntityID:    "https://acme.s.example.com:443/saml/metadata",
			SignOnURL:   "https://acme.s.example.com",
			ACSURL:      "https://acme.s.example.com/saml/acs",
			MetadataURL: "https://acme.s.example.com/saml/metadata",
		},
		IdentityProvider: tenantconfig.IdentityProvider{
			EntityID:            "https://idp.example.com/",
			SSO:                 []tenantconfig.Endpoint{{Binding: tenantconfig.BindingRedirect, Location: "https://idp.example.com/sso?a=1&b=2"}},
			SigningCertificates: []string{"MIIB"},
		},
		AttributeMapping: tenantconfig.AttributeMapping{UserID: []string{"uid"}, Email: []string{"mail"}, Groups: []string{"Group"}},
		Session:          tenantconfig.Session{MaxDuration: 28800, IdleTimeout: 3600},
	}
}

// The golden file is what gateways of this version may be given by operators
// of any release: a change of it needs a new version.
func TestEncodingIsTheGoldenFile(t *testing.T) {
	got, err := tenantconfig.Encode(valid())
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/v1.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("encoded as\n%s\nwant\n%s", got, want)
	}
	back, err := tenantconfig.Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := tenantconfig.Encode(back); err != nil || !bytes.Equal(again, want) {
		t.Errorf("decoded and encoded again: %s, %v", again, err)
	}
}

// As above, of the version with path rules and applications of tenants.
func TestApplicationIsTheGoldenFile(t *testing.T) {
	c := valid()
	c.Version = 3
	c.Application = tenantconfig.Application{
		Upstream: "http://app.customers.svc:8080",
		Paths: []tenantconfig.PathRule{
			{Path: "/"},
			{Path: "/status", Exact: true, Public: true},
			{Path: "/admin", Roles: []string{"admin", "owner"}, FreshSignIn: 900},
		},
	}
	got, err := tenantconfig.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/v3.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("encoded as\n%s\nwant\n%s", got, want)
	}
	if back, err := tenantconfig.Decode(want); err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("decoded as %+v, %v", back, err)
	}
}

// The grace for expired certificates begins and ends by the reader's clock, and
// none is without an end.
func TestAGraceForExpiredCertificatesIsBounded(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		until time.Time
		want  bool
	}{
		{now.Add(time.Second), true},
		{now.Add(tenantconfig.MaxExpiredGrace), true},
		{now.Add(tenantconfig.MaxExpiredGrace + time.Second), false},
		{now, false},
		{now.AddDate(-1, 0, 0), false},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), false},
	} {
		idp := tenantconfig.IdentityProvider{AcceptExpiredUntil: test.until.Unix()}
		if got := idp.AcceptsExpired(now); got != test.want {
			t.Errorf("until %v: %v", test.until, got)
		}
	}
	if (tenantconfig.IdentityProvider{}).AcceptsExpired(time.Unix(-1, 0)) {
		t.Error("expired certificates are accepted without a grace")
	}
}

// As above: there is no single logout in a configuration from before it.
func TestSingleLogoutIsEncoded(t *testing.T) {
	c := valid()
	c.ServiceProvider.SLOURL = "https://acme.s.example.com/saml/slo"
	c.IdentityProvider.SLO = []tenantconfig.Endpoint{
		{Binding: tenantconfig.BindingRedirect, Location: "https://idp.example.com/slo"},
		{Binding: tenantconfig.BindingPOST, Location: "https://idp.example.com/slo", ResponseLocation: "https://idp.example.com/done"},
	}
	encoded, err := tenantconfig.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	back, err := tenantconfig.Decode(encoded)
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("read back as %+v, %v", back, err)
	}
	for _, endpoint := range back.IdentityProvider.SLO {
		if want := map[string]string{tenantconfig.BindingRedirect: "https://idp.example.com/slo", tenantconfig.BindingPOST: "https://idp.example.com/done"}[endpoint.Binding]; endpoint.ForResponses() != want {
			t.Errorf("responses go to %s, want %s", endpoint.ForResponses(), want)
		}
	}
}

// A configuration from before these fields has neither, and they are fields
// that a reader from before them ignores.
func TestWhatIdentifiesUsersIsEncoded(t *testing.T) {
	c := valid()
	c.AttributeMapping.UserIDRequired = true
	c.AttributeMapping.UserIDWithoutNameID = []string{"eppn", "uid"}
	encoded, err := tenantconfig.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	var raw struct {
		AttributeMapping map[string]any `json:"attributeMapping"`
	}
	if err := json.Unmarshal(encoded, &raw); err != nil {
		t.Fatal(err)
	}
	if raw.AttributeMapping["userIDRequired"] != true || !reflect.DeepEqual(raw.AttributeMapping["userIDWithoutNameID"], []any{"eppn", "uid"}) {
		t.Errorf("encoded as %v", raw.AttributeMapping)
	}
	if back, err := tenantconfig.Decode(encoded); err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("decoded as %+v, %v", back, err)
	}
}

func asked(comparison string, classes ...string) *tenantconfig.RequestedAuthnContext {
	return &tenantconfig.RequestedAuthnContext{ClassRefs: classes, Comparison: comparison}
}

// What the tenant wants of requests and answers reads back as it was written.
func TestWishesAreEncoded(t *testing.T) {
	c := valid()
	c.ServiceProvider.ForceAuthn = true
	c.ServiceProvider.WantAssertionsEncrypted = true
	c.ServiceProvider.IDPInitiated = tenantconfig.IDPInitiatedRestart
	c.ServiceProvider.RequestedAuthnContext = asked(tenantconfig.ComparisonExact, "https://refeds.org/profile/mfa")
	encoded, err := tenantconfig.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := tenantconfig.Decode(encoded); err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("decoded as %+v, %v", back, err)
	}
	for _, want := range []string{
		`"forceAuthn": true`, `"wantAssertionsEncrypted": true`, `"allowIDPInitiated": "Restart"`, `"comparison": "exact"`,
	} {
		if !strings.Contains(string(encoded), want) {
			t.Errorf("%s is not in %s", want, encoded)
		}
	}
}

// A reader of an earlier version would ignore the rules and let everybody in, or
// send requests to another application. A configuration without such rules
// stays as it was, and one whose rules only open something can be read by all.
func TestRulesOfEntryNeedAReaderThatHoldsToThem(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*tenantconfig.Config)
		want   int
	}{
		"groups":          {func(c *tenantconfig.Config) { c.Authorization.AllowedGroups = []string{"staff"} }, 2},
		"domains":         {func(c *tenantconfig.Config) { c.Authorization.AllowedEmailDomains = []string{"acme.example"} }, 2},
		"known users":     {func(c *tenantconfig.Config) { c.Provisioning.Mode = tenantconfig.ProvisioningExisting }, 2},
		"number of users": {func(c *tenantconfig.Config) { c.Provisioning.MaxUsers = 7 }, 2},
		"kept attributes": {func(c *tenantconfig.Config) { c.Provisioning.KeepAttributes = []string{"email"} }, 1},
		"roles": {func(c *tenantconfig.Config) {
			c.Authorization.RoleMappings = []tenantconfig.RoleMapping{{Group: "staff", Role: "viewer"}}
		}, 1},
		"public paths":    {withPaths(tenantconfig.PathRule{Path: "/status", Public: true}), 1},
		"paths and roles": {withPaths(tenantconfig.PathRule{Path: "/status", Public: true}, tenantconfig.PathRule{Path: "/admin", Roles: []string{"admin"}}), 3},
		"a fresh sign-in": {withPaths(tenantconfig.PathRule{Path: "/admin", FreshSignIn: 60}), 3},
		"signed in":       {withPaths(tenantconfig.PathRule{Path: "/admin"}), 3},
		"an upstream":     {func(c *tenantconfig.Config) { c.Application.Upstream = "http://app.a.svc:80" }, 3},
		"an upstream and groups": {func(c *tenantconfig.Config) {
			c.Application.Upstream, c.Authorization.AllowedGroups = "http://app.a.svc:80", []string{"staff"}
		}, 3},
		"role for the test": {func(c *tenantconfig.Config) { c.Authorization.TestRole = "viewer" }, 1},
	} {
		c := valid()
		test.change(&c)
		c.Version = test.want
		encoded, err := tenantconfig.Encode(c)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := fmt.Sprintf(`"version": %d,`, test.want); !strings.Contains(string(encoded), want) {
			t.Errorf("%s: %s is not in %s", name, want, encoded)
		}
		if back, err := tenantconfig.Decode(encoded); err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%s: decoded as %+v, %v", name, back, err)
		}
		if test.want == 1 {
			continue
		}
		for older := 1; older < test.want; older++ {
			data := strings.Replace(string(encoded), fmt.Sprintf(`"version": %d`, test.want), fmt.Sprintf(`"version": %d`, older), 1)
			if _, err := tenantconfig.Decode([]byte(data)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("version is %d", older)) {
				t.Errorf("%s: rules in a configuration of version %d: %v", name, older, err)
			}
		}
	}
}

func withUpstream(upstream string) func(*tenantconfig.Config) {
	return func(c *tenantconfig.Config) { c.Application.Upstream = upstream }
}

func withPaths(rules ...tenantconfig.PathRule) func(*tenantconfig.Config) {
	return func(c *tenantconfig.Config) { c.Application.Paths = rules }
}

func TestDecodeIgnoresUnknownFieldsAndRefusesUnknownVersions(t *testing.T) {
	encoded, err := tenantconfig.Encode(valid())
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(encoded), `"tenant":`, `"ofTomorrow": {"a": [1]}, "tenant":`, 1)
	if c, err := tenantconfig.Decode([]byte(newer)); err != nil || c.Tenant != "acme" {
		t.Errorf("a field of tomorrow: got %v, %v", c.Tenant, err)
	}
	for _, version := range []string{"0", "4"} {
		other := strings.Replace(string(encoded), `"version": 1`, `"version": `+version, 1)
		if _, err := tenantconfig.Decode([]byte(other)); !errors.Is(err, tenantconfig.ErrUnsupportedVersion) {
			t.Errorf("version %s: got %v, want ErrUnsupportedVersion", version, err)
		}
	}
	for _, broken := range []string{"", "{", "[]", "null", `{"version": "1"}`} {
		if _, err := tenantconfig.Decode([]byte(broken)); err == nil {
			t.Errorf("%q was decoded", broken)
		}
	}
}

func TestWhatMustNotBeServedIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*tenantconfig.Config)
		message string
	}{
		"no signing certificate":   {func(c *tenantconfig.Config) { c.IdentityProvider.SigningCertificates = nil }, "no assertion could be verified"},
		"an empty certificate":     {func(c *tenantconfig.Config) { c.IdentityProvider.SigningCertificates = []string{""} }, "signingCertificates[0]"},
		"no tenant":                {func(c *tenantconfig.Config) { c.Tenant = "" }, "tenant is empty"},
		"no entity ID of ours":     {func(c *tenantconfig.Config) { c.ServiceProvider.EntityID = "" }, "serviceProvider.entityID"},
		"no entity ID of the IdP":  {func(c *tenantconfig.Config) { c.IdentityProvider.EntityID = "" }, "identityProvider.entityID"},
		"no SSO endpoint":          {func(c *tenantconfig.Config) { c.IdentityProvider.SSO = nil }, "sso is empty"},
		"an http SSO endpoint":     {func(c *tenantconfig.Config) { c.IdentityProvider.SSO[0].Location = "http://idp.example.com/" }, "not an https URL"},
		"a script for an endpoint": {func(c *tenantconfig.Config) { c.IdentityProvider.SSO[0].Location = "javascript:alert(1)" }, "not an https URL"},
		"another binding":          {func(c *tenantconfig.Config) { c.IdentityProvider.SSO[0].Binding = "urn:x" }, "binding"},
		"an upper-case host":       {func(c *tenantconfig.Config) { c.Host = "Acme.s.example.com" }, "lower-case"},
		"a host with a port":       {func(c *tenantconfig.Config) { c.Host = "acme.s.example.com:443" }, "without a port"},
		"an ACS on another host":   {func(c *tenantconfig.Config) { c.ServiceProvider.ACSURL = "https://globex.s.example.com/saml/acs" }, "serviceProvider.acsURL"},
		"an ACS over http":         {func(c *tenantconfig.Config) { c.ServiceProvider.ACSURL = "http://acme.s.example.com/saml/acs" }, "serviceProvider.acsURL"},
		"a session without an end": {func(c *tenantconfig.Config) { c.Session.MaxDuration = 0 }, "must be positive"},
		"a session with no idling": {func(c *tenantconfig.Config) { c.Session.IdleTimeout = -1 }, "must be positive"},
		"a mode of tomorrow":       {func(c *tenantconfig.Config) { c.ServiceProvider.IDPInitiated = "Trust" }, "allowIDPInitiated"},
		"Refuse in other words":    {func(c *tenantconfig.Config) { c.ServiceProvider.IDPInitiated = "Refuse" }, "allowIDPInitiated"},
		"a wish that nothing keeps": {func(c *tenantconfig.Config) {
			c.ServiceProvider.IDPInitiated, c.ServiceProvider.ForceAuthn = tenantconfig.IDPInitiatedAccept, true
		}, "forceAuthn"},
		"no class":             {func(c *tenantconfig.Config) { c.ServiceProvider.RequestedAuthnContext = asked("exact") }, "classRefs"},
		"an empty class":       {func(c *tenantconfig.Config) { c.ServiceProvider.RequestedAuthnContext = asked("exact", "urn:x", "") }, "classRefs"},
		"no comparison":        {func(c *tenantconfig.Config) { c.ServiceProvider.RequestedAuthnContext = asked("", "urn:x") }, "comparison"},
		"another comparison":   {func(c *tenantconfig.Config) { c.ServiceProvider.RequestedAuthnContext = asked("Exact", "urn:x") }, "comparison"},
		"an SLO URL elsewhere": {func(c *tenantconfig.Config) { c.ServiceProvider.SLOURL = "https://globex.s.example.com/saml/slo" }, "sloURL"},
		"an http SLO URL":      {func(c *tenantconfig.Config) { c.ServiceProvider.SLOURL = "http://acme.s.example.com/saml/slo" }, "sloURL"},
		"an http SLO endpoint": {func(c *tenantconfig.Config) {
			c.IdentityProvider.SLO = []tenantconfig.Endpoint{{Binding: tenantconfig.BindingPOST, Location: "http://idp.example.com/"}}
		}, "identityProvider.slo"},
		"a script for responses": {func(c *tenantconfig.Config) {
			c.IdentityProvider.SLO = []tenantconfig.Endpoint{{Binding: tenantconfig.BindingPOST, Location: "https://idp.example.com/", ResponseLocation: "javascript:alert(1)"}}
		}, "identityProvider.slo"},
		"allowed groups that are none":       {func(c *tenantconfig.Config) { c.Authorization.AllowedGroups = []string{} }, "allowedGroups is empty"},
		"an allowed group of nothing":        {func(c *tenantconfig.Config) { c.Authorization.AllowedGroups = []string{"a", ""} }, "allowedGroups is empty"},
		"domains that are none":              {func(c *tenantconfig.Config) { c.Authorization.AllowedEmailDomains = []string{} }, "allowedEmailDomains is empty"},
		"a domain in upper case":             {func(c *tenantconfig.Config) { c.Authorization.AllowedEmailDomains = []string{"Acme.example"} }, "lower-case domain"},
		"all domains":                        {func(c *tenantconfig.Config) { c.Authorization.AllowedEmailDomains = []string{"*"} }, "lower-case domain"},
		"a mode of provisioning of tomorrow": {func(c *tenantconfig.Config) { c.Provisioning.Mode = "Approved" }, "provisioning.mode"},
		"JustInTime in other words":          {func(c *tenantconfig.Config) { c.Provisioning.Mode = "JustInTime" }, "provisioning.mode"},
		"fewer than no users":                {func(c *tenantconfig.Config) { c.Provisioning.MaxUsers = -1 }, "provisioning.maxUsers"},
		"a path of no beginning":             {withPaths(tenantconfig.PathRule{Path: "admin"}), "application.paths[0]"},
		"no path":                            {withPaths(tenantconfig.PathRule{Path: "/"}, tenantconfig.PathRule{}), "application.paths[1]"},
		"a path with a wildcard":             {withPaths(tenantconfig.PathRule{Path: "/admin/*"}), "'*'"},
		"a path with an escape":              {withPaths(tenantconfig.PathRule{Path: "/%61dmin"}), "'%'"},
		"a path that goes up":                {withPaths(tenantconfig.PathRule{Path: "/a/../admin"}), "at a name's end"},
		"a path with a dot at end":           {withPaths(tenantconfig.PathRule{Path: "/admin./a"}), "at a name's end"},
		"a path twice split":                 {withPaths(tenantconfig.PathRule{Path: "/a//admin"}), "'//'"},
		"a path with parameters":             {withPaths(tenantconfig.PathRule{Path: "/admin;a"}), "path"},
		"a path with a query":                {withPaths(tenantconfig.PathRule{Path: "/admin?a"}), "path"},
		"a path with a line break":           {withPaths(tenantconfig.PathRule{Path: "/admin\n"}), "path"},
		"the gateway's path":                 {withPaths(tenantconfig.PathRule{Path: "/saml/login", Public: true}), "gateway's own"},
		"roles that are none":                {withPaths(tenantconfig.PathRule{Path: "/a", Roles: []string{}}), "roles is empty"},
		"a role of nothing":                  {withPaths(tenantconfig.PathRule{Path: "/a", Roles: []string{"a", ""}}), "roles is empty"},
		"public for a role":                  {withPaths(tenantconfig.PathRule{Path: "/a", Public: true, Roles: []string{"a"}}), "public path cannot"},
		"public and fresh":                   {withPaths(tenantconfig.PathRule{Path: "/a", Public: true, FreshSignIn: 60}), "public path cannot"},
		"fresh in the future":                {withPaths(tenantconfig.PathRule{Path: "/a", FreshSignIn: -60}), "negative"},
		"an upstream of no scheme":           {withUpstream("app:8080"), "application.upstream"},
		"an upstream in a file":              {withUpstream("file:///etc/passwd"), "application.upstream"},
		"an upstream of nowhere":             {withUpstream("http://:8080"), "application.upstream"},
		"an upstream with a user":            {withUpstream("http://user@app"), "application.upstream"},
		"an upstream with a query":           {withUpstream("http://app/?a=b"), "application.upstream"},
		"a mapping to no role": {func(c *tenantconfig.Config) {
			c.Authorization.RoleMappings = []tenantconfig.RoleMapping{{Group: "staff"}}
		}, "roleMappings[0]"},
	} {
		c := valid()
		test.change(&c)
		if _, err := tenantconfig.Encode(c); err == nil || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.message)
		}
	}
}

func TestHashKnowsNamesFromContents(t *testing.T) {
	seen := map[string]string{}
	for name, files := range map[string]tenantconfig.Files{
		"none":             {},
		"one":              {"a": []byte("bc")},
		"moved boundary":   {"ab": []byte("c")},
		"two":              {"a": []byte("b"), "c": nil},
		"contents swapped": {"a": nil, "c": []byte("b")},
	} {
		hash := files.Hash()
		if other, ok := seen[hash]; ok {
			t.Errorf("%q and %q have the same hash", name, other)
		}
		seen[hash] = name
	}
	if (tenantconfig.Files{"a": []byte("1"), "b": []byte("2")}).Hash() != (tenantconfig.Files{"b": []byte("2"), "a": []byte("1")}).Hash() {
		t.Error("the order of a map must not matter")
	}
}
