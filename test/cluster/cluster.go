// Package cluster installs the product on a cluster by its own manifests, breaks
// parts of it, and tells when all is well again.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"cequence.cloud/saml-operator/test/apiserver"
)

// The Deployments, and the label by which their pods are found.
const (
	Operator = "saml-operator"
	Gateway  = "saml-gateway"

	labelName = "app.kubernetes.io/name"
	lease     = "saml-operator.sso.cequence.cloud"
)

// retryEvery is how often a condition is looked at again.
const retryEvery = 200 * time.Millisecond

// Cluster is reached as its administrator.
type Cluster struct {
	client.WithWatch
	Config *rest.Config
	// Kubeconfig is the file that says how.
	Kubeconfig string
	kubectl    string
	// node is the command that stops and starts components of the control plane;
	// empty if the cluster is not ours to stop.
	node []string
}

// Open reads KUBECONFIG. The command of the node may be empty.
func Open(node string) (*Cluster, error) {
	ctrl.SetLogger(logr.Discard())
	c := &Cluster{Kubeconfig: os.Getenv("KUBECONFIG"), node: strings.Fields(node)}
	if c.Kubeconfig == "" {
		return nil, errors.New("KUBECONFIG is not set: name the file by which the cluster is reached")
	}
	var err error
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return nil, err
	}
	c.Config.QPS, c.Config.Timeout = -1, 15*time.Second
	if c.WithWatch, err = client.NewWithWatch(c.Config, client.Options{Scheme: apiserver.Scheme()}); err != nil {
		return nil, err
	}
	if c.kubectl, err = exec.LookPath(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")); err != nil {
		c.kubectl, err = exec.LookPath("kubectl")
	}
	return c, err
}

// Kubectl runs kubectl and returns what it prints.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, c.kubectl, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.String(), nil
}

// CanStop says whether components of the control plane can be stopped.
func (c *Cluster) CanStop() bool { return len(c.node) > 0 }

// Stop ends a component such as kube-apiserver; Start brings it back.
func (c *Cluster) Stop(ctx context.Context, component string) error {
	return c.runNode(ctx, "stop", component)
}

// Start is the end of Stop.
func (c *Cluster) Start(ctx context.Context, component string) error {
	return c.runNode(ctx, "start", component)
}

func (c *Cluster) runNode(ctx context.Context, args ...string) error {
	command := slices.Concat(c.node, args)
	output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, output)
	}
	return nil
}

// Pods returns those of a Deployment that run and are not being deleted.
func (c *Cluster) Pods(ctx context.Context, namespace, deployment string) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := c.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{labelName: deployment}); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning
	}), nil
}

// Leader returns the operator's pod that works.
func (c *Cluster) Leader(ctx context.Context, namespace string) (corev1.Pod, error) {
	var held coordinationv1.Lease
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: lease}, &held); err != nil {
		return corev1.Pod{}, err
	}
	if held.Spec.HolderIdentity == nil {
		return corev1.Pod{}, errors.New("nobody leads")
	}
	name, _, _ := strings.Cut(*held.Spec.HolderIdentity, "_")
	var pod corev1.Pod
	return pod, c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &pod)
}

// Kill ends a pod's container by SIGKILL if its processes are on this machine,
// and says so; otherwise it deletes the pod without grace.
func (c *Cluster) Kill(ctx context.Context, pod *corev1.Pod) (how string, err error) {
	if process, err := processOf(pod); err == nil && process.Kill() == nil {
		return "SIGKILL", nil
	}
	return "deletion without grace", c.Delete(ctx, pod, client.GracePeriodSeconds(0))
}

// RolledOut says that all replicas of a Deployment are there, are ready, and are
// of its newest kind.
func RolledOut(d *appsv1.Deployment) error {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	if s.ObservedGeneration != d.Generation || s.UpdatedReplicas != want || s.Replicas != want || s.AvailableReplicas != want {
		return fmt.Errorf("%s: %d of %d replicas are new, %d are available, %d there", d.Name, s.UpdatedReplicas, want, s.AvailableReplicas, s.Replicas)
	}
	return nil
}

// Wait asks until there is no error any more, or returns the last one when ctx
// ends.
func Wait(ctx context.Context, condition func(context.Context) error) error {
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %w", err)
		case <-ticker.C:
		}
	}
}
