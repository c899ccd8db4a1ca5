package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"cequence.cloud/saml-operator/controllers"
	"cequence.cloud/saml-operator/internal/operatormetrics"
	"cequence.cloud/saml-operator/internal/rollout"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

const pendingSince = "sso.cequence.cloud/rollout-pending-since"

// rolling is a namespace with a gateway, Secrets that nobody rendered, and the
// rollout's reconciler alone, by a clock of its own.
type rolling struct {
	*fixture
	now   time.Time
	calls interceptor.Funcs
	*controllers.GatewayRolloutReconciler
}

func startRollout(t *testing.T) *rolling {
	r := &rolling{fixture: start(t, ""), now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	r.create(deployment())
	r.report(2, false)
	r.restart()
	return r
}

// restart forgets what the reconciler has in memory.
func (r *rolling) restart() {
	whole, err := client.NewWithWatch(cluster, client.Options{Scheme: scheme})
	require.NoError(r.t, err)
	r.GatewayRolloutReconciler = &controllers.GatewayRolloutReconciler{
		Client:   interceptor.NewClient(whole, r.calls),
		Recorder: events.NewFakeRecorder(100),
		Gateway:  types.NamespacedName{Namespace: r.namespace, Name: "saml-gateway"},
		Settings: rollout.Settings{Quiet: 15 * time.Second, MaxWait: 2 * time.Minute, Interval: 2 * time.Minute},
		Metrics:  operatormetrics.New(operatormetrics.Options{}),
		Now:      func() time.Time { return r.now },
	}
}

// reconcile returns when it wants to be called again, and observes what was
// written unless that starts a rollout.
func (r *rolling) reconcile() time.Duration {
	r.t.Helper()
	before := r.deployment()
	result, err := r.Reconcile(r.t.Context(), ctrl.Request{})
	require.NoError(r.t, err)
	if after := r.deployment(); after.ResourceVersion != before.ResourceVersion && rolledTo(after) == rolledTo(before) {
		r.observe(after)
	}
	return result.RequeueAfter
}

// writesNothing reconciles in a state in which there is nothing to write.
func (r *rolling) writesNothing(when string) time.Duration {
	r.t.Helper()
	before := r.deployment().ResourceVersion
	wait := r.reconcile()
	require.Equal(r.t, before, r.deployment().ResourceVersion, when)
	return wait
}

// configure writes a Secret as the operator would, and returns its version.
func (r *rolling) configure(name, hash string) uint64 {
	r.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{tenantconfig.LabelConfig: tenantconfig.LabelTrue},
		Annotations: map[string]string{tenantconfig.AnnotationConfigHash: hash},
	}}
	if err := r.fixture.Create(r.t.Context(), secret); err != nil {
		r.update(secret, func() { secret.Annotations[tenantconfig.AnnotationConfigHash] = hash })
	}
	version, err := strconv.ParseUint(secret.ResourceVersion, 10, 64)
	require.NoError(r.t, err)
	return version
}

func (r *rolling) includes(version uint64) bool {
	r.t.Helper()
	rolled, err := strconv.ParseUint(r.deployment().Annotations["sso.cequence.cloud/rollout-resource-version"], 10, 64)
	require.NoError(r.t, err)
	return version <= rolled
}

func TestOperatorThatIsRestartedNeitherForgetsNorRepeatsARollout(t *testing.T) {
	r := startRollout(t)
	r.configure("acme-saml-sp", "1")
	require.Equal(t, 15*time.Second, r.reconcile())
	first := r.deployment().Annotations[pendingSince]
	require.Equal(t, "2026-11-24T12:00:00Z", first)

	// Each new operator waits for quiet anew, none beyond the longest wait.
	began := r.now
	for r.now.Sub(began) < 110*time.Second {
		r.now = r.now.Add(10 * time.Second)
		r.restart()
		require.Positive(t, r.writesNothing("in the time of quiet"))
		require.Empty(t, rolledTo(r.deployment()))
	}
	r.now = r.now.Add(10 * time.Second)
	r.restart()
	require.Zero(t, r.reconcile())
	second := rolledTo(r.deployment())
	require.NotEmpty(t, second)
	require.NotContains(t, r.deployment().Annotations, pendingSince)

	r.restart()
	r.writesNothing("right after the start of a rollout")
	r.report(1, false)
	r.restart()
	r.writesNothing("in the middle of a rollout")

	// What changes during a rollout is on record, and waits for its end.
	r.now = r.now.Add(5 * time.Second)
	version := r.configure("globex-saml-sp", "1")
	require.Zero(t, r.reconcile())
	require.Contains(t, r.deployment().Annotations, pendingSince)
	r.now = r.now.Add(time.Minute)
	r.restart()
	r.writesNothing("in the middle of a rollout, with a change on record")
	require.Equal(t, second, rolledTo(r.deployment()))
	require.False(t, r.includes(version))

	r.report(2, false)
	r.restart()
	require.Equal(t, 55*time.Second, r.writesNothing("before the interval is over"))
	r.now = r.now.Add(55 * time.Second)
	r.reconcile()
	require.NotEqual(t, second, rolledTo(r.deployment()))
	require.True(t, r.includes(version))

	r.report(2, false)
	r.now = r.now.Add(time.Hour)
	r.restart()
	r.writesNothing("when all is rolled")
}

func TestChangeThatIsTakenBackStartsNoRollout(t *testing.T) {
	r := startRollout(t)
	r.configure("acme-saml-sp", "1")
	r.now = r.now.Add(r.reconcile())
	r.reconcile()
	r.report(2, false)
	rolled := rolledTo(r.deployment())

	r.now = r.now.Add(time.Hour)
	r.restart()
	r.configure("acme-saml-sp", "2")
	wait := r.reconcile()
	version := r.configure("acme-saml-sp", "1")
	require.False(t, r.includes(version))
	r.now = r.now.Add(wait)
	r.reconcile()
	require.Equal(t, rolled, rolledTo(r.deployment()))
	require.True(t, r.includes(version), "the tenant must not wait for a rollout that never comes")
	require.NotContains(t, r.deployment().Annotations, pendingSince)
	r.writesNothing("when all is as before")
}

// What a rollout takes up is known after a restart as well.
func TestRolloutsAreCountedByTheTenantsThatTheyTakeUp(t *testing.T) {
	r := startRollout(t)
	for i, c := range []struct {
		changed []string
		want    float64
	}{
		{[]string{"acme-saml-sp", "globex-saml-sp", "initech-saml-sp"}, 3},
		{[]string{"globex-saml-sp", "globex-saml-sp"}, 1},
	} {
		for j, name := range c.changed {
			r.configure(name, fmt.Sprint(i, j))
		}
		r.restart()
		r.reconcile()
		r.now = r.now.Add(time.Hour)
		r.reconcile()
		r.report(2, false)
		registry := prometheus.NewPedanticRegistry()
		require.NoError(t, registry.Register(r.Metrics))
		families, err := registry.Gather()
		require.NoError(t, err)
		k := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "saml_operator_gateway_rollout_tenants" })
		taken := families[k].GetMetric()[0].GetHistogram()
		require.EqualValues(t, 1, taken.GetSampleCount())
		require.InDelta(t, c.want, taken.GetSampleSum(), 0)
	}
}

// Thousands of Secrets are not read for each of a thousand edits.
func TestConfigurationsAreReadTwiceForEachRollout(t *testing.T) {
	r := startRollout(t)
	lists := 0
	r.calls.List = func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		lists++
		return c.List(ctx, list, options...)
	}
	r.restart()
	r.configure("acme-saml-sp", "0")
	r.reconcile()
	for i := range 50 {
		r.configure("acme-saml-sp", strconv.Itoa(i))
		r.reconcile()
	}
	require.Equal(t, 1, lists)
	r.now = r.now.Add(15 * time.Second)
	r.reconcile()
	require.Equal(t, 2, lists)
	require.NotEmpty(t, rolledTo(r.deployment()))
}

// A decision on a Deployment that has changed since is not carried out.
func TestStaleDeploymentIsNotRolled(t *testing.T) {
	r := startRollout(t)
	r.configure("acme-saml-sp", "1")
	r.now = r.now.Add(r.reconcile())
	stale := r.deployment()
	r.calls.Get = func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
		if d, ok := o.(*appsv1.Deployment); ok {
			stale.DeepCopyInto(d)
			return nil
		}
		return c.Get(ctx, key, o, options...)
	}
	r.restart()
	r.Settings = rollout.Settings{}
	d := r.deployment()
	r.update(d, func() { d.Spec.Paused = true })
	r.writesNothing("on what has passed")
	require.Empty(t, rolledTo(r.deployment()))
}

// What is written while a rollout is stuck says no second time that it is.
func TestStuckRolloutIsToldOnce(t *testing.T) {
	r := startRollout(t)
	r.configure("acme-saml-sp", "1")
	r.now = r.now.Add(r.reconcile())
	r.reconcile()
	stuck := rolledTo(r.deployment())
	r.report(1, true)
	r.reconcile()
	r.configure("acme-saml-sp", "2")
	r.reconcile()
	require.Contains(t, r.deployment().Annotations, pendingSince)
	r.reconcile()
	recorder := r.Recorder.(*events.FakeRecorder)
	require.Contains(t, <-recorder.Events, "RolloutStarted")
	require.Contains(t, <-recorder.Events, "RolloutStuck")
	require.Empty(t, recorder.Events)

	// The next one may help, after the interval.
	require.Equal(t, stuck, rolledTo(r.deployment()))
	r.now = r.now.Add(2 * time.Minute)
	r.reconcile()
	require.NotEqual(t, stuck, rolledTo(r.deployment()))
	r.report(1, true)
	r.reconcile()
	require.Contains(t, <-recorder.Events, "RolloutStarted")
	require.Empty(t, recorder.Events, "it is stuck as before")
}
