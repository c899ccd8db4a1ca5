package controllers_test

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/controllers"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/refresh"
	"cequence.cloud/saml-operator/internal/testidp"
)

// startWithEndpoint is start with an operator that the gateway can ask.
func startWithEndpoint(t *testing.T) *fixture {
	t.Helper()
	f := start(t, "")
	f.openEndpoint()
	return f
}

// openEndpoint starts the operator anew, with an endpoint for the gateway.
func (f *fixture) openEndpoint() {
	f.t.Helper()
	f.stop()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f.t, err)
	require.NoError(f.t, listener.Close())
	f.refresh = listener.Addr().String()
	f.run()
}

// token is one that the API server gives out for a service account, which is
// made if it is missing.
func token(t *testing.T, namespace, account string, audiences ...string) string {
	t.Helper()
	api, err := kubernetes.NewForConfig(cluster)
	require.NoError(t, err)
	accounts := api.CoreV1().ServiceAccounts(namespace)
	_, err = accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		require.NoError(t, err)
	}
	request, err := accounts.CreateToken(t.Context(), account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: ptr.To[int64](600)},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return request.Status.Token
}

// demand asks for a refresh, as soon as the operator listens.
func (f *fixture) demand(tenant, token string) *http.Response {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, "http://"+f.refresh+"/refresh/"+tenant, http.NoBody)
	require.NoError(f.t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	var response *http.Response
	require.Eventually(f.t, func() bool {
		response, err = http.DefaultClient.Do(request)
		return err == nil
	}, patience, tick, "the operator does not listen")
	require.NoError(f.t, response.Body.Close())
	return response
}

func TestOnlyTheGatewaysTokenForTheOperatorCausesAFetch(t *testing.T) {
	f := startWithEndpoint(t)
	provider := startIDP(t, testidp.Options{})
	f.create(tenant("acme", provider))
	f.untilReady("acme")
	fetches := provider.Counts().MetadataFetches
	other := start(t, "").namespace
	for what, c := range map[string]struct {
		token string
		want  int
	}{
		"no token":                          {"", http.StatusUnauthorized},
		"garbage":                           {"garbage", http.StatusUnauthorized},
		"for the API server":                {token(t, f.namespace, "saml-gateway"), http.StatusUnauthorized},
		"for somebody else":                 {token(t, f.namespace, "saml-gateway", "another"), http.StatusUnauthorized},
		"another service account's":         {token(t, f.namespace, "default", refresh.Audience), http.StatusForbidden},
		"the operator's own":                {token(t, f.namespace, "saml-operator", refresh.Audience), http.StatusForbidden},
		"a gateway's of another namespace":  {token(t, other, "saml-gateway", refresh.Audience), http.StatusForbidden},
		"the gateway's for another network": {token(t, f.namespace, "saml-gateway", "https://"+refresh.Audience), http.StatusUnauthorized},
	} {
		require.Equal(t, c.want, f.demand("acme", c.token).StatusCode, what)
	}
	gateway := token(t, f.namespace, "saml-gateway", refresh.Audience)
	require.Equal(t, http.StatusNotFound, f.demand("globex", gateway).StatusCode)
	require.Equal(t, fetches, provider.Counts().MetadataFetches)

	require.NoError(t, provider.RotateAbruptly())
	require.Equal(t, http.StatusAccepted, f.demand("acme", gateway).StatusCode)
	f.until("acme", "the new key is trusted", func(t *v1alpha1.SAMLTenant) bool {
		return len(t.Status.Certificates) == 2 // the old one has its grace
	})
	require.Equal(t, fetches+1, provider.Counts().MetadataFetches)

	again := f.demand("acme", gateway)
	require.Equal(t, http.StatusTooManyRequests, again.StatusCode)
	require.NotEmpty(t, again.Header.Get("Retry-After"))
	require.Equal(t, fetches+1, provider.Counts().MetadataFetches)
}

// The token leaves the gateway, so it must be worth nothing to the API server.
func TestTheGatewaysTokenForTheOperatorIsNotAcceptedByTheAPIServer(t *testing.T) {
	f := start(t, "")
	whoAmI := func(token string) (string, error) {
		config := rest.AnonymousClientConfig(cluster)
		config.BearerToken = token
		api, err := kubernetes.NewForConfig(config)
		require.NoError(t, err)
		review, err := api.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		return review.Status.UserInfo.Username, nil
	}
	user, err := whoAmI(token(t, f.namespace, "saml-gateway"))
	require.NoError(t, err)
	require.Equal(t, "system:serviceaccount:"+f.namespace+":saml-gateway", user)
	_, err = whoAmI(token(t, f.namespace, "saml-gateway", refresh.Audience))
	require.True(t, apierrors.IsUnauthorized(err), "%v", err)
}

// A document may change twice within the second that its date tells.
func TestADemandedFetchIsUnconditional(t *testing.T) {
	f := startWithEndpoint(t)
	provider := startIDP(t, testidp.Options{})
	f.create(tenant("acme", provider))
	got := f.untilReady("acme")
	got = f.request(got)
	require.Equal(t, 1, provider.Counts().NotModified, "one that an administrator requests is not")
	require.Equal(t, v1alpha1.ReasonNotModified, meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionMetadataFetched).Reason)
	require.Equal(t, http.StatusAccepted, f.demand("acme", token(t, f.namespace, "saml-gateway", refresh.Audience)).StatusCode)
	f.untilCondition("acme", v1alpha1.ConditionMetadataFetched, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	require.Equal(t, 1, provider.Counts().NotModified)
}

// busyFetcher turns fetches away as often as it is told to.
type busyFetcher struct {
	controllers.Fetcher
	times atomic.Int32
}

func (b *busyFetcher) Fetch(ctx context.Context, request idpmetadata.Request) (*idpmetadata.Result, error) {
	if b.times.Add(-1) >= 0 {
		return nil, &idpmetadata.HostBusyError{RetryAfter: tick}
	}
	return b.Fetcher.Fetch(ctx, request)
}

// A busy host makes a demanded fetch wait, not go away.
func TestADemandWaitsForItsHost(t *testing.T) {
	f := start(t, "")
	busy := &busyFetcher{Fetcher: f.fetcher}
	f.fetcher = busy
	f.openEndpoint()
	provider := startIDP(t, testidp.Options{})
	f.create(tenant("acme", provider))
	f.untilReady("acme")
	fetches := provider.Counts().MetadataFetches

	busy.times.Store(2)
	require.Equal(t, http.StatusAccepted, f.demand("acme", token(t, f.namespace, "saml-gateway", refresh.Audience)).StatusCode)
	require.Eventually(t, func() bool { return provider.Counts().MetadataFetches == fetches+1 }, patience, tick)
	require.Negative(t, busy.times.Load())
}

// Nothing may be done for a suspended tenant, and a demand must not be kept for
// later.
func TestASuspendedTenantIsNotRefreshedOnDemand(t *testing.T) {
	f := startWithEndpoint(t)
	provider := startIDP(t, testidp.Options{})
	acme := tenant("acme", provider)
	f.create(acme)
	f.untilReady("acme")
	f.update(acme, func() { acme.Spec.Suspend = true })
	f.untilCondition("acme", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	fetches := provider.Counts().MetadataFetches
	require.Equal(t, http.StatusNotFound, f.demand("acme", token(t, f.namespace, "saml-gateway", refresh.Audience)).StatusCode)
	require.Equal(t, fetches, provider.Counts().MetadataFetches)
}
