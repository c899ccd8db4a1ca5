//go:build linux

package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

// The node's addresses. They are in its own network namespace, so that two
// nodes have the same.
const (
	nodeName       = "node"
	nodeAddress    = "10.99.0.1"
	podNetwork     = "10.244.0.0/24"
	serviceNetwork = "10.96.0.0/16"
	apiService     = "10.96.0.1"
	pauseImage     = "registry.k8s.io/pause:3.10"
	// volumes is how many PersistentVolumes there are.
	volumes = 16
)

// program is one that makes up the node.
type program struct {
	name string
	path string
	args []string
	// early ones are there before the others start.
	early bool
}

// programs returns what runs, in the order in which it is started.
func (n node) programs() []program {
	pki := func(file string) string { return n.path("pki", file) }
	kubernetes := func(name string, args ...string) program {
		return program{name: name, path: filepath.Join(n.binaries, name), args: args}
	}
	early := func(p program) program {
		p.early = true
		return p
	}
	return []program{
		early(kubernetes("etcd",
			"--name=node", "--data-dir="+n.path("etcd"),
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=node=http://127.0.0.1:2380",
			// Its data need not outlive the machine.
			"--unsafe-no-fsync")),
		early(kubernetes("kube-apiserver",
			"--etcd-servers=http://127.0.0.1:2379", "--advertise-address="+nodeAddress, "--secure-port=6443",
			"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"), "--client-ca-file="+pki("ca.crt"),
			"--service-cluster-ip-range="+serviceNetwork,
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file="+pki("service-accounts.crt"), "--service-account-signing-key-file="+pki("service-accounts.key"),
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--kubelet-certificate-authority="+pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
			"--kubelet-client-certificate="+pki("apiserver-kubelet.crt"), "--kubelet-client-key="+pki("apiserver-kubelet.key"))),
		early(program{name: "containerd", path: "containerd", args: []string{"--config=" + n.path("containerd.toml")}}),
		kubernetes("kube-controller-manager",
			"--kubeconfig="+pki("kube-controller-manager.kubeconfig"), "--leader-elect=false", "--use-service-account-credentials",
			"--service-account-private-key-file="+pki("service-accounts.key"), "--root-ca-file="+pki("ca.crt")),
		kubernetes("kube-scheduler", "--kubeconfig="+pki("kube-scheduler.kubeconfig"), "--leader-elect=false"),
		kubernetes("kubelet",
			"--config="+n.path("kubelet.yaml"), "--kubeconfig="+pki("kubelet.kubeconfig"),
			"--hostname-override="+nodeName, "--node-ip="+nodeAddress),
		kubernetes("kube-proxy", "--config="+n.path("kube-proxy.yaml")),
		kubernetes("coredns", "-conf="+n.path("Corefile")),
	}
}

//go:embed files
var files embed.FS

// settings are what the files are written with.
type settings struct {
	Name, State, CNI, Pause, Address, PodNetwork string
	Volumes                                      []string
}

func (n node) settings() settings {
	s := settings{
		Name: n.name, State: n.state, CNI: pluginDirectory(), Pause: pauseImage, Address: nodeAddress, PodNetwork: podNetwork,
	}
	for i := range volumes {
		s.Volumes = append(s.Volumes, fmt.Sprintf("volume-%02d", i+1))
	}
	return s
}

// file returns one of files/ with the node's settings.
func (n node) file(name string) ([]byte, error) {
	t, err := template.ParseFS(files, "files/"+name)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	err = t.Execute(&content, n.settings())
	return content.Bytes(), err
}

// writeFiles writes what the programs read at their start, and makes the
// directories that they find.
func (n node) writeFiles() error {
	for _, dir := range []string{"cni", "log", "lib"} {
		if err := os.MkdirAll(n.path(dir), 0o755); err != nil {
			return err
		}
	}
	for _, volume := range n.settings().Volumes {
		if err := os.MkdirAll(n.path("lib", "volumes", volume), 0o755); err != nil {
			return err
		}
	}
	for _, f := range []struct{ name, path string }{
		{"containerd.toml", "containerd.toml"},
		{"kubelet.yaml", "kubelet.yaml"},
		{"kube-proxy.yaml", "kube-proxy.yaml"},
		{"Corefile", "Corefile"},
		{"pods.conflist", "cni/pods.conflist"},
	} {
		content, err := n.file(f.name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.path(f.path), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
