package admin_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/internal/gateway/admin"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/store"
	"cequence.cloud/saml-operator/test/apiserver"
)

var api kubernetes.Interface

func TestMain(m *testing.M) {
	os.Exit(apiserver.Run(m, func(cluster *rest.Config) (err error) {
		api, err = kubernetes.NewForConfig(cluster)
		return err
	}))
}

const namespace = "default"

// lockedBuffer keeps a log that is written by requests.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// office is an API with a store, of which acme has the users alice and bob, and
// globex carol, each with one session.
type office struct {
	t           *testing.T
	url         string
	store       store.Store
	revocations *session.Revocations
	log         *lockedBuffer
	users       map[string]string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "gateway.db"), time.Now)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	o := &office{t: t, store: db, revocations: session.NewRevocations(nil), log: &lockedBuffer{}, users: map[string]string{}}
	server := httptest.NewServer(admin.New(admin.Options{
		Store: db, Revocations: o.revocations, Authorize: admin.Kubernetes{Client: api, Namespace: namespace}.Authorize,
		Now: time.Now, Log: slog.New(slog.NewJSONHandler(o.log, nil)),
		TestLink: func(tenant string) (string, time.Time, bool) {
			return "https://" + tenant + ".s.example/saml/test?key=x", time.Now().Add(time.Hour), tenant == "acme"
		},
	}))
	t.Cleanup(server.Close)
	o.url = server.URL
	for _, name := range []string{"acme/alice", "acme/bob", "globex/carol"} {
		tenant, user, _ := strings.Cut(name, "/")
		o.users[user] = o.signIn(tenant, user).User.ID
	}
	return o
}

func (o *office) signIn(tenant, user string) store.SignInResult {
	o.t.Helper()
	result, err := o.try(tenant, user)
	require.NoError(o.t, err)
	return result
}

func (o *office) try(tenant, user string) (store.SignInResult, error) {
	id, end := store.NewUserID(), time.Now().Add(time.Hour)
	return o.store.RecordSignIn(context.Background(), store.SignIn{
		Tenant: tenant, IDPEntityID: "https://idp.example", AssertionID: id, AssertionExpires: end, RequestID: id, RequestExpires: end,
		NewUserID: id, Profile: store.Profile{StableID: user, UserIDSource: "NameID", Email: user + "@" + tenant + ".example", Groups: []string{"staff"}},
		SessionID: "session-of-" + user, SessionExpires: end,
	})
}

// client is one of somebody who may do what the rules say.
func (o *office) client(rules ...rbacv1.PolicyRule) *administration.Client {
	return &administration.Client{BaseURL: o.url, Token: o.token(administration.Audience, rules...)}
}

var accounts int

func (o *office) token(audience string, rules ...rbacv1.PolicyRule) string {
	o.t.Helper()
	accounts++
	name, ctx := fmt.Sprint("person-", accounts), o.t.Context()
	_, err := api.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	require.NoError(o.t, err)
	_, err = api.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{})
	require.NoError(o.t, err)
	_, err = api.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	}, metav1.CreateOptions{})
	require.NoError(o.t, err)
	request := authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](600)}
	if audience != "" {
		request.Audiences = []string{audience}
	}
	token, err := api.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{Spec: request}, metav1.CreateOptions{})
	require.NoError(o.t, err)
	return token.Status.Token
}

func may(resource string, tenants []string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{"sso.cequence.cloud"}, Resources: []string{"samltenants/" + resource}, Verbs: verbs, ResourceNames: tenants}
}

// soon repeats what RBAC allows a moment after its objects were made.
func (o *office) soon(do func() error) {
	o.t.Helper()
	require.EventuallyWithT(o.t, func(t *assert.CollectT) { assert.NoError(t, do()) }, 10*time.Second, 20*time.Millisecond)
}

func TestUsersAreDisabledAndEnabled(t *testing.T) {
	o := newOffice(t)
	c := o.client(may("users", nil, "list", "get", "update"))
	var users []administration.User
	o.soon(func() (err error) {
		users, err = c.Users(t.Context(), "acme", administration.UserFilter{Email: "alice@acme.example"})
		return err
	})
	require.Len(t, users, 1)
	alice := users[0]
	assert.Equal(t, "alice", alice.StableID)
	assert.Equal(t, []string{"staff"}, alice.Groups)
	assert.Nil(t, alice.DisabledAt)

	changed, err := c.SetUserDisabled(t.Context(), "acme", alice.ID, true)
	require.NoError(t, err)
	assert.NotNil(t, changed.DisabledAt)
	assert.True(t, o.revocations.Contains("session-of-alice"), "at once at this replica")
	assert.False(t, o.revocations.Contains("session-of-bob"))
	_, err = o.try("acme", "alice")
	require.ErrorIs(t, err, store.ErrUserDisabled)
	assert.Contains(t, o.log.String(), `"action":"disable_user","actor":"system:serviceaccount:default:person-`)

	changed, err = c.SetUserDisabled(t.Context(), "acme", alice.ID, false)
	require.NoError(t, err)
	assert.Nil(t, changed.DisabledAt)

	_, err = c.SetUserDisabled(t.Context(), "acme", o.users["carol"], true)
	require.ErrorContains(t, err, "no such user")
	_, err = o.try("globex", "carol2")
	require.NoError(t, err)
}

func TestSessionsAreEnded(t *testing.T) {
	o := newOffice(t)
	c := o.client(may("sessions", nil, "list", "delete", "deletecollection"))
	var sessions []administration.Session
	o.soon(func() (err error) {
		sessions, err = c.Sessions(t.Context(), "acme", "")
		return err
	})
	require.Len(t, sessions, 2)
	assert.Equal(t, o.users["alice"], sessions[0].UserID)
	ended, err := c.EndSession(t.Context(), "acme", "session-of-carol")
	require.NoError(t, err)
	assert.Zero(t, ended.Sessions, "of another tenant")
	ended, err = c.EndSession(t.Context(), "acme", "session-of-alice")
	require.NoError(t, err)
	assert.Equal(t, 1, ended.Sessions)
	assert.True(t, o.revocations.Contains("session-of-alice"))
	ended, err = c.EndSessions(t.Context(), "acme", o.users["bob"])
	require.NoError(t, err)
	assert.Equal(t, 1, ended.Sessions)
	ended, err = c.EndSessions(t.Context(), "globex", "")
	require.NoError(t, err)
	assert.Equal(t, 1, ended.Sessions)
	sessions, err = c.Sessions(t.Context(), "acme", "")
	require.NoError(t, err)
	assert.Empty(t, sessions)
}

func TestRBACDecides(t *testing.T) {
	o := newOffice(t)
	all := []rbacv1.PolicyRule{may("users", []string{"acme"}, "list", "get", "update"), may("sessions", []string{"acme"}, "list", "delete", "deletecollection")}
	ofAcme := o.client(all...)
	o.soon(func() error { _, err := ofAcme.Users(t.Context(), "acme", administration.UserFilter{}); return err })
	viewer := o.client(may("users", nil, "list"))
	o.soon(func() error {
		_, err := viewer.Users(t.Context(), "acme", administration.UserFilter{})
		return err
	})
	operator := &administration.Client{BaseURL: o.url, Token: o.token("saml-operator", all...)}
	cluster := &administration.Client{BaseURL: o.url, Token: o.token("", all...)}

	for name, test := range map[string]struct {
		do   func() error
		want string
	}{
		"another tenant": {func() error { _, err := ofAcme.Users(t.Context(), "globex", administration.UserFilter{}); return err }, "may not list samltenants/users"},
		"another tenant's user": {func() error {
			_, err := ofAcme.SetUserDisabled(t.Context(), "globex", o.users["carol"], true)
			return err
		}, "may not update"},
		"a viewer disables": {func() error {
			_, err := viewer.SetUserDisabled(t.Context(), "acme", o.users["alice"], true)
			return err
		}, "may not update"},
		"a viewer sees sessions":    {func() error { _, err := viewer.Sessions(t.Context(), "acme", ""); return err }, "may not list samltenants/sessions"},
		"a viewer ends sessions":    {func() error { _, err := viewer.EndSessions(t.Context(), "acme", ""); return err }, "may not deletecollection"},
		"a viewer ends one session": {func() error { _, err := viewer.EndSession(t.Context(), "acme", "session-of-alice"); return err }, "may not delete "},
		"for the operator":          {func() error { _, err := operator.Users(t.Context(), "acme", administration.UserFilter{}); return err }, "audience"},
		"for the API server":        {func() error { _, err := cluster.Users(t.Context(), "acme", administration.UserFilter{}); return err }, "audience"},
		"garbage": {func() error {
			_, err := (&administration.Client{BaseURL: o.url, Token: "garbage"}).Users(t.Context(), "acme", administration.UserFilter{})
			return err
		}, "audience"},
		"none": {func() error {
			_, err := (&administration.Client{BaseURL: o.url}).Users(t.Context(), "acme", administration.UserFilter{})
			return err
		}, "audience"},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, test.do(), test.want) })
	}
	sessions, err := o.store.ListSessions(t.Context(), store.SessionQuery{Tenant: "acme"})
	require.NoError(t, err)
	assert.Len(t, sessions, 2)
	assert.NotContains(t, o.log.String(), ofAcme.Token)
	assert.Contains(t, o.log.String(), `"outcome":"refused","code":"forbidden"`)
}

// What is misspelt must not do more than was meant.
func TestBadRequestsChangeNothing(t *testing.T) {
	o := newOffice(t)
	c := o.client(may("users", nil, "*"), may("sessions", nil, "*"))
	o.soon(func() error { _, err := c.Sessions(t.Context(), "acme", ""); return err })
	user := administration.Prefix + "acme/users/" + o.users["alice"]
	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{"DELETE", administration.Prefix + "acme/sessions?usr=x", "", 400},
		{"DELETE", administration.Prefix + "acme/sessions?user=", "", 400},
		{"DELETE", administration.Prefix + "acme/sessions?user=a&user=b", "", 400},
		{"DELETE", administration.Prefix + "acme/sessions/session-of-alice?user=x", "", 400},
		{"GET", administration.Prefix + "acme/users?limit=0", "", 400},
		{"GET", administration.Prefix + "acme/users?limit=501", "", 400},
		{"GET", administration.Prefix + "acme/users?limit=x", "", 400},
		{"PATCH", user, `{}`, 400},
		{"PATCH", user, `{"disabled": "yes"}`, 400},
		{"PATCH", user, `{"disabled": true, "active": false}`, 400},
		{"PATCH", user, `{"disabled": true}{}`, 400},
		{"PATCH", user, `{"disabled": true` + strings.Repeat(" ", 5000) + `}`, 400},
		{"PATCH", user + "x", `{"disabled": true}`, 404},
		{"DELETE", user, "", 405},
		{"POST", administration.Prefix + "acme/users", "{}", 405},
		{"GET", administration.Prefix + "acme", "", 404},
		{"GET", administration.Prefix + "acme/secrets", "", 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, o.url+test.path, strings.NewReader(test.body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+c.Token)
		r.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, test.want, response.StatusCode, "%s %s: %s", test.method, test.path, body)
	}
	sessions, err := o.store.ListSessions(t.Context(), store.SessionQuery{Tenant: "acme"})
	require.NoError(t, err)
	assert.Len(t, sessions, 2)
}

// A link to the test is made for whom RBAC allows that, at tenants that are
// served, and the audit log has who it was.
func TestLinkToTheTest(t *testing.T) {
	o := newOffice(t)
	rule := rbacv1.PolicyRule{APIGroups: []string{"sso.cequence.cloud"}, Resources: []string{"samltenants/test"}, Verbs: []string{"create"}}
	client := o.client(rule)
	var link administration.TestLink
	require.EventuallyWithT(t, func(t *assert.CollectT) { // RBAC takes a moment
		var err error
		link, err = client.TestLink(context.Background(), "acme")
		assert.NoError(t, err)
	}, 10*time.Second, 20*time.Millisecond)
	assert.Equal(t, "https://acme.s.example/saml/test?key=x", link.URL)
	assert.WithinDuration(t, time.Now().Add(time.Hour), link.ExpiresAt, time.Minute)
	assert.Contains(t, o.log.String(), `"action":"create_test_link"`)
	_, err := client.TestLink(t.Context(), "globex")
	assert.ErrorContains(t, err, "serves no tenant of this name")

	rule.Resources = []string{"samltenants/users", "samltenants/audit"}
	_, err = o.client(rule).TestLink(t.Context(), "acme")
	assert.ErrorContains(t, err, "may not create samltenants/test")
}
