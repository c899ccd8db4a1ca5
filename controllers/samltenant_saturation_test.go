package controllers_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/idpmetadata"
	"cequence.cloud/saml-operator/internal/rollout"
	"cequence.cloud/saml-operator/internal/spkey"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

const (
	// workers is how many tenants the operator works on at once.
	workers = 64
	// backlog is how many tenants are overdue.
	backlog = 200
)

// turnstile fetches one document for everybody. While it is closed, a fetch
// ends only when the test lets it. It is a fake at the place of the fetcher,
// since what is looked at is who gets a worker next: with it the test, not the
// clock, says when a worker is free.
type turnstile struct {
	document []byte
	passes   chan struct{}

	mu      sync.Mutex
	closed  bool
	free    string // URL that never waits
	started []string
	ended   int
}

func (f *turnstile) Fetch(ctx context.Context, request idpmetadata.Request) (*idpmetadata.Result, error) {
	f.mu.Lock()
	f.started = append(f.started, request.URL)
	waits := f.closed && request.URL != f.free
	f.mu.Unlock()
	if waits {
		select {
		case <-f.passes:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		f.mu.Lock()
		f.ended++
		f.mu.Unlock()
	}
	return &idpmetadata.Result{Document: slices.Clone(f.document)}, nil
}

// state returns which fetches have started since the turnstile was closed, and
// how many of them have ended.
func (f *turnstile) state() (started []string, ended int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.started), f.ended
}

func (f *turnstile) close(free string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed, f.free, f.started, f.ended = true, free, nil, 0
}

func (f *turnstile) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = false
	close(f.passes)
}

// Hundreds of tenants are due, all workers wait for their identity providers:
// a new tenant, and one that was edited, get the very next worker.
func TestNewTenantIsServedBeforeABacklogOfRefreshes(t *testing.T) {
	f := prepare(t, "", rollout.Settings{})
	provider := startIDP(t, testidp.Options{})
	fetcher := &turnstile{document: []byte(provider.document(t)), passes: make(chan struct{})}
	f.fetcher = fetcher
	f.createBacklog(func(i int) string { return fmt.Sprintf("https://idp.example.com/%d", i) })
	f.run()
	defer func() { f.stop() }()
	for i := range backlog {
		f.untilReady(backlogName(i))
	}

	// All become due at once, when the operator has looked at each already.
	f.stop()
	due := metav1.NewTime(time.Now().Add(10 * time.Second))
	for i := range backlog {
		tenant := &v1alpha1.SAMLTenant{ObjectMeta: metav1.ObjectMeta{Name: backlogName(i)}}
		before := tenant.DeepCopy()
		tenant.Status.NextRefreshTime = &due
		require.NoError(t, f.Status().Patch(t.Context(), tenant, client.MergeFrom(before)))
	}
	const novelURL = "https://idp.novel.example/metadata"
	fetcher.close(novelURL)
	waiting := queued(t)
	f.run()
	require.Eventually(t, func() bool {
		started, _ := fetcher.state()
		return len(started) == workers
	}, patience, tick, "the workers are not all busy")

	novel := tenant("novel", provider)
	novel.Spec.MetadataURL, novel.Spec.MetadataCA = novelURL, ""
	f.create(novel)
	require.Eventually(t, func() bool { return queued(t) == waiting+1 }, patience, tick, "it is not waiting")
	fetcher.passes <- struct{}{}
	f.untilReady("novel")
	started, ended := fetcher.state()
	require.Equal(t, novelURL, started[workers])
	require.Equal(t, 1, ended, "refreshes that ended before it was Ready")

	// The worker that was free for it refreshes again. The last one of those that
	// wait is edited.
	require.Eventually(t, func() bool {
		started, _ = fetcher.state()
		return len(started) == workers+2
	}, patience, tick)
	edited := &v1alpha1.SAMLTenant{}
	for i := backlog - 1; edited.Name == "" || slices.Contains(started, edited.Spec.MetadataURL); i-- {
		require.NoError(t, f.Get(t.Context(), client.ObjectKey{Name: backlogName(i)}, edited))
	}
	f.update(edited, func() { edited.Spec.DisplayName = "Edited" })
	require.Eventually(t, func() bool { return queued(t) == waiting+1 }, patience, tick, "it is not waiting")
	fetcher.passes <- struct{}{}
	require.Eventually(t, func() bool {
		started, _ = fetcher.state()
		return len(started) == workers+3
	}, patience, tick)
	require.Equal(t, edited.Spec.MetadataURL, started[workers+2])

	// Nobody is forgotten.
	fetcher.open()
	require.Eventually(t, func() bool {
		started, _ = fetcher.state()
		slices.Sort(started)
		return len(slices.Compact(started)) == backlog+1
	}, patience, tick, "some were never refreshed")
}

// A host takes connections and says nothing. Its tenants, more than there are
// workers, wait; those of another host do not.
func TestDeadHostDelaysNoTenantOfAnother(t *testing.T) {
	dead := startDeadHost(t)
	f := prepare(t, "", rollout.Settings{})
	f.fetcher = idpmetadata.NewFetcher(idpmetadata.FetcherOptions{
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: time.Hour,
	})
	f.createBacklog(func(i int) string { return fmt.Sprintf("https://%s/%d", dead.Addr(), i) })
	f.run()
	defer func() { f.stop() }()
	require.Eventually(t, func() bool { return dead.opened.Load() == workers/4 }, patience, tick, "a quarter of the workers waits for it")

	provider := startIDP(t, testidp.Options{})
	for i := range 8 {
		f.create(tenant(fmt.Sprintf("living-%d", i), provider))
	}
	for i := range 8 {
		f.untilReady(fmt.Sprintf("living-%d", i))
	}
	require.Zero(t, dead.ended.Load(), "fetches of the dead host that have ended")
	require.EqualValues(t, workers/4, dead.opened.Load())
}

func backlogName(i int) string { return fmt.Sprintf("backlog-%03d", i) }

// createBacklog creates the tenants with a key each.
func (f *fixture) createBacklog(url func(int) string) {
	f.t.Helper()
	for i := range backlog {
		name := backlogName(i)
		f.createWithKey(&v1alpha1.SAMLTenant{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1alpha1.SAMLTenantSpec{CustomerName: name, MetadataURL: url(i)},
		})
	}
}

var anyKey = sync.OnceValues(func() (tenantconfig.Files, error) {
	key, certificate, err := spkey.Generate("any.example.com", time.Now())
	return tenantconfig.Files{tenantconfig.FileKey: key, tenantconfig.FileCertificate: certificate}, err
})

// createWithKey creates a tenant with a key that the operator takes for its
// own, before it runs: to make one takes longer than all the rest.
func (f *fixture) createWithKey(o *v1alpha1.SAMLTenant) {
	f.t.Helper()
	f.create(o)
	key, err := anyKey()
	require.NoError(f.t, err)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: f.namespace, Name: tenantconfig.KeySecretName(o.Name),
			Labels: map[string]string{tenantconfig.LabelKey: tenantconfig.LabelTrue, tenantconfig.LabelTenant: o.Name},
		},
		Type: corev1.SecretTypeTLS, Data: key,
	}
	require.NoError(f.t, controllerutil.SetControllerReference(o, secret, scheme))
	f.create(secret)
}

// queued returns how many tenants wait for a worker before those that are
// refreshed, as all operators of this process count it together.
func queued(t *testing.T) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	require.NoError(t, err)
	n := 0.0
	for _, family := range families {
		if family.GetName() != "workqueue_depth" {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range metric.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["controller"] == "samltenant" && labels["priority"] == "0" {
				n += metric.GetGauge().GetValue()
			}
		}
	}
	return n
}

// deadHost takes connections and answers nothing.
type deadHost struct {
	net.Listener
	opened, ended atomic.Int64
}

func startDeadHost(t *testing.T) *deadHost {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := &deadHost{Listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			h.opened.Add(1)
			go func() {
				_, _ = io.Copy(io.Discard, connection) // until the other side has had enough
				h.ended.Add(1)
				_ = connection.Close()
			}()
		}
	}()
	return h
}
