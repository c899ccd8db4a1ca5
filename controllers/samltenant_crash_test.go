package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/controllers"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/rollout"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// life ends with a write: for the operator that has it, as if its process had
// been killed, nothing reaches the API server or an identity provider any more.
type life struct {
	// left is how many writes remain, the last one included.
	left int
	// sent: the last write reaches the API server, and its answer nobody.
	sent bool

	mu   sync.Mutex
	over bool
}

func newLife(writes int, sent bool) *life {
	return &life{left: writes, sent: sent}
}

var errKilled = errors.New("the operator was killed")

// connection is a connection to the API server for the time of the life.
func (l *life) connection() *rest.Config {
	config := rest.CopyConfig(cluster)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return mortal{l, next} })
	return config
}

func (l *life) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

type mortal struct {
	*life
	next http.RoundTripper
}

func (m mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	switch alive, last := m.spend(r); {
	case alive:
		return m.next.RoundTrip(r)
	case last && m.sent:
		// It arrives, although whoever waits for it is being stopped.
		response, err := m.next.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
		if err != nil {
			return nil, err
		}
		_ = response.Body.Close() // nobody reads it
	}
	return nil, errKilled
}

// spend counts writes. Events are told beside them and decide nothing.
func (m mortal) spend(r *http.Request) (alive, last bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return false, false
	}
	if r.Method == http.MethodGet || strings.HasSuffix(r.URL.Path, "/events") {
		return true, false
	}
	m.left--
	m.over = m.left == 0
	return !m.over, m.over
}

// mortalFetcher lets the dead fetch nothing.
type mortalFetcher struct {
	*life
	controllers.Fetcher
}

func (m mortalFetcher) Fetch(ctx context.Context, request idpmetadata.Request) (*idpmetadata.Result, error) {
	if m.ended() {
		return nil, errKilled
	}
	return m.Fetcher.Fetch(ctx, request)
}

// crash is a story in the middle of which the operator is killed.
type crash struct {
	// gateway: there is one to be rolled.
	gateway bool
	// before waits for what an operator that lives makes of the tenant.
	before func(*fixture, *v1alpha1.SAMLTenant)
	// change is met by the operator that is killed.
	change func(*fixture, *v1alpha1.SAMLTenant, idp)
	// interlude is between the two operators.
	interlude func(*fixture, *v1alpha1.SAMLTenant)
	// done tells whether nothing more is to be written.
	done func(*fixture, *v1alpha1.SAMLTenant) bool
	// after holds what the next operator makes of it to what it must be.
	after func(*fixture, *v1alpha1.SAMLTenant, idp)
	// fetches and writes are how many the story takes when nobody is killed.
	fetches, writes int
}

func onboard(f *fixture, _ *v1alpha1.SAMLTenant) { f.untilReady("acme") }

// ready tells whether the tenant is Ready in its current generation, however
// its access is.
func (f *fixture) ready(name string, wanted func(*v1alpha1.SAMLTenant) bool) bool {
	got := &v1alpha1.SAMLTenant{}
	err := f.Get(f.t.Context(), client.ObjectKey{Name: name}, got)
	return err == nil && got.Status.ObservedGeneration == got.Generation &&
		meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionReady) && (wanted == nil || wanted(got))
}

func becameReady(f *fixture, _ *v1alpha1.SAMLTenant) bool { return f.ready("acme", nil) }

var crashes = map[string]crash{
	"a new tenant": {
		change:  func(f *fixture, acme *v1alpha1.SAMLTenant, _ idp) { f.create(acme) },
		done:    becameReady,
		fetches: 1, writes: 4,
	},
	"a new tenant and the gateway": {
		gateway: true,
		change:  func(f *fixture, acme *v1alpha1.SAMLTenant, _ idp) { f.create(acme) },
		done:    becameReady,
		fetches: 1, writes: 6,
	},
	"the identity provider replaces its key": {
		before: onboard,
		change: func(f *fixture, acme *v1alpha1.SAMLTenant, provider idp) {
			require.NoError(f.t, provider.RotateAbruptly())
			f.update(acme, func() {
				metav1.SetMetaDataAnnotation(&acme.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, "now")
			})
		},
		done: func(f *fixture, _ *v1alpha1.SAMLTenant) bool {
			return f.ready("acme", func(t *v1alpha1.SAMLTenant) bool { return t.Status.LastHandledReconcileAt == "now" })
		},
		after: func(f *fixture, _ *v1alpha1.SAMLTenant, provider idp) {
			got := f.until("acme", "the request is handled", func(t *v1alpha1.SAMLTenant) bool {
				return t.Status.LastHandledReconcileAt == "now"
			})
			certificates := got.Status.Certificates
			require.Len(f.t, certificates, 2, "the key before is trusted for its time of grace")
			require.Equal(f.t, idpmetadata.Fingerprint(provider.Certificates()[0]), certificates[0].FingerprintSHA256)
			require.Nil(f.t, certificates[0].TrustedUntil)
			require.NotNil(f.t, certificates[1].TrustedUntil)
			require.Equal(f.t, 2, strings.Count(string(f.secret("acme-saml-sp").Data[tenantconfig.FileIDPSigning]), "BEGIN CERTIFICATE"))
		},
		fetches: 1, writes: 2,
	},
	"an edit": {
		before: onboard,
		change: func(f *fixture, acme *v1alpha1.SAMLTenant, _ idp) {
			f.update(acme, func() { acme.Spec.DisplayName = "Acme Incorporated" })
		},
		done: becameReady,
		after: func(f *fixture, _ *v1alpha1.SAMLTenant, _ idp) {
			require.Equal(f.t, "Acme Incorporated", config(f.t, f.secret("acme-saml-sp")).DisplayName)
		},
		fetches: 1, writes: 2,
	},
	"the SP key gets a successor": {
		before: onboard,
		change: func(f *fixture, acme *v1alpha1.SAMLTenant, _ idp) { f.askForANewKey(acme, "now") },
		done: func(f *fixture, _ *v1alpha1.SAMLTenant) bool {
			return f.ready("acme", func(t *v1alpha1.SAMLTenant) bool { return t.Status.Key.Next != nil })
		},
		after: func(f *fixture, _ *v1alpha1.SAMLTenant, _ idp) {
			got := f.until("acme", "the successor is published", func(t *v1alpha1.SAMLTenant) bool { return t.Status.Key.Next != nil })
			require.Equal(f.t, "now", got.Status.Key.LastHandledRotateAt)
			require.Equal(f.t, 4, strings.Count(string(f.secret("acme-saml-sp").Data[tenantconfig.FileSPMetadata]), "<ds:X509Certificate>"))
		},
		writes: 4,
	},
	"access is disabled": {
		before: onboard,
		change: func(f *fixture, acme *v1alpha1.SAMLTenant, _ idp) {
			f.update(acme, func() { acme.Spec.Access = v1alpha1.AccessDisabled })
		},
		done: func(f *fixture, _ *v1alpha1.SAMLTenant) bool {
			return f.ready("acme", func(t *v1alpha1.SAMLTenant) bool { return t.Status.NextRefreshTime.After(time.Now().Add(time.Minute)) })
		},
		after: func(f *fixture, _ *v1alpha1.SAMLTenant, _ idp) {
			disabled := config(f.t, f.secret("acme-saml-sp"))
			require.True(f.t, disabled.Disabled)
			require.NotZero(f.t, disabled.Session.NotBefore)
		},
		fetches: 1, writes: 3,
	},
	"a tenant that is deleted half made": {
		change: func(f *fixture, acme *v1alpha1.SAMLTenant, _ idp) { f.create(acme) },
		interlude: func(f *fixture, acme *v1alpha1.SAMLTenant) {
			require.NoError(f.t, f.Delete(f.t.Context(), acme))
		},
		done: becameReady,
		after: func(f *fixture, acme *v1alpha1.SAMLTenant, _ idp) {
			// There is no garbage collector here: what is left must be for it to take.
			for _, secret := range f.secrets() {
				require.True(f.t, strings.HasPrefix(secret.Name, "globex-") || metav1.IsControlledBy(&secret, acme), secret.Name)
			}
		},
		fetches: 1, writes: 4,
	},
	"a tenant that is deleted, and the gateway": {
		gateway: true,
		before: func(f *fixture, acme *v1alpha1.SAMLTenant) {
			initech := &v1alpha1.SAMLTenant{ObjectMeta: metav1.ObjectMeta{Name: "initech"}, Spec: acme.Spec}
			initech.Spec.CustomerName = "initech"
			f.create(initech)
			for _, name := range []string{"acme", "initech"} {
				require.Eventually(f.t, func() bool {
					f.report(2, false)
					return f.ready(name, nil)
				}, patience, tick)
			}
		},
		change: func(f *fixture, acme *v1alpha1.SAMLTenant, _ idp) {
			metav1.SetMetaDataAnnotation(&acme.ObjectMeta, "before", rolledTo(f.deployment()))
			require.NoError(f.t, f.Delete(f.t.Context(), acme))
			for _, name := range []string{"acme-saml-sp", "acme-saml-sp-key"} {
				require.NoError(f.t, f.Delete(f.t.Context(), f.secret(name)))
			}
		},
		done: func(f *fixture, acme *v1alpha1.SAMLTenant) bool {
			return f.ready("initech", nil) && rolledTo(f.deployment()) != acme.Annotations["before"]
		},
		after: func(f *fixture, acme *v1alpha1.SAMLTenant, _ idp) {
			require.NotEqual(f.t, acme.Annotations["before"], rolledTo(f.deployment()))
			require.True(f.t, f.ready("initech", nil))
		},
		writes: 1,
	},
}

// An operator that is killed at any of its writes, whether that one has reached
// the API server or not, leaves what the next one makes right.
func TestOperatorThatIsKilledBetweenAnyTwoWrites(t *testing.T) {
	key, err := testidp.NewKey(testidp.KeyOptions{})
	require.NoError(t, err)
	for title, story := range crashes {
		for _, sent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, sent=%t", title, sent), func(t *testing.T) {
				t.Parallel()
				writes := 1
				for story.tell(t, newLife(writes, sent), key) {
					writes++
					require.Less(t, writes, 20, "writes never end")
				}
				require.Greater(t, writes, story.writes, "it takes so many writes, and each was the last of an operator")
			})
		}
	}
}

// tell plays the story with an operator of that life, then with one that lives,
// and reports whether the first one died.
func (c crash) tell(t *testing.T, l *life, key *testidp.Key) (died bool) {
	f := prepare(t, "", rollout.Settings{})
	provider := startIDP(t, testidp.Options{Keys: []*testidp.Key{key}})
	acme := tenant("acme", provider)
	if c.gateway {
		f.gateway = "saml-gateway"
		f.create(deployment())
	}
	if c.before != nil {
		f.createWithKey(acme)
		f.run()
		c.before(f, acme)
		f.stop()
	}
	fetches, fetcher := provider.Counts().MetadataFetches, f.fetcher

	f.connection, f.fetcher = l.connection(), mortalFetcher{l, fetcher}
	f.run()
	c.change(f, acme, provider)
	require.Eventually(t, func() bool {
		f.playGateway()
		return l.ended() || c.done(f, acme)
	}, patience, tick, "it neither dies nor ends")
	f.stop()
	died = l.ended()
	firstKeys := f.spKeys()
	if c.interlude != nil {
		c.interlude(f, acme)
	}

	// Another tenant tells that the next operator works on all that there is.
	globex := tenant("globex", provider)
	globex.Spec.MetadataURL += "?globex"
	f.createWithKey(globex)
	f.connection, f.fetcher = cluster, fetcher
	f.run()
	defer f.stop()
	require.Eventually(t, func() bool {
		f.playGateway()
		return f.ready("globex", nil)
	}, patience, tick, "the next operator serves nobody")
	fetches++ // its own
	if deleted := f.Get(t.Context(), client.ObjectKeyFromObject(acme), &v1alpha1.SAMLTenant{}) != nil; !deleted {
		f.holdsTogether(acme.Name)
	}
	if c.after != nil {
		c.after(f, acme, provider)
	}
	for file, key := range firstKeys {
		require.Equal(t, key, f.spKeys()[file], "the identity provider may know the first %s already", file)
	}
	spent := provider.Counts().MetadataFetches - fetches
	require.LessOrEqual(t, spent, 2*c.fetches, "each of the two operators fetches as one does that nobody kills")
	if !died {
		require.Equal(t, c.fetches, spent, "a restart makes nothing due")
	}
	return died
}

// holdsTogether waits for a tenant to be Ready and looks at whether all that is
// written about it fits.
func (f *fixture) holdsTogether(name string) {
	f.t.Helper()
	var got *v1alpha1.SAMLTenant
	require.Eventually(f.t, func() bool {
		f.playGateway()
		return f.ready(name, func(t *v1alpha1.SAMLTenant) bool {
			got = t
			return t.Spec.Access == t.Status.Access && t.Status.LastHandledReconcileAt == t.Annotations[v1alpha1.AnnotationReconcileRequestedAt] &&
				t.Status.Key.LastHandledRotateAt == t.Annotations[v1alpha1.AnnotationRotateKeyRequestedAt]
		})
	}, patience, tick, "%s is not Ready", name)
	f.until(name, "it is Ready", func(*v1alpha1.SAMLTenant) bool { return true })

	secret := f.secret(got.Status.SecretRef.Name)
	require.Equal(f.t, got.Status.ConfigHash, secret.Annotations[tenantconfig.AnnotationConfigHash])
	require.Equal(f.t, got.Status.ConfigHash, tenantconfig.Files(secret.Data).Hash())
	require.Equal(f.t, got.Status.ConfigResourceVersion, secret.ResourceVersion)
	idp, err := idpmetadata.Parse(secret.Data[tenantconfig.FileIDPMetadata], "")
	require.NoError(f.t, err)
	require.Equal(f.t, got.Status.IDP.Digest, idp.Digest())
	for _, s := range f.secrets() {
		if metav1.IsControlledBy(&s, got) {
			require.Contains(f.t, []string{name + "-saml-sp", name + "-saml-sp-key"}, s.Name)
		}
	}
}

// playGateway has the pods of the gateway's newest template available.
func (f *fixture) playGateway() {
	f.t.Helper()
	if f.gateway != "" {
		f.report(2, false)
	}
}

func (f *fixture) secrets() []corev1.Secret {
	f.t.Helper()
	list := &corev1.SecretList{}
	require.NoError(f.t, f.List(f.t.Context(), list))
	return list.Items
}

// spKeys returns the tenant acme's private keys, by the files that they are in.
func (f *fixture) spKeys() map[string]string {
	f.t.Helper()
	secret := &corev1.Secret{}
	err := f.Get(f.t.Context(), client.ObjectKey{Name: "acme-saml-sp-key"}, secret)
	require.NoError(f.t, client.IgnoreNotFound(err))
	keys := map[string]string{}
	for _, file := range []string{tenantconfig.FileKey, tenantconfig.FileNextKey} {
		if key := secret.Data[file]; len(key) > 0 {
			keys[file] = string(key)
		}
	}
	return keys
}
