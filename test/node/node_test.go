//go:build node

// Package node_test starts a Kubernetes node on this machine, breaks it, and
// ends it. It needs root and what `make node-test` builds before.
package node_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	name = "saml-node-test"
	// port of the node that this machine has for a moment.
	port = "18443"
)

// node is the command, with a state directory.
type node struct {
	t     *testing.T
	state string
}

func (n node) command(args ...string) *exec.Cmd {
	command := exec.Command("bin/node", append([]string{"-name=" + name, "-state=" + n.state}, args...)...)
	command.Dir = "../.."
	return command
}

func (n node) try(args ...string) (string, error) {
	output, err := n.command(args...).CombinedOutput()
	return string(output), err
}

func (n node) run(args ...string) string {
	n.t.Helper()
	output, err := n.try(args...)
	require.NoError(n.t, err, "node %s:\n%s", strings.Join(args, " "), output)
	return output
}

func (n node) kubectl(args ...string) string {
	n.t.Helper()
	return n.run(append([]string{"exec", "kubectl", "--request-timeout=30s"}, args...)...)
}

// traces of the node on this machine. A cgroup with a process in it cannot be
// removed, so without cgroups there are no processes either.
func (n node) traces() []string {
	n.t.Helper()
	var found []string
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(n.t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, name) || strings.Contains(line, n.state) {
			found = append(found, "mount "+line)
		}
	}
	if _, err := os.Lstat("/run/netns/" + name); err == nil {
		found = append(found, "network namespace")
	}
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == name {
			found = append(found, "cgroup "+path)
		}
		return nil // those of others come and go
	})
	require.NoError(n.t, err)
	for pid, command := range processes(n.t) {
		if strings.Contains(command, n.state) {
			found = append(found, fmt.Sprintf("process %d %s", pid, command))
		}
	}
	for _, file := range []string{"lib", "pki", "etcd", "kubeconfig", "control.sock"} {
		if _, err := os.Lstat(filepath.Join(n.state, file)); err == nil {
			found = append(found, "file "+file)
		}
	}
	return found
}

// processes of this machine and their command lines.
func processes(t *testing.T) map[int]string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	found := map[int]string{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if content, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline")); err == nil {
			found[pid] = string(bytes.ReplaceAll(content, []byte{0}, []byte{' '}))
		}
	}
	return found
}

// crash kills the first process of the node, and with it all others.
func (n node) crash() {
	n.t.Helper()
	for pid, command := range processes(n.t) {
		if strings.Contains(command, "-state="+n.state+" ") && strings.HasSuffix(command, " init ") {
			require.NoError(n.t, syscall.Kill(pid, syscall.SIGKILL))
			return
		}
	}
	require.Fail(n.t, "the node's first process was not found")
}

// pod asks for a volume and is as restricted as ours are.
const pod = `apiVersion: v1
kind: Namespace
metadata:
  name: trial
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: trial}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: waits, namespace: trial}
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: waits
    image: registry.k8s.io/pause:3.10
    imagePullPolicy: Never
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`

func (n node) runPod() {
	n.t.Helper()
	file := filepath.Join(n.t.TempDir(), "pod.yaml")
	require.NoError(n.t, os.WriteFile(file, []byte(pod), 0o600))
	// A namespace has its default account, which pods need, a moment later.
	require.EventuallyWithT(n.t, func(t *assert.CollectT) {
		output, err := n.try("exec", "kubectl", "apply", "-f", file)
		assert.NoError(t, err, output)
	}, time.Minute, time.Second)
	n.kubectl("wait", "--namespace=trial", "--for=condition=Ready", "--timeout=120s", "pod/waits")
}

func TestNodeComesAndGoesWithoutATrace(t *testing.T) {
	n := node{t: t, state: t.TempDir()}
	t.Cleanup(func() { _, _ = n.try("down") })
	require.Empty(t, n.traces(), "of an earlier run; bin/node -name="+name+" down")

	n.run("up")
	n.runPod()
	assert.Equal(t, "65532", volumeGroup(t, n), "the pod's group may write to its volume")

	// Another checkout's node of the same name is left alone.
	other := node{t: t, state: t.TempDir()}
	for _, command := range []string{"up", "down"} {
		output, err := other.try(command)
		require.Error(t, err)
		assert.Contains(t, output, "choose another name by NODE_NAME")
	}
	renamed := n.command("down")
	renamed.Args[1] = "-name=" + name + "-2"
	output, err := renamed.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(output), "choose another directory by -state")
	n.kubectl("get", "nodes")

	n.run("stop", "kube-apiserver")
	_, err = n.try("exec", "kubectl", "get", "--raw=/readyz")
	require.Error(t, err)
	n.run("start", "kube-apiserver")
	n.run("kill", "kubelet", "containerd")
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		output, err := n.try("exec", "kubectl", "get", "--raw=/readyz")
		assert.NoError(t, err, output)
	}, 2*time.Minute, time.Second)
	n.kubectl("wait", "--namespace=trial", "--for=condition=Ready", "--timeout=120s", "pod/waits")

	n.crash()
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		output, err := n.try("status")
		assert.Error(t, err)
		assert.Contains(t, output, "no node is up")
	}, time.Minute, 100*time.Millisecond)
	n.run("up")
	n.runPod()

	n.run("down")
	assert.Empty(t, n.traces())
	assert.FileExists(t, filepath.Join(n.state, "log", "kubelet.log"), "logs are for afterwards")
	n.run("down")
}

// volumeGroup returns the group of the volume that the pod has.
func volumeGroup(t *testing.T, n node) string {
	t.Helper()
	volume := n.kubectl("get", "--namespace=trial", "pvc/data", "--output=jsonpath={.spec.volumeName}")
	info, err := os.Stat(filepath.Join(n.state, "lib", "volumes", volume))
	require.NoError(t, err)
	return strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Gid), 10)
}

func TestCommandsInTheNodesNetwork(t *testing.T) {
	n := node{t: t, state: t.TempDir()}
	t.Cleanup(func() { _, _ = n.try("down") })
	n.run("up")

	for _, args := range [][]string{{"exec"}, {"exec", "-publish=" + port}} {
		output, err := n.try(append(args, "sh", "-c", "echo $NODE_ADDRESS; exit 5")...)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 5, exit.ExitCode(), "the command's own status")
		assert.Equal(t, "10.99.0.1\n", output)
	}

	command := n.command("exec", "-publish="+port, "kubectl", "proxy", "--address=10.99.0.1", "--port="+port, "--accept-hosts=.*")
	require.NoError(t, command.Start())
	client := http.Client{Timeout: 10 * time.Second}
	assert.EventuallyWithT(t, func(t *assert.CollectT) {
		response, err := client.Get("http://127.0.0.1:" + port + "/readyz")
		if assert.NoError(t, err) {
			_ = response.Body.Close()
			assert.Equal(t, http.StatusOK, response.StatusCode)
		}
	}, time.Minute, 100*time.Millisecond)
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	_ = command.Wait() // however kubectl takes it
	_, err := net.Dial("tcp", "127.0.0.1:"+port)
	assert.Error(t, err, "the port goes with the command")
}
