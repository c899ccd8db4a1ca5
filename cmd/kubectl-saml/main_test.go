package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/internal/gateway/admin"
	"cequence.cloud/saml-operator/internal/gateway/audit"
	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/store"
	"cequence.cloud/saml-operator/test/apiserver"
)

var cluster *rest.Config

func TestMain(m *testing.M) {
	os.Exit(apiserver.Run(m, func(config *rest.Config) error {
		cluster = config
		return nil
	}))
}

const namespace = "default"

// desk is where an administrator sits.
type desk struct {
	t          *testing.T
	kubeconfig string
	gateway    string
	tenants    client.Client
	store      store.Store
	audit      *audit.Log
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	require.NoError(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"test": {Server: cluster.Host, CertificateAuthorityData: cluster.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"admin": {ClientCertificateData: cluster.CertData, ClientKeyData: cluster.KeyData}},
		Contexts:       map[string]*clientcmdapi.Context{"test": {Cluster: "test", AuthInfo: "admin", Namespace: namespace}},
		CurrentContext: "test",
	}, d.kubeconfig))
	var err error
	d.tenants, err = client.New(cluster, client.Options{Scheme: apiserver.Scheme()})
	require.NoError(t, err)
	api, err := kubernetes.NewForConfig(cluster)
	require.NoError(t, err)
	for name, rules := range map[string][]rbacv1.PolicyRule{
		viewer: {
			{APIGroups: []string{"sso.cequence.cloud"}, Resources: []string{"samltenants/users", "samltenants/sessions", "samltenants/audit"}, Verbs: []string{"list"}},
			{APIGroups: []string{"sso.cequence.cloud"}, Resources: []string{"samltenants/test"}, Verbs: []string{"create"}},
		},
		administrator: {
			{APIGroups: []string{"sso.cequence.cloud"}, Resources: []string{"samltenants/users"}, Verbs: []string{"list", "update"}},
			{APIGroups: []string{"sso.cequence.cloud"}, Resources: []string{"samltenants/sessions"}, Verbs: []string{"list", "delete", "deletecollection"}},
		},
	} {
		for _, object := range []client.Object{
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}},
			&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Rules: rules},
			&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
				RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
				Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}}},
		} {
			if err := d.tenants.Create(t.Context(), object); !apierrors.IsAlreadyExists(err) {
				require.NoError(t, err)
			}
		}
	}
	d.store, err = store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "gateway.db"), time.Now)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.store.Close() })
	d.audit = audit.New(audit.Options{Out: io.Discard, Store: d.store, Retention: time.Hour, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	server := httptest.NewServer(admin.New(admin.Options{
		Store: d.store, Audit: d.audit, Revocations: session.NewRevocations(nil), Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Authorize: admin.Kubernetes{Client: api, Namespace: namespace}.Authorize,
		TestLink: func(tenant string) (string, time.Time, bool) {
			return "https://" + tenant + ".s.example/saml/test?key=x", time.Now().Add(time.Hour), tenant != "unserved"
		},
	}))
	t.Cleanup(server.Close)
	d.gateway = server.URL
	return d
}

func (d *desk) signIn(user string) {
	d.t.Helper()
	end := time.Now().Add(time.Hour)
	_, err := d.store.RecordSignIn(d.t.Context(), store.SignIn{
		Tenant: "acme", IDPEntityID: "https://idp.example", AssertionID: user, AssertionExpires: end, RequestID: user, RequestExpires: end,
		NewUserID: "ID-" + strings.ToUpper(user), Profile: store.Profile{StableID: user, Email: user + "@acme.example"},
		SessionID: "session-of-" + user, SessionExpires: end,
	})
	require.NoError(d.t, err)
}

// run returns what the command prints.
func (d *desk) run(args ...string) (string, error) {
	var out strings.Builder
	command := newCommand(&out)
	command.SetErr(&out)
	command.SetArgs(append(args, "--kubeconfig", d.kubeconfig))
	err := command.ExecuteContext(d.t.Context())
	return out.String(), err
}

func (d *desk) saml(args ...string) string {
	d.t.Helper()
	out, err := d.run(append(args, "--gateway-url", d.gateway)...)
	require.NoError(d.t, err, out)
	return out
}

func TestUsersAndSessions(t *testing.T) {
	d := newDesk(t)
	d.signIn("alice")
	d.signIn("bob\x1b[2J")
	require.EventuallyWithT(t, func(t *assert.CollectT) { // RBAC takes a moment
		_, err := d.run("users", "acme", "--gateway-url", d.gateway)
		assert.NoError(t, err)
	}, 10*time.Second, 20*time.Millisecond)

	out := d.saml("users", "acme")
	assert.Contains(t, out, "ID-ALICE")
	assert.NotContains(t, out, "\x1b", "what a user is called does not control the terminal")
	var users []administration.User
	require.NoError(t, json.Unmarshal([]byte(d.saml("users", "acme", "--email", "alice@acme.example", "-o", "json")), &users))
	require.Len(t, users, 1)
	assert.Equal(t, "ID-ALICE", users[0].ID)
	assert.Contains(t, d.saml("users", "acme", "-o", "yaml"), "stableID: alice")

	assert.Contains(t, d.saml("sessions", "acme", "--user", "alice@acme.example"), "session-of-alice")
	assert.Contains(t, d.saml("disable-user", "acme", "alice@acme.example"), "is disabled")
	assert.Contains(t, d.saml("users", "acme", "--stable-id", "alice"), "disabled")
	assert.NotContains(t, d.saml("sessions", "acme"), "session-of-alice")
	assert.Contains(t, d.saml("enable-user", "acme", "ID-ALICE"), "is enabled")
	assert.Contains(t, d.saml("end-sessions", "acme", "--all"), "1 sessions of acme have ended")

	d.audit.Flush()
	out = d.saml("audit", "acme", "--event", "administration", "--user", "ID-ALICE")
	assert.Regexp(t, `(?s)administration +success +enable_user +ID-ALICE.*disable_user +ID-ALICE +system:serviceaccount:default:saml-administrator`, out)
	assert.NotContains(t, out, "end_sessions", "those were of all")
	assert.Len(t, strings.Split(strings.TrimSpace(d.saml("audit", "acme", "--limit", "1")), "\n"), 2)

	for want, args := range map[string][]string{
		"at least one of the flags":         {"end-sessions", "acme"},
		"has no user with":                  {"disable-user", "acme", "carol@acme.example"},
		"no such user":                      {"disable-user", "acme", "ID-CAROL"},
		"may not update samltenants/users":  {"disable-user", "acme", "ID-ALICE", "--as-account", viewer},
		"service account nobody":            {"users", "acme", "--as-account", "nobody"},
		"--output is \"xml\"; write table,": {"users", "acme", "-o", "xml"},
	} {
		_, err := d.run(append(args, "--gateway-url", d.gateway)...)
		assert.ErrorContains(t, err, want)
	}
}

func TestOnboardingAndCheck(t *testing.T) {
	d := newDesk(t)
	tenant := &v1alpha1.SAMLTenant{
		ObjectMeta: metav1.ObjectMeta{Name: "onboarded", Namespace: namespace},
		Spec: v1alpha1.SAMLTenantSpec{CustomerName: "onboarded", DisplayName: "On Board Ltd", MetadataURL: "https://idp.example.com/metadata",
			Provisioning: &v1alpha1.Provisioning{SCIM: &v1alpha1.SCIM{TokenSecretRef: v1alpha1.SecretReference{Name: "tokens"}}}},
	}
	require.NoError(t, d.tenants.Create(t.Context(), tenant))
	_, err := d.run("onboarding", "onboarded")
	require.ErrorContains(t, err, "operator has not looked at this tenant yet")

	tenant.Status = v1alpha1.SAMLTenantStatus{
		ObservedGeneration: tenant.Generation,
		ServiceProvider: &v1alpha1.ServiceProviderStatus{
			SignOnURL: "https://onboarded.s.example", EntityID: "https://onboarded.s.example:443/saml/metadata",
			ACSURL: "https://onboarded.s.example/saml/acs", MetadataURL: "https://onboarded.s.example/saml/metadata", SLOURL: "https://onboarded.s.example/saml/slo",
			SCIMURL: "https://onboarded.s.example/saml/scim/v2",
		},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Succeeded", Message: "users can sign in", LastTransitionTime: metav1.Now()},
			{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionFalse, Reason: "NotStalled", Message: "no", LastTransitionTime: metav1.Now()},
		},
		Certificates: []v1alpha1.CertificateStatus{{FingerprintSHA256: "abcdef0123456789abcdef", NotBefore: metav1.Now(), NotAfter: metav1.NewTime(time.Now().Add(200 * day))}},
	}
	require.NoError(t, d.tenants.Status().Update(t.Context(), tenant))
	for idp := range guides {
		out, err := d.run("onboarding", "onboarded", "--idp", idp)
		require.NoError(t, err)
		assert.Contains(t, out, "On Board Ltd", idp)
		assert.Contains(t, out, "https://onboarded.s.example", idp)
		assert.NotContains(t, out, "{", idp)
		assert.Regexp(t, "(?s)Tenant URL: +https://onboarded.s.example/saml/scim/v2.*objectId", out, idp)
	}
	out, err := d.run("onboarding", "onboarded", "-o", "yaml")
	require.NoError(t, err)
	assert.Contains(t, out, "acsURL: https://onboarded.s.example/saml/acs")
	_, err = d.run("onboarding", "onboarded", "--idp", "ping")
	require.ErrorContains(t, err, "write one of adfs, entra,")

	require.EventuallyWithT(t, func(t *assert.CollectT) { // RBAC takes a moment
		out, err = d.run("check", "onboarded", "--gateway-url", d.gateway)
		assert.NoError(t, err, out)
	}, 10*time.Second, 20*time.Millisecond)
	assert.Contains(t, out, "199 days")
	assert.Contains(t, out, "nobody has tried lately")
	assert.Regexp(t, `ok +test +to see what arrives and what to change, sign in until .* at https://onboarded.s.example/saml/test\?key=x`, out)
	assert.NotContains(t, out, "!!")
	tenant.Status.Conditions[0] = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "MetadataRejected", Message: "ask its administrator", LastTransitionTime: metav1.Now()}
	tenant.Status.Certificates[0].NotAfter = metav1.NewTime(time.Now().Add(3 * day))
	require.NoError(t, d.tenants.Status().Update(t.Context(), tenant))
	d.audit.Record(audit.Entry{Event: audit.EventSignIn, Outcome: audit.OutcomeRefused, Code: "audience_mismatch", Tenant: "onboarded", SupportID: "7F3K-92QM"})
	d.audit.Flush()
	out, err = d.run("check", "onboarded", "--gateway-url", d.gateway)
	require.ErrorContains(t, err, "something is wrong")
	assert.Regexp(t, `!! +Ready +MetadataRejected +ask its administrator`, out)
	assert.Regexp(t, `!! +certificate +.* ends in 2 days`, out)
	assert.Regexp(t, `!! +sign-in +audience_mismatch +refused on .* support ID 7F3K-92QM`, out)
	d.audit.Record(audit.Entry{Event: audit.EventSignIn, Outcome: audit.OutcomeSuccess, Tenant: "onboarded"})
	d.audit.Flush()
	out, err = d.run("check", "onboarded", "--gateway-url", d.gateway)
	require.Error(t, err)
	assert.Regexp(t, `ok +sign-in +audience_mismatch`, out, "others come in")
	out, err = d.run("check", "onboarded", "--gateway-url", "http://127.0.0.1:1")
	require.Error(t, err)
	assert.Regexp(t, `!! +gateway`, out)

	t.Setenv("KUBECONFIG", d.kubeconfig)
	var completed strings.Builder
	command := newCommand(&completed)
	command.SetArgs([]string{"__complete", "check", ""})
	require.NoError(t, command.ExecuteContext(t.Context()))
	assert.Contains(t, completed.String(), "onboarded\n")
}

// No operator runs here: the test answers for it.
func TestRefresh(t *testing.T) {
	d := newDesk(t)
	tenant := &v1alpha1.SAMLTenant{
		ObjectMeta: metav1.ObjectMeta{Name: "stale", Namespace: namespace},
		Spec:       v1alpha1.SAMLTenantSpec{CustomerName: "stale", MetadataURL: "https://idp.example.com/metadata"},
	}
	require.NoError(t, d.tenants.Create(t.Context(), tenant))
	done := make(chan error, 1)
	var out string
	go func() {
		var err error
		out, err = d.run("refresh", "stale")
		done <- err
	}()
	require.Eventually(t, func() bool {
		return d.tenants.Get(t.Context(), client.ObjectKeyFromObject(tenant), tenant) == nil && tenant.Annotations[v1alpha1.AnnotationReconcileRequestedAt] != ""
	}, 10*time.Second, 20*time.Millisecond)
	tenant.Status.LastHandledReconcileAt = tenant.Annotations[v1alpha1.AnnotationReconcileRequestedAt]
	tenant.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionMetadataFetched, Status: metav1.ConditionTrue, Reason: "NotModified", Message: "has not changed", LastTransitionTime: metav1.Now()}}
	require.NoError(t, d.tenants.Status().Update(t.Context(), tenant))
	require.NoError(t, <-done)
	assert.Contains(t, out, "NotModified: has not changed")
}

// The kubectl is a fake, since no kubelet runs here to forward a port.
func TestForwardsThroughKubectl(t *testing.T) {
	d := newDesk(t)
	d.signIn("alice")
	bin := t.TempDir()
	address := strings.TrimPrefix(d.gateway, "http://")
	ended := filepath.Join(bin, "ended")
	fake := func(script string) {
		require.NoError(t, os.WriteFile(filepath.Join(bin, "kubectl"), []byte("#!/bin/sh\n"+script), 0o700)) //nolint:gosec // a program
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	fake(`trap 'touch ` + ended + `; exit 0' INT
[ "$*" = "port-forward --namespace default --address 127.0.0.1 deployment/saml-gateway :internal --kubeconfig ` + d.kubeconfig + `" ] || exit 3
echo "Forwarding from ` + address + ` -> 9090"
while :; do sleep 0.01; done`)
	var out string
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		var err error
		out, err = d.run("users", "acme")
		assert.NoError(t, err)
	}, 10*time.Second, 20*time.Millisecond)
	assert.Contains(t, out, "ID-ALICE")
	assert.FileExists(t, ended, "kubectl is told to end")

	fake(`echo "Error from server (NotFound): deployments.apps not found" >&2; exit 1`)
	_, err := d.run("users", "acme")
	require.ErrorContains(t, err, "NotFound")
}
