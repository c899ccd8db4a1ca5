package soak_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/config/crd"
	"cequence.cloud/saml-operator/internal/testidp"
	"cequence.cloud/saml-operator/test/apiserver"
)

const (
	namespace = "soak"
	gateway   = "saml-gateway"
	// signingKeys are shared by the identity providers, since making one takes
	// longer than an edit.
	signingKeys = 12
)

// world is everything that runs.
type world struct {
	client.Client
	t                         *testing.T
	directory                 string
	server, manager, operator *program
	keys                      []*testidp.Key
	slots                     []*slot

	mu sync.Mutex
	// spCertificates are the first ones that were seen, by the tenant's UID.
	spCertificates map[string]string
	keysReplaced   int
}

func startWorld(t *testing.T) *world {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	w := &world{t: t, spCertificates: map[string]string{}}
	var err error
	w.directory, err = os.MkdirTemp("", "soak-")
	require.NoError(t, err)
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(w.directory)
		}
	})
	w.startCluster()
	w.startIDPs()
	require.NoError(t, w.Create(t.Context(), gatewayDeployment()))
	ctx, cancel := context.WithCancel(context.Background())
	var playing sync.WaitGroup
	playing.Go(func() { w.playDeploymentController(ctx) })
	t.Cleanup(func() {
		cancel()
		playing.Wait()
	})
	return w
}

// startCluster has the API server started and set up by envtest, and then runs
// the same command again and again.
func (w *world) startCluster() {
	t := w.t
	definition := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.Unmarshal(crd.SAMLTenant, definition))
	environment := &envtest.Environment{
		CRDs: []*apiextensionsv1.CustomResourceDefinition{definition}, ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: time.Minute,
	}
	config, err := environment.Start()
	require.NoError(t, err, `run "make kubernetes", or set KUBEBUILDER_ASSETS`)
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Errorf("stop etcd: %v", err)
		}
	})
	process, command := child(t, "kube-apiserver")
	require.NoError(t, process.Signal(syscall.SIGKILL))
	w.server = supervise(t, w.directory, nil, command...)

	config.QPS, config.Timeout = -1, 15*time.Second
	w.Client, err = client.New(rest.CopyConfig(config), client.Options{Scheme: apiserver.Scheme()})
	require.NoError(t, err)
	w.insist(t.Context(), func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(w.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	})
	w.Client = client.NewNamespacedClient(w.Client, namespace)

	kubeconfig := filepath.Join(w.directory, "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, environment.KubeConfig, 0o600))
	w.manager = supervise(t, w.directory, nil, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kube-controller-manager"),
		"--kubeconfig="+kubeconfig, "--leader-elect=false", "--secure-port=0", "--controllers=garbage-collector-controller")

	operator := filepath.Join(w.directory, "operator")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", operator, "../../cmd/operator").CombinedOutput()
	require.NoError(t, err, string(output))
	w.operator = supervise(t, w.directory, []string{"KUBECONFIG=" + kubeconfig}, operator,
		"--namespace="+namespace, "--base-domain=s.localhost", "--metadata-allow-cidrs=127.0.0.0/8", "--health-probe-bind-address=0",
		"--gateway-rollout-quiet=1s", "--gateway-rollout-max-wait=3s", "--gateway-rollout-interval=3s")
}

// insist does what it is given until the API server has taken it, and reports
// whether it has before ctx ended.
func (w *world) insist(ctx context.Context, do func(context.Context) error) bool {
	for {
		if do(ctx) == nil {
			return true
		}
		if !pause(ctx, 200*time.Millisecond) {
			return false
		}
	}
}

// startIDPs makes a slot for each tenant, with an identity provider of its own.
func (w *world) startIDPs() {
	t := w.t
	for range signingKeys {
		key, err := testidp.NewKey(testidp.KeyOptions{})
		require.NoError(t, err)
		w.keys = append(w.keys, key)
	}
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	// An operator that is killed ends its connections without a word.
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for i := range *tenants {
		name := fmt.Sprintf("tenant-%02d", i)
		idp, err := testidp.New(testidp.Options{
			BaseURL: server.URL + "/" + name, EntityID: "https://" + name + ".example/", Keys: w.keys[i%signingKeys : i%signingKeys+1],
		})
		require.NoError(t, err)
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, idp))
		w.slots = append(w.slots, &slot{name: name, idp: idp, ca: ca, edits: map[string]int{}})
	}
}

// playDeploymentController tells that the newest pods of the gateway run.
func (w *world) playDeploymentController(ctx context.Context) {
	for pause(ctx, 200*time.Millisecond) {
		d := &appsv1.Deployment{}
		if w.Get(ctx, client.ObjectKey{Name: gateway}, d) != nil || d.Status.ObservedGeneration == d.Generation {
			continue
		}
		before := d.DeepCopy()
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
		_ = w.Status().Patch(ctx, d, client.MergeFrom(before)) // again next time
	}
}

func gatewayDeployment() *appsv1.Deployment {
	labels := map[string]string{"app": gateway}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: gateway},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "gateway", Image: "gateway"}}},
			},
		},
	}
}

// keepLogs returns where the logs are; they stay when the test fails.
func (w *world) keepLogs() string { return w.directory }
