// Package cel_test applies SAMLTenants to a real kube-apiserver and looks at
// what its validation says.
package cel_test

import (
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/internal/manifest"
	"cequence.cloud/saml-operator/test/apiserver"
)

var api client.Client

func TestMain(m *testing.M) {
	os.Exit(apiserver.Run(m, func(config *rest.Config) (err error) {
		api, err = client.New(config, client.Options{})
		return err
	}))
}

const (
	minimal = "customerName: acme\nmetadataURL: https://idp.example.com/metadata\n"
	long    = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxy" // 51 characters
)

var cases = map[string]struct {
	name, spec string
	// message that the refusal has to contain; empty when it must be accepted.
	message string
}{
	"two fields":    {spec: minimal},
	"a digit first": {spec: "customerName: 3m\nmetadataURL: https://idp.example.com/metadata"},
	"everything": {spec: minimal + `
displayName: Acme Incorporated
idpEntityID: https://sts.windows.net/7d0c8a51-94a3-4c55-9e0e-1b8f3c2b6a40/
metadataCA: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
refreshInterval: 1h30m
attributeMapping: {userID: uid, email: mail, givenName: gn, surname: sn, displayName: cn, groups: memberOf}
authorization:
  allowedGroups: [staff, "Ops, EMEA", 7d0c8a51-94a3-4c55-9e0e-1b8f3c2b6a40]
  allowedEmailDomains: [acme.example, Mail.Acme.Example, xn--mnchen-3ya.example]
  roleMappings: [{group: staff, role: viewer}, {group: "Ops, EMEA", role: "app:admin/eu"}]
  testRole: "app:admin/eu"
  groupOverage: Tolerate
provisioning: {mode: Existing, maxUsers: 5000, keepAttributes: [email, displayName], scim: {tokenSecretRef: {name: tokens}, identifiedBy: UserName}}
application:
  upstream: {service: {name: acme-app, port: 8443, scheme: https}}
  paths:
  - {path: /, match: Exact, access: Public}
  - {path: /.well-known/security.txt, access: Public}
  - {path: "/übersicht/@me/a-b_c~d!e&f(g)+h,i=j:k", access: SignedIn}
  - {path: /admin/, roles: [admin, "app:admin/eu"], freshSignIn: 1h30m}
  - {path: /keys, match: Prefix, freshSignIn: 1m}
session: {maxDuration: 12h, idleTimeout: 30m}
serviceProvider: {signAuthnRequests: true, signMetadata: true, nameIDFormat: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent", keySecretRef: {name: acme-sp}, keyRotation: {interval: 8760h, overlap: 0s}}
metadataSigningCertificates: ["-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"]
rolloverGrace: 0s
acceptExpiredCertificatesUntil: "2026-12-24T12:00:00Z"
access: Disabled
suspend: true
`},
	"every wish of a request": {spec: minimal + `
serviceProvider:
  requestBinding: POST
  forceAuthn: true
  requestedAuthnContext: {classRefs: ["https://refeds.org/profile/mfa", "urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken"], comparison: exact}
  wantAssertionsEncrypted: true
  allowIDPInitiated: Restart
`},
	"IdP-initiated":               {spec: minimal + "serviceProvider: {allowIDPInitiated: Accept, forceAuthn: false}"},
	"IdP-initiated, forced":       {spec: minimal + "serviceProvider: {allowIDPInitiated: Accept, forceAuthn: true}", message: "set allowIDPInitiated to Restart or Refuse"},
	"IdP-initiated, yes":          {spec: minimal + "serviceProvider: {allowIDPInitiated: true}", message: "allowIDPInitiated"},
	"IdP-initiated, loud":         {spec: minimal + "serviceProvider: {allowIDPInitiated: ACCEPT}", message: "Unsupported value"},
	"requests by artifact":        {spec: minimal + "serviceProvider: {requestBinding: Artifact}", message: "Unsupported value"},
	"no class":                    {spec: minimal + "serviceProvider: {requestedAuthnContext: {classRefs: []}}", message: "at least 1"},
	"a comparison alone":          {spec: minimal + "serviceProvider: {requestedAuthnContext: {comparison: exact}}", message: "classRefs: Required value"},
	"a class that is a word":      {spec: minimal + "serviceProvider: {requestedAuthnContext: {classRefs: [mfa]}}", message: "must be a URI"},
	"a class with a line break":   {spec: minimal + "serviceProvider: {requestedAuthnContext: {classRefs: [\"urn:a\\nb\"]}}", message: "must be a URI"},
	"eleven classes":              {spec: minimal + "serviceProvider: {requestedAuthnContext: {classRefs: [" + strings.Repeat("'urn:a',", 11) + "]}}", message: "at most 10"},
	"another comparison":          {spec: minimal + "serviceProvider: {requestedAuthnContext: {classRefs: ['urn:a'], comparison: Exact}}", message: "Unsupported value"},
	"metadata in a ConfigMap":     {spec: "customerName: acme\nmetadataFrom: {configMapKeyRef: {name: google, key: metadata.xml}}"},
	"metadata in a Secret":        {spec: "customerName: acme\nmetadataFrom: {secretKeyRef: {name: google, key: metadata.xml}}"},
	"two sources":                 {spec: minimal + "metadataFrom: {secretKeyRef: {name: google, key: metadata.xml}}", message: "set exactly one of metadataURL"},
	"two objects":                 {spec: "customerName: acme\nmetadataFrom: {secretKeyRef: {name: a, key: b}, configMapKeyRef: {name: a, key: b}}", message: "exactly one of configMapKeyRef and secretKeyRef"},
	"no object":                   {spec: "customerName: acme\nmetadataFrom: {}", message: "exactly one of configMapKeyRef and secretKeyRef"},
	"a CA for no host":            {spec: "customerName: acme\nmetadataFrom: {secretKeyRef: {name: a, key: b}}\nmetadataCA: '-----BEGIN CERTIFICATE-----'", message: "no meaning with metadataFrom"},
	"a signer that is a path":     {spec: minimal + "metadataSigningCertificates: [/etc/ssl/ca.pem]", message: "PEM certificate"},
	"no signers":                  {spec: minimal + "metadataSigningCertificates: []", message: "at least 1"},
	"a week of grace":             {spec: minimal + "rolloverGrace: 168h", message: "between 0s and 24h"},
	"a date without a time":       {spec: minimal + "acceptExpiredCertificatesUntil: '2026-12-24'", message: "spec.acceptExpiredCertificatesUntil"},
	"another overage":             {spec: minimal + "authorization: {groupOverage: Ignore}", message: "Unsupported value"},
	"no allowed group":            {spec: minimal + "authorization: {allowedGroups: []}", message: "at least 1"},
	"a group of nothing":          {spec: minimal + "authorization: {allowedGroups: ['']}", message: "at least 1"},
	"a group after a space":       {spec: minimal + "authorization: {allowedGroups: [staff, ' staff']}", message: "no user is in such a group"},
	"a group and a line break":    {spec: minimal + "authorization: {allowedGroups: [\"staff\\n\"]}", message: "no user is in such a group"},
	"201 groups":                  {spec: minimal + "authorization: {allowedGroups: [" + strings.Repeat("a,", 201) + "]}", message: "at most 200"},
	"no allowed domain":           {spec: minimal + "authorization: {allowedEmailDomains: []}", message: "at least 1"},
	"an address for a domain":     {spec: minimal + "authorization: {allowedEmailDomains: ['@acme.example']}", message: "each subdomain is named by itself"},
	"all subdomains":              {spec: minimal + "authorization: {allowedEmailDomains: ['*.acme.example']}", message: "each subdomain is named by itself"},
	"a domain with a dot":         {spec: minimal + "authorization: {allowedEmailDomains: ['acme.example.']}", message: "each subdomain is named by itself"},
	"a domain in Cyrillic":        {spec: minimal + "authorization: {allowedEmailDomains: ['аcme.example']}", message: "in its form xn--"},
	"a domain and a line break":   {spec: minimal + "authorization: {allowedEmailDomains: [\"acme.example\\n\"]}", message: "each subdomain is named by itself"},
	"no role":                     {spec: minimal + "authorization: {roleMappings: [{group: staff}]}", message: "role: Required value"},
	"a role with a comma":         {spec: minimal + "authorization: {roleMappings: [{group: staff, role: 'a,b'}]}", message: "beginning and ending with a letter or digit"},
	"a role for a space":          {spec: minimal + "authorization: {roleMappings: [{group: ' ', role: a}]}", message: "no user is in such a group"},
	"another mode":                {spec: minimal + "provisioning: {mode: Never}", message: "Unsupported value"},
	"no users":                    {spec: minimal + "provisioning: {maxUsers: 0}", message: "greater than or equal to 1"},
	"SCIM without tokens":         {spec: minimal + "provisioning: {scim: {}}", message: "Required value"},
	"SCIM by e-mail":              {spec: minimal + "provisioning: {scim: {tokenSecretRef: {name: tokens}, identifiedBy: Email}}", message: "Unsupported value"},
	"kept groups":                 {spec: minimal + "provisioning: {keepAttributes: [groups]}", message: "Unsupported value"},
	"an application by its URL":   {spec: minimal + "application: {upstream: {url: 'https://app.acme.example:8443/base'}}"},
	"an application of gRPC":      {spec: minimal + "application: {upstream: {url: 'h2c://app.acme.example:50051'}}"},
	"two applications":            {spec: minimal + "application: {upstream: {url: 'https://app.acme.example', service: {name: a, port: 80}}}", message: "exactly one of url and service"},
	"an application of nothing":   {spec: minimal + "application: {upstream: {}}", message: "exactly one of url and service"},
	"an application without http": {spec: minimal + "application: {upstream: {url: 'app:8080'}}", message: "must be an http, https or h2c URL"},
	"an application in a file":    {spec: minimal + "application: {upstream: {url: 'file:///etc/passwd'}}", message: "must be an http, https or h2c URL"},
	"an application of nowhere":   {spec: minimal + "application: {upstream: {url: 'http://:80/'}}", message: "must be an http, https or h2c URL"},
	"an application with a user":  {spec: minimal + "application: {upstream: {url: 'http://a:b@app.example'}}", message: "must not have user information"},
	"an application and a query":  {spec: minimal + "application: {upstream: {url: 'http://app.example/?a=b'}}", message: "must not have user information"},
	"a Service elsewhere":         {spec: minimal + "application: {upstream: {service: {name: kubernetes.default, port: 443}}}", message: "a Service in this namespace"},
	"a Service without a port":    {spec: minimal + "application: {upstream: {service: {name: app}}}", message: "port: Required value"},
	"a Service by another scheme": {spec: minimal + "application: {upstream: {service: {name: app, port: 80, scheme: ftp}}}", message: "Unsupported value"},
	"no path rules":               {spec: minimal + "application: {paths: []}", message: "at least 1"},
	"65 path rules":               {spec: minimal + "application: {paths: [" + strings.Repeat("{path: /a, access: SignedIn},", 65) + "]}", message: "at most 64"},
	"64 path rules":               {spec: minimal + "application: {paths: [" + strings.Repeat("{path: /a, access: SignedIn},", 64) + "]}"},
	"a rule of nothing":           {spec: minimal + "application: {paths: [{path: /a}]}", message: "set access, or else roles, freshSignIn or both"},
	"a rule of everything":        {spec: minimal + "application: {paths: [{path: /a, access: SignedIn, roles: [a]}]}", message: "set access, or else roles, freshSignIn or both"},
	"public and fresh":            {spec: minimal + "application: {paths: [{path: /a, access: Public, freshSignIn: 5m}]}", message: "set access, or else roles, freshSignIn or both"},
	"access for the owner":        {spec: minimal + "application: {paths: [{path: /a, access: TenantDecides}]}", message: "Unsupported value"},
	"a rule for no path":          {spec: minimal + "application: {paths: [{access: Public}]}", message: "path: Required value"},
	"a path with a wildcard":      {spec: minimal + "application: {paths: [{path: '/admin/*', access: Public}]}", message: "must be a path such as /admin"},
	"a path without a slash":      {spec: minimal + "application: {paths: [{path: admin, access: Public}]}", message: "must be a path such as /admin"},
	"a path with an escape":       {spec: minimal + "application: {paths: [{path: '/%61dmin', access: Public}]}", message: "must be a path such as /admin"},
	"a path that goes up":         {spec: minimal + "application: {paths: [{path: '/a/../b', access: Public}]}", message: "must be a path such as /admin"},
	"a path with two slashes":     {spec: minimal + "application: {paths: [{path: '/a//b', access: Public}]}", message: "must be a path such as /admin"},
	"a path with parameters":      {spec: minimal + "application: {paths: [{path: '/a;b', access: Public}]}", message: "must be a path such as /admin"},
	"a path with a query":         {spec: minimal + "application: {paths: [{path: '/a?b', access: Public}]}", message: "must be a path such as /admin"},
	"a path and a line break":     {spec: minimal + "application: {paths: [{path: \"/a\\n\", access: Public}]}", message: "must be a path such as /admin"},
	"a path of the gateway":       {spec: minimal + "application: {paths: [{path: /saml/acs, access: Public}]}", message: "the gateway's own endpoints"},
	"a path beside the gateway's": {spec: minimal + "application: {paths: [{path: /samlp, access: Public}]}"},
	"a match by patterns":         {spec: minimal + "application: {paths: [{path: /a, match: Regex, access: Public}]}", message: "Unsupported value"},
	"roles of nobody":             {spec: minimal + "application: {paths: [{path: /a, roles: []}]}", message: "at least 1"},
	"a role that cannot be":       {spec: minimal + "application: {paths: [{path: /a, roles: ['a,b']}]}", message: "as in authorization.roleMappings"},
	"fresh for a second":          {spec: minimal + "application: {paths: [{path: /a, freshSignIn: 1s}]}", message: "between 1m and 720h"},
	"another access":              {spec: minimal + "access: No", message: "Unsupported value"},
	"a new key each day":          {spec: minimal + "serviceProvider: {keyRotation: {interval: 24h}}", message: "between 720h"},
	"a year's overlap":            {spec: minimal + "serviceProvider: {keyRotation: {overlap: 8760h}}", message: "between 0s and 2160h"},
	"keys that never settle":      {spec: minimal + "serviceProvider: {keyRotation: {interval: 720h, overlap: 720h}}", message: "overlap must be shorter"},
	"Entra ID's URL":              {spec: "customerName: acme\nmetadataURL: https://login.microsoftonline.com/7d0c8a51-94a3-4c55-9e0e-1b8f3c2b6a40/federationmetadata/2007-06/federationmetadata.xml?appid=1b8f3c2b"},
	"no customer name":            {spec: "metadataURL: https://idp.example.com/metadata", message: "spec.customerName: Required value"},
	"no metadata URL":             {spec: "customerName: acme", message: "set exactly one of metadataURL"},
	"a company's full name":       {spec: "customerName: Acme Inc.\nmetadataURL: https://idp.example.com/metadata", message: `write "acme-inc"`},
	"an underscore":               {spec: "customerName: acme_inc\nmetadataURL: https://idp.example.com/metadata", message: "must be a DNS label"},
	"a dot":                       {spec: "customerName: acme.evil\nmetadataURL: https://idp.example.com/metadata", message: "must be a DNS label"},
	"a trailing hyphen":           {spec: "customerName: acme-\nmetadataURL: https://idp.example.com/metadata", message: "must be a DNS label"},
	"a wildcard":                  {spec: "customerName: '*'\nmetadataURL: https://idp.example.com/metadata", message: "must be a DNS label"},
	"a line break":                {spec: "customerName: \"acme\\n\"\nmetadataURL: https://idp.example.com/metadata", message: "must be a DNS label"},
	"punycode":                    {spec: "customerName: xn--mnchen-3ya\nmetadataURL: https://idp.example.com/metadata", message: "punycode"},
	"51 characters":               {spec: "customerName: " + long + "\nmetadataURL: https://idp.example.com/metadata", message: "50"},
	"http":                        {spec: "customerName: acme\nmetadataURL: http://idp.example.com/metadata", message: "must start with https://"},
	"a file URL":                  {spec: "customerName: acme\nmetadataURL: file:///etc/passwd", message: "must start with https://"},
	"not a URL":                   {spec: "customerName: acme\nmetadataURL: idp.example.com", message: "must be an absolute URL"},
	"no host":                     {spec: "customerName: acme\nmetadataURL: 'https:///metadata'", message: "must start with https://"},
	"user information":            {spec: "customerName: acme\nmetadataURL: https://user:pass@idp.example.com/metadata", message: "must not have user information"},
	"a fragment":                  {spec: "customerName: acme\nmetadataURL: https://idp.example.com/metadata#x", message: "must not have a fragment"},
	"a CA that is no PEM":         {spec: minimal + "metadataCA: /etc/ssl/ca.pem", message: "PEM certificates"},
	"refreshed too often":         {spec: minimal + "refreshInterval: 30s", message: "between 5m and 24h"},
	"refreshed too rarely":        {spec: minimal + "refreshInterval: 48h", message: "between 5m and 24h"},
	"an interval in days":         {spec: minimal + "refreshInterval: 1d", message: "spec.refreshInterval"},
	"a huge interval":             {spec: minimal + "refreshInterval: 99999999999999999999h", message: "spec.refreshInterval"},
	"idle longer than at most":    {spec: minimal + "session: {maxDuration: 1h, idleTimeout: 2h}", message: "idleTimeout must not be longer"},
	"a session of a second":       {spec: minimal + "session: {maxDuration: 1s}", message: "between 5m and 720h"},
	"a transient name":            {spec: minimal + "serviceProvider: {nameIDFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:transient'}", message: "Unsupported value"},
	"a long object name":          {name: "a" + strings.Repeat("b", 63), spec: minimal, message: "at most 63 characters"},
	"a role of nobody":            {spec: minimal + "authorization: {testRole: admin, roleMappings: [{group: staff, role: viewer}]}", message: "testRole must be a role that roleMappings give"},
	"a role without roles":        {spec: minimal + "authorization: {testRole: admin}", message: "testRole must be a role that roleMappings give"},
}

// Each case goes to the API server and to the reader of manifests, which has
// to give the same answer without one.
func TestValidation(t *testing.T) {
	reader, err := manifest.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	for title, test := range cases {
		t.Run(title, func(t *testing.T) {
			name := test.name
			if name == "" {
				name = "acme"
			}
			document := "apiVersion: sso.cequence.cloud/v1alpha1\nkind: SAMLTenant\nmetadata:\n  name: " + name + "\n  namespace: default\nspec:\n  " +
				strings.ReplaceAll(test.spec, "\n", "\n  ")
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(document), object); err != nil {
				t.Fatal(err)
			}
			_, offline := reader.Read(t.Context(), "tenants.yaml", strings.NewReader(document))
			online := api.Create(t.Context(), object, client.DryRunAll)
			for where, err := range map[string]error{"API server": online, "reader": offline} {
				switch {
				case test.message == "" && err != nil:
					t.Errorf("%s refuses it: %v", where, err)
				case test.message != "" && (err == nil || !strings.Contains(err.Error(), test.message)):
					t.Errorf("%s says %v, want a refusal with %q", where, err, test.message)
				}
			}
		})
	}
}

func TestCustomerNameIsImmutable(t *testing.T) {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "sso.cequence.cloud/v1alpha1", "kind": "SAMLTenant",
		"metadata": map[string]any{"name": "immutable", "namespace": "default"},
		"spec":     map[string]any{"customerName": "acme", "metadataURL": "https://idp.example.com/metadata"},
	}}
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(object.Object, "globex", "spec", "customerName"); err != nil {
		t.Fatal(err)
	}
	if err := api.Update(t.Context(), object); err == nil || !strings.Contains(err.Error(), "create a new SAMLTenant for another name") {
		t.Errorf("got %v, want a refusal that says what to do", err)
	}
}

// The tenants of the guide are valid.
func TestGuide(t *testing.T) {
	reader, err := manifest.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/guides/paths-and-upstreams.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "\n```yaml\napiVersion:")[1:]
	if len(blocks) != 2 {
		t.Fatalf("%d tenants", len(blocks))
	}
	for _, block := range blocks {
		document, _, _ := strings.Cut(block, "\n```")
		tenants, err := reader.Read(t.Context(), "guide", strings.NewReader("apiVersion:"+document))
		if err != nil || len(tenants) != 1 || tenants[0].Spec.Application == nil {
			t.Errorf("%v, %v", tenants, err)
		}
	}
}

func TestReaderRefusesUnknownFieldsAndVersions(t *testing.T) {
	reader, err := manifest.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	head := "kind: SAMLTenant\nmetadata: {name: acme}\nspec: {customerName: acme, metadataURL: 'https://idp.example.com/metadata'"
	for name, test := range map[string]struct{ document, message string }{
		"unknown field":      {"apiVersion: sso.cequence.cloud/v1alpha1\n" + head + ", metadataUrl: x}", "metadataUrl"},
		"unknown version":    {"apiVersion: sso.cequence.cloud/v9\n" + head + "}", "write kind: SAMLTenant and apiVersion: sso.cequence.cloud/v1alpha1"},
		"the same key twice": {"apiVersion: sso.cequence.cloud/v1alpha1\n" + head + ", customerName: b}", "customerName"},
		"not YAML":           {"a: [", "not a YAML or JSON object"},
	} {
		if _, err := reader.Read(t.Context(), "f.yaml", strings.NewReader(test.document)); err == nil || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.message)
		}
	}
	tenants, err := reader.Read(t.Context(), "f.yaml", strings.NewReader("kind: ConfigMap\napiVersion: v1\n---\n---\napiVersion: sso.cequence.cloud/v1alpha1\n"+head+"}\n"))
	if err != nil || len(tenants) != 1 || tenants[0].Name != "acme" {
		t.Errorf("got %v, %v, want the one tenant among other objects", tenants, err)
	}
}
