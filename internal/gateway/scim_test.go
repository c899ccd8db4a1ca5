package gateway_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

const scimToken = "a-token-of-the-directory-of-acme-0123456789"

// directory is a customer's, as a client of SCIM.
type directory struct {
	*person
	base, token string
}

// provisioned gives a tenant SCIM with these tokens.
func (w *world) provisioned(tenant string, identifiedBy string, tokens ...string) {
	w.t.Helper()
	c := w.config(tenant)
	c.Provisioning.SCIM = &tenantconfig.SCIM{IdentifiedBy: identifiedBy}
	for _, token := range tokens {
		sum := sha256.Sum256([]byte(token))
		c.Provisioning.SCIM.TokenSHA256 = append(c.Provisioning.SCIM.TokenSHA256, hex.EncodeToString(sum[:]))
	}
	w.write(c)
	w.eventually("the tenant has SCIM", func() bool {
		d := w.directory(tenant, tokens[len(tokens)-1])
		return d.send(http.MethodGet, "/ServiceProviderConfig", "").StatusCode == http.StatusOK
	})
}

func (w *world) directory(tenant, token string) *directory {
	return &directory{w.person(), site(tenant) + "/saml/scim/v2", token}
}

func (d *directory) send(method, path, body string) answer {
	d.t.Helper()
	r := d.request(method, d.base+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/scim+json")
	if d.token != "" {
		r.Header.Set("Authorization", "Bearer "+d.token)
	}
	return d.do(r)
}

// want sends a request and returns the resource that comes with that status.
func (d *directory) want(status int, method, path, body string) (resource map[string]any) {
	d.t.Helper()
	a := d.send(method, path, body)
	if a.StatusCode != status {
		d.t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.StatusCode, status, a.body)
	}
	if a.body != "" {
		if err := json.Unmarshal([]byte(a.body), &resource); err != nil {
			d.t.Fatalf("%s: %v", a.body, err)
		}
	}
	return resource
}

func (d *directory) patch(status int, path string, operations ...string) map[string]any {
	d.t.Helper()
	return d.want(status, http.MethodPatch, path,
		`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[`+strings.Join(operations, ",")+`]}`)
}

// newUser is what Entra ID sends of somebody new.
func newUser(userName, externalID string) string {
	return fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
		"externalId":%q,"userName":%q,"active":true,"displayName":"Alice Adams","password":"secret",
		"emails":[{"primary":true,"type":"work","value":"alice@mail.example"}],"meta":{"resourceType":"User"},
		"name":{"formatted":"Alice Adams","familyName":"Adams","givenName":"Alice"},"roles":[],
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Sales"}}`, externalID, userName)
}

func filtered(path, filter string) string {
	return path + "?" + url.Values{"filter": {filter}}.Encode()
}

// alicesID is how acme's IdP knows alice.
const alicesID = "alice@acme.example"

// A person is provisioned, signs in, leaves, comes back and is deleted, in the
// requests that Entra ID makes.
func TestSCIM_LifeOfAUser(t *testing.T) {
	w := newWorld(t, administered)
	w.provisioned(acme, "", scimToken)
	d := w.directory(acme, scimToken)

	if found := d.want(http.StatusOK, http.MethodGet, filtered("/Users", `userName eq "alice@acme.example"`), ""); found["totalResults"] != 0.0 || found["Resources"] == nil {
		t.Fatalf("before: %v", found)
	}
	created := d.want(http.StatusCreated, http.MethodPost, "/Users", newUser("alice@acme.example", alicesID))
	id := created["id"].(string)
	if _, has := created["password"]; has || created["active"] != true || created["externalId"] != alicesID {
		t.Errorf("created %v", created)
	}
	if meta := created["meta"].(map[string]any); meta["location"] != d.base+"/Users/"+id {
		t.Errorf("meta %v", meta)
	}
	for _, filter := range []string{`userName eq "ALICE@acme.example"`, `externalId eq "` + alicesID + `"`, `id eq "` + id + `" and userName eq "alice@acme.example"`} {
		if found := d.want(http.StatusOK, http.MethodGet, filtered("/Users", filter), ""); found["totalResults"] != 1.0 {
			t.Errorf("by %s: %v", filter, found)
		}
	}
	d.want(http.StatusConflict, http.MethodPost, "/Users", newUser("Alice@acme.example", "other"))
	d.want(http.StatusConflict, http.MethodPost, "/Users", newUser("other", alicesID))

	p := w.person()
	if a := p.signIn(acme); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-in: status %d", a.StatusCode)
	}
	users, err := w.administration().Users(t.Context(), acme, administration.UserFilter{})
	if err != nil || len(users) != 1 || users[0].ID != id || users[0].SignIns != 1 {
		t.Fatalf("users %+v, %v", users, err)
	}

	changed := d.patch(http.StatusOK, "/Users/"+id,
		`{"op":"Replace","path":"emails[type eq \"work\"].value","value":"alice@new.example"}`,
		`{"op":"Add","path":"emails[type eq \"home\"].value","value":"alice@home.example"}`,
		`{"op":"Replace","path":"name.familyName","value":"Baker"}`,
		`{"op":"Add","value":{"title":"Doctor","name.givenName":"Alicia"}}`,
		`{"op":"Add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager","value":"some-id"}`,
		`{"op":"Remove","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"}`)
	got, err := json.Marshal([]any{changed["emails"], changed["name"], changed["title"], changed["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"alice@new.example"`, `"type":"work"`, `"alice@home.example"`, `"type":"home"`, `"familyName":"Baker"`, `"givenName":"Alicia"`, `"formatted":"Alice Adams"`, `"Doctor"`, `"value":"some-id"`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	if strings.Contains(string(got), "Sales") {
		t.Errorf("the department is still there: %s", got)
	}
	if _, ok := p.whoami(acme); !ok {
		t.Error("the session has ended by a change of the profile")
	}

	// Entra ID's way to say it.
	if left := d.patch(http.StatusOK, "/Users/"+id, `{"op":"Replace","path":"active","value":"False"}`); left["active"] != false {
		t.Errorf("left: %v", left)
	}
	if _, ok := p.whoami(acme); ok {
		t.Error("the session goes on")
	}
	requestID, relayState := p.login(acme, "/")
	if a := p.post(acme, w.issue(acme, acme, requestID), relayState); a.StatusCode != http.StatusForbidden || w.log.lastCode(t) != "user_inactive" {
		t.Errorf("sign-in: status %d, code %s", a.StatusCode, w.log.lastCode(t))
	}
	d.patch(http.StatusOK, "/Users/"+id, `{"op":"Replace","value":{"active":true}}`)
	p.signIn(acme)
	if _, ok := p.whoami(acme); !ok {
		t.Error("who is back cannot sign in")
	}

	// PUT says everything anew.
	put := d.want(http.StatusOK, http.MethodPut, "/Users/"+id, fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"alice@acme.example","externalId":%q}`, alicesID))
	if put["title"] != nil || put["active"] != true {
		t.Errorf("put: %v", put)
	}
	d.want(http.StatusNoContent, http.MethodDelete, "/Users/"+id, "")
	if _, ok := p.whoami(acme); ok {
		t.Error("the session of the deleted user goes on")
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		d.want(http.StatusNotFound, method, "/Users/"+id, "")
	}
}

func TestSCIM_UsersMayBeKnownByTheirName(t *testing.T) {
	w := newWorld(t, administered)
	w.provisioned(acme, tenantconfig.IdentifiedByUserName, scimToken)
	d := w.directory(acme, scimToken)
	p := w.person()
	p.signIn(acme)
	created := d.want(http.StatusCreated, http.MethodPost, "/Users", newUser(alicesID, "what Okta calls her"))
	users, err := w.administration().Users(t.Context(), acme, administration.UserFilter{})
	if err != nil || len(users) != 1 || users[0].ID != created["id"] {
		t.Fatalf("who has signed in is another user: %+v, %v", users, err)
	}
	d.patch(http.StatusOK, "/Users/"+users[0].ID, `{"op":"replace","path":"userName","value":"another"}`)
	if _, ok := p.whoami(acme); ok {
		t.Error("a session goes on under another name")
	}
}

func TestSCIM_Groups(t *testing.T) {
	w := newWorld(t)
	w.provisioned(acme, "", scimToken)
	d := w.directory(acme, scimToken)
	var ids []string
	for _, name := range []string{"alice", "bob", "carol"} {
		ids = append(ids, d.want(http.StatusCreated, http.MethodPost, "/Users", newUser(name, "id-of-"+name))["id"].(string))
	}
	group := d.want(http.StatusCreated, http.MethodPost, "/Groups",
		`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"externalId":"g1","displayName":"Staff","members":[]}`)
	path := "/Groups/" + group["id"].(string)
	members := func() (got []string) {
		t.Helper()
		list, _ := d.want(http.StatusOK, http.MethodGet, path, "")["members"].([]any)
		for _, m := range list {
			got = append(got, m.(map[string]any)["display"].(string))
		}
		return got
	}
	add := func(op string, ids ...string) string {
		for i, id := range ids {
			ids[i] = `{"$ref":null,"value":"` + id + `"}`
		}
		return `{"op":"` + op + `","path":"members","value":[` + strings.Join(ids, ",") + `]}`
	}
	for _, step := range []struct {
		operations []string
		want       string
	}{
		{[]string{add("Add", ids[0], ids[1])}, "alice bob"},
		{[]string{add("Add", ids[1], ids[2]), add("Remove", ids[0])}, "bob carol"},
		{[]string{`{"op":"remove","path":"members[value eq \"` + ids[1] + `\"]"}`, `{"op":"Replace","path":"displayName","value":"All staff"}`}, "carol"},
		{[]string{add("replace", ids[0])}, "alice"},
		{[]string{`{"op":"add","value":{"members":[{"value":"` + ids[2] + `"}],"externalId":"g2"}}`}, "alice carol"},
		{[]string{`{"op":"remove","path":"members"}`}, ""},
	} {
		d.patch(http.StatusOK, path, step.operations...)
		got := members()
		for _, name := range strings.Fields(step.want) {
			if !strings.Contains(strings.Join(got, " "), name) {
				t.Errorf("after %v: members %v, want %s", step.operations, got, step.want)
			}
		}
		if len(got) != len(strings.Fields(step.want)) {
			t.Errorf("after %v: members %v, want %s", step.operations, got, step.want)
		}
	}
	d.patch(http.StatusOK, path, add("add", ids[0]))
	for _, filter := range []string{`displayName eq "All staff"`, `externalId eq "g2"`, `id eq "` + group["id"].(string) + `" and members eq "` + ids[0] + `"`} {
		found := d.want(http.StatusOK, http.MethodGet, filtered("/Groups", filter)+"&excludedAttributes=members", "")
		if found["totalResults"] != 1.0 || found["Resources"].([]any)[0].(map[string]any)["members"] != nil {
			t.Errorf("by %s: %v", filter, found)
		}
	}
	d.patch(http.StatusBadRequest, path, add("add", "nobody"))
	d.want(http.StatusBadRequest, http.MethodPost, "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"","members":[]}`)
	d.want(http.StatusNoContent, http.MethodDelete, path, "")
	d.want(http.StatusNotFound, http.MethodGet, path, "")
}

// Row T1 and T11: who has no token of a tenant has nothing there.
func TestT11_SCIMIsForTheTenantsTokensOnly(t *testing.T) {
	lines := &logBuffer{}
	w := newWorld(t, audited(lines), administered)
	if a := w.directory(acme, scimToken).send(http.MethodGet, "/Users", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("a tenant without SCIM: status %d", a.StatusCode)
	}
	w.provisioned(acme, "", scimToken, scimToken+"-next")
	w.provisioned(globex, "", scimToken+"-of-globex")
	mine := w.directory(acme, scimToken)
	id := mine.want(http.StatusCreated, http.MethodPost, "/Users", newUser("alice", "alice"))["id"].(string)
	if a := w.directory(acme, scimToken+"-next").send(http.MethodGet, "/Users/"+id, ""); a.StatusCode != http.StatusOK {
		t.Errorf("the next token: status %d", a.StatusCode)
	}
	for _, token := range []string{"", scimToken + "-of-globex", strings.ToUpper(scimToken), "Bearer " + scimToken} {
		d := w.directory(acme, token)
		for _, path := range []string{"/Users", "/Users/" + id, "/Groups", "/ServiceProviderConfig", "/nothing"} {
			if a := d.send(http.MethodGet, path, ""); a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("token %q, %s: status %d", token, path, a.StatusCode)
			}
		}
	}
	theirs := w.directory(globex, scimToken+"-of-globex")
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		theirs.want(http.StatusNotFound, method, "/Users/"+id, "")
	}
	theirs.patch(http.StatusNotFound, "/Users/"+id, `{"op":"replace","path":"active","value":false}`)
	theirs.want(http.StatusBadRequest, http.MethodPost, "/Groups",
		`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Staff","members":[{"value":"`+id+`"}]}`)

	// A token that is taken away opens nothing any more.
	w.provisioned(acme, "", scimToken+"-next")
	w.eventually("the token of before is refused", func() bool {
		return mine.send(http.MethodGet, "/Users", "").StatusCode == http.StatusUnauthorized
	})
	if text := lines.all(); !strings.Contains(text, `"action":"user_created","tenant":"acme","actor":"directory"`) || !strings.Contains(text, "scim_token_invalid") || strings.Contains(text, scimToken) {
		t.Errorf("the audit log is %s", text)
	}
}

func TestSCIM_RefusesWhatItCannotDo(t *testing.T) {
	w := newWorld(t)
	w.provisioned(acme, "", scimToken)
	d := w.directory(acme, scimToken)
	id := d.want(http.StatusCreated, http.MethodPost, "/Users", newUser("alice", "alice"))["id"].(string)
	for _, test := range []struct{ method, path, body string }{
		{http.MethodPost, "/Users", `{`},
		{http.MethodPost, "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"externalId":"x"}`},
		{http.MethodPost, "/Users", newUser("bob", "")},
		{http.MethodPost, "/Users", newUser("bob", " bob")},
		{http.MethodPost, "/Users", newUser("bob", "bob\nNameID")},
		{http.MethodPost, "/Users", newUser("bob", strings.Repeat("b", 300))},
		{http.MethodPost, "/Users", newUser(strings.Repeat("b", 40<<10), "bob")},
		{http.MethodPost, "/Users", newUser(strings.Repeat("b", 2<<20), "bob")},
		{http.MethodPatch, "/Users/" + id, strings.Repeat(" ", 2<<20)},
		{http.MethodPatch, "/Users/" + id, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"nothing","value":"x"}]}`},
		{http.MethodPatch, "/Users/" + id, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"remove","path":"externalId"}]}`},
		{http.MethodPatch, "/Users/" + id, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"active","value":"perhaps"}]}`},
		{http.MethodGet, filtered("/Users", `userName co "a"`), ""},
		{http.MethodGet, filtered("/Users", `userName eq "a" or userName eq "b"`), ""},
		{http.MethodGet, filtered("/Users", `not (userName eq "a")`), ""},
		{http.MethodGet, filtered("/Users", `displayName eq "a"`), ""},
		{http.MethodGet, filtered("/Users", `userName eq`), ""},
		{http.MethodGet, filtered("/Users", strings.Repeat("(", 2000)), ""},
	} {
		a := d.send(test.method, test.path, test.body)
		if a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "urn:ietf:params:scim:api:messages:2.0:Error") {
			t.Errorf("%s %.60s %.200s: status %d: %s", test.method, test.path, test.body, a.StatusCode, a.body)
		}
	}
	page := d.want(http.StatusOK, http.MethodGet, "/Users?startIndex=1&count=0", "")
	if page["totalResults"] != 1.0 || len(page["Resources"].([]any)) != 0 {
		t.Errorf("none of them: %v", page)
	}
	if one := d.want(http.StatusOK, http.MethodGet, "/Users/"+id+"?attributes=userName", ""); one["userName"] != "alice" || one["emails"] != nil || one["id"] != id {
		t.Errorf("the name alone: %v", one)
	}
	for _, path := range []string{"/Schemas", "/ResourceTypes", "/ServiceProviderConfig"} {
		d.want(http.StatusOK, http.MethodGet, path, "")
	}
}
