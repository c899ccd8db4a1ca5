//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// up starts the node, loads images and returns when pods can run. A node that
// is up stays; what a crash has left is removed first.
func (n node) up(images string) error {
	archives, err := archivesIn(images)
	if err != nil {
		return err
	}
	began := time.Now()
	step := func(what string) { fmt.Printf("%6.1f s  %s\n", time.Since(began).Seconds(), what) }
	if r, err := n.report(); err == nil && r.Node == n.name {
		step("the node " + n.name + " is up already")
		return n.furnish(nil, archives, step)
	}
	for _, prepare := range []func() error{checkMachine, n.checkState, n.checkBinaries, n.down} {
		if err := prepare(); err != nil {
			return err
		}
	}
	ended, err := n.start()
	if err == nil {
		step("started etcd, the control plane and containerd")
		err = n.furnish(ended, archives, step)
	}
	if err != nil {
		return errors.Join(err, n.down())
	}
	return nil
}

// start starts the node's first process, and so all others. The returned
// channel is closed when it ends.
func (n node) start() (<-chan struct{}, error) {
	if err := os.RemoveAll(n.path("log")); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(n.state, 0o755); err != nil {
		return nil, err
	}
	for _, prepare := range []func() error{n.writePKI, n.writeFiles, n.makeCgroups} {
		if err := prepare(); err != nil {
			return nil, err
		}
	}
	return n.startInit()
}

// furnish gives a node that has been started what it has beside Kubernetes. It
// may be done again.
func (n node) furnish(ended <-chan struct{}, archives []string, step func(string)) error {
	if err := n.awaitReady(ended); err != nil {
		return err
	}
	step("the API server is ready")
	if err := n.load(archives...); err != nil {
		return err
	}
	manifest, err := n.file("cluster.yaml")
	if err != nil {
		return err
	}
	if err := os.WriteFile(n.path("cluster.yaml"), manifest, 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"kubectl", "apply", "-f", n.path("cluster.yaml")},
		{"kubectl", "wait", "--for=create", "--timeout=180s", "node/" + nodeName},
		{"kubectl", "wait", "--for=condition=Ready", "--timeout=180s", "node/" + nodeName},
		// A pod needs the account.
		{"kubectl", "wait", "--for=create", "--timeout=60s", "serviceaccount/default", "--namespace=default"},
	} {
		if err := n.command(args...); err != nil {
			return err
		}
	}
	step("the node is ready")
	return nil
}

// startAttempts is how often a program may end before that is a failure.
const startAttempts = 3

// awaitReady waits until the supervisor has started all programs.
func (n node) awaitReady(ended <-chan struct{}) error {
	for deadline := time.Now().Add(startTimeout); ; {
		r, err := n.report()
		if err == nil && r.Ready {
			return nil
		}
		for _, p := range r.Programs {
			if !p.Running && p.Restarts >= startAttempts {
				return fmt.Errorf("%s ends again and again; its last words:\n%s", p.Name, lastLines(n.path("log", p.Name+".log")))
			}
		}
		select {
		case <-ended:
			return fmt.Errorf("the node ended; its last words:\n%s", lastLines(n.path("log", "node.log")))
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return errors.New("the API server or containerd does not answer; the logs are in " + n.path("log"))
		}
	}
}

// archivesIn returns the image archives of a directory.
func archivesIn(dir string) ([]string, error) {
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err == nil && len(archives) == 0 {
		err = fmt.Errorf("%s has no image archives (*.tar): run make node-up, which builds them", dir)
	}
	return archives, err
}

// down ends the node, if there is one, and removes everything but its logs.
func (n node) down() error {
	if os.Geteuid() != 0 {
		return cannot("a node needs root: run this as root")
	}
	if err := n.ours(); err != nil {
		return err
	}
	for _, end := range []func() error{n.killAll, n.removeNetwork, n.removeCgroups, n.removeState} {
		if err := end(); err != nil {
			return fmt.Errorf("end the node %s: %w", n.name, err)
		}
	}
	return nil
}

// ours refuses to touch a node of this name with other files, as of another
// checkout, and one of another name with these.
func (n node) ours() error {
	owner, err := n.owner()
	if err != nil {
		return err
	}
	if owner != "" && owner != n.state {
		if _, err := os.Stat(owner); err == nil {
			return fmt.Errorf("a node named %s is up with its state in %s: choose another name by NODE_NAME, or end it from there", n.name, owner)
		}
	}
	if r, err := n.report(); err == nil && r.Node != n.name {
		return fmt.Errorf("a node named %s is up with its state in %s: end it, or choose another directory by -state", r.Node, n.state)
	}
	return nil
}

// removeState removes what start has written, but for the logs. What else is
// in the directory is not ours.
func (n node) removeState() error {
	for _, name := range []string{
		"pki", "kubeconfig", "cni", "etcd", "lib", "containerd.toml", "kubelet.yaml", "kube-proxy.yaml", "Corefile", "cluster.yaml", socket,
	} {
		if err := os.RemoveAll(n.path(name)); err != nil {
			return err
		}
	}
	return nil
}

func lastLines(path string) []byte {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-15):], []byte("\n"))
}
