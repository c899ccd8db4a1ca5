package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// namespace of the tenants.
const namespace = "saml-demo"

// cluster is a real API server; there is no node, so no pod runs, unless the
// demo uses a node that is there.
type cluster struct {
	// environment is nil for a node's.
	environment *envtest.Environment
	binaries    string
	// kubeconfig is the administrator's.
	kubeconfig string
}

func (d *demo) startCluster(context.Context) error {
	binaries := os.Getenv("KUBEBUILDER_ASSETS")
	if binaries == "" {
		return errors.New(`KUBEBUILDER_ASSETS is not set; run "make demo"`)
	}
	c := &cluster{
		environment: &envtest.Environment{
			BinaryAssetsDirectory: binaries, ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: time.Minute,
		},
		binaries: binaries,
	}
	if _, err := c.environment.Start(); err != nil {
		return err
	}
	d.cluster = c
	var err error
	if c.kubeconfig, err = d.writeKubeconfig("admin", ""); err != nil {
		return err
	}
	// It deletes what a deleted tenant owned. Archives of test binaries lack it,
	// and the demo is complete without a deletion.
	manager := filepath.Join(binaries, "kube-controller-manager")
	if _, err := os.Stat(manager); os.IsNotExist(err) {
		fmt.Print("(without kube-controller-manager) ")
		return nil
	}
	return d.programs.start(d.directory, manager, nil,
		"--kubeconfig="+c.kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0",
		"--controllers=garbage-collector-controller,namespace-controller,serviceaccount-controller,clusterrole-aggregation-controller")
}

func (c *cluster) stop() error {
	if c.environment == nil {
		return nil
	}
	if err := c.environment.Stop(); err != nil {
		return fmt.Errorf("stop etcd and kube-apiserver: %w", err)
	}
	return nil
}

// writeKubeconfig writes a kubeconfig for the administrator, or for one who
// acts as a service account of the namespace and so has its rights only.
func (d *demo) writeKubeconfig(name, serviceAccount string) (string, error) {
	config, err := clientcmd.Load(d.cluster.environment.KubeConfig)
	if err != nil {
		return "", err
	}
	if serviceAccount != "" {
		for _, user := range config.AuthInfos {
			user.Impersonate = "system:serviceaccount:" + namespace + ":" + serviceAccount
		}
	}
	for _, context := range config.Contexts {
		context.Namespace = namespace
	}
	path := filepath.Join(d.directory, name+".kubeconfig")
	return path, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: config.Clusters, AuthInfos: config.AuthInfos, Contexts: config.Contexts, CurrentContext: config.CurrentContext,
	}, path)
}

// install applies the definition, and the roles as on a cluster.
func (d *demo) install(ctx context.Context) error {
	if _, err := d.kubectl(ctx, "create", "namespace", namespace); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "apply", "-k", "config/crd"); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "wait", "--for=condition=Established", "--timeout=60s", "crd/samltenants.sso.cequence.cloud"); err != nil {
		return err
	}
	return d.applyOverlay(ctx, "rbac", "namespace: "+namespace+"\n", "config/rbac")
}

// applyOverlay applies a directory of the repository with a kustomization
// around it.
func (d *demo) applyOverlay(ctx context.Context, name, kustomization, base string) error {
	overlay := filepath.Join(d.directory, name)
	if err := os.Mkdir(overlay, 0o700); err != nil {
		return err
	}
	relative, err := relativePath(overlay, base)
	if err != nil {
		return err
	}
	kustomization += "resources:\n- " + relative + "\n"
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		return err
	}
	_, err = d.kubectl(ctx, "apply", "-k", overlay)
	return err
}

// relativePath is what kustomize wants: it takes no absolute ones.
func relativePath(from, to string) (string, error) {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return "", err
	}
	to, err = filepath.Abs(to)
	if err != nil {
		return "", err
	}
	if to, err = filepath.EvalSymlinks(to); err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}
