//go:build linux

package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/keyutil"
)

func testNode(t *testing.T) node {
	t.Helper()
	return node{name: "test", state: t.TempDir(), binaries: t.TempDir()}
}

func readCertificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return parseCertificate(t, content)
}

func parseCertificate(t *testing.T, content []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(content)
	require.NotNil(t, block)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return certificate
}

func TestServersHaveTheirNames(t *testing.T) {
	n := testNode(t)
	require.NoError(t, n.writePKI())
	roots := x509.NewCertPool()
	roots.AddCert(readCertificate(t, n.path("pki", "ca.crt")))
	for file, names := range map[string][]string{
		"apiserver": {"10.99.0.1", "10.96.0.1", "127.0.0.1", "kubernetes.default.svc", "localhost"},
		"kubelet":   {"10.99.0.1", "node"},
	} {
		certificate := readCertificate(t, n.path("pki", file+".crt"))
		for _, name := range names {
			_, err := certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
			assert.NoError(t, err, "%s as %s", file, name)
		}
	}
}

func TestClientsAreWhoRBACKnows(t *testing.T) {
	n := testNode(t)
	require.NoError(t, n.writePKI())
	roots := x509.NewCertPool()
	roots.AddCert(readCertificate(t, n.path("pki", "ca.crt")))
	for file, want := range map[string]string{
		"kubeconfig":                             "administrator system:masters",
		"pki/kube-controller-manager.kubeconfig": "system:kube-controller-manager ",
		"pki/kube-scheduler.kubeconfig":          "system:kube-scheduler ",
		"pki/kubelet.kubeconfig":                 "system:node:node system:nodes",
		"pki/kube-proxy.kubeconfig":              "system:kube-proxy ",
		"pki/coredns.kubeconfig":                 "coredns ",
	} {
		config, err := clientcmd.BuildConfigFromFlags("", n.path(file))
		require.NoError(t, err)
		assert.Equal(t, "https://10.99.0.1:6443", config.Host)
		certificate := parseCertificate(t, config.CertData)
		_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		assert.NoError(t, err, file)
		assert.Equal(t, want, certificate.Subject.CommonName+" "+strings.Join(certificate.Subject.Organization, ","))
		info, err := os.Stat(n.path(file))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
	}
}

// The API server reads them by these functions.
func TestServiceAccountKeysAreReadable(t *testing.T) {
	n := testNode(t)
	require.NoError(t, n.writePKI())
	_, err := keyutil.PrivateKeyFromFile(n.path("pki", "service-accounts.key"))
	require.NoError(t, err)
	public, err := keyutil.PublicKeysFromFile(n.path("pki", "service-accounts.crt"))
	require.NoError(t, err)
	assert.Len(t, public, 1)
}

func TestFilesHaveTheNodesSettings(t *testing.T) {
	n := testNode(t)
	require.NoError(t, n.writeFiles())
	for file, want := range map[string]string{
		"kubelet.yaml":      "cgroupRoot: /test\n",
		"kube-proxy.yaml":   "clusterCIDR: 10.244.0.0/24\n",
		"containerd.toml":   `conf_dir = "` + n.state + `/cni"`,
		"Corefile":          "bind 10.99.0.1\n",
		"cni/pods.conflist": `"subnet": "10.244.0.0/24"`,
	} {
		content, err := os.ReadFile(n.path(file))
		require.NoError(t, err)
		assert.Contains(t, string(content), want, file)
	}
	manifest, err := n.file("cluster.yaml")
	require.NoError(t, err)
	assert.Equal(t, volumes, strings.Count(string(manifest), "kind: PersistentVolume\n"))
	for _, volume := range n.settings().Volumes {
		assert.DirExists(t, n.path("lib", "volumes", volume))
	}
}

func TestRefusedSettingsSayWhy(t *testing.T) {
	for want, n := range map[string]node{
		"lower-case letters, digits and dashes": {name: "../x", state: "/tmp/x", binaries: "/tmp/y"},
		"/var/lib/x is below /var/lib":          {name: "x", state: "/var/lib/x", binaries: "/tmp/y"},
		"/run is below /run":                    {name: "x", state: "/tmp/x", binaries: "/run"},
	} {
		err := n.validate()
		assert.ErrorContains(t, err, want)
		assert.Equal(t, exitUsage, status(err))
	}
	assert.NoError(t, node{name: "x", state: "/var/library", binaries: "/running"}.validate())
}

func TestExitStatusTellsCannotFromFailed(t *testing.T) {
	assert.Equal(t, 77, status(cannot("no root")))
	assert.Equal(t, 1, status(os.ErrNotExist))
	assert.Equal(t, 0, status(nil))
	assert.Equal(t, 5, status(commandStatus(5)))
}

// What is not the node's stays, whatever directory it was given.
func TestDownRemovesOnlyWhatUpHasWritten(t *testing.T) {
	n := testNode(t)
	require.NoError(t, n.writePKI())
	require.NoError(t, n.writeFiles())
	require.NoError(t, os.WriteFile(n.path("thesis.txt"), nil, 0o600))
	require.NoError(t, n.removeState())
	entries, err := os.ReadDir(n.state)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	assert.Equal(t, []string{"log", "thesis.txt"}, names)
}

// supervised starts a supervisor of one shell script.
func supervised(t *testing.T, script string) node {
	t.Helper()
	n := testNode(t)
	s := newSupervisor()
	log, err := os.Create(filepath.Join(n.state, "log"))
	require.NoError(t, err)
	s.add(program{name: "script", path: "/bin/sh", args: []string{"-c", script}}, log)
	go func() { _ = s.serve(n) }() // it ends with the test's process
	require.Eventually(t, func() bool { _, err := n.report(); return err == nil }, 10*time.Second, 10*time.Millisecond)
	t.Cleanup(func() { assert.NoError(t, n.control("stop", "script")) })
	return n
}

func awaitScript(t *testing.T, n node, condition func(programReport) bool) programReport {
	t.Helper()
	var last programReport
	require.Eventually(t, func() bool {
		r, err := n.report()
		require.NoError(t, err)
		last = r.Programs[0]
		return condition(last)
	}, 20*time.Second, 10*time.Millisecond)
	return last
}

func TestProgramThatIsKilledComesBack(t *testing.T) {
	n := supervised(t, "exec sleep 3600")
	require.NoError(t, n.control("start", "script"))
	first := awaitScript(t, n, func(p programReport) bool { return p.Running })
	require.NoError(t, n.control("kill", "script"))
	second := awaitScript(t, n, func(p programReport) bool { return p.Running && p.PID != first.PID })
	assert.Equal(t, 1, second.Restarts)
}

func TestProgramThatIsStoppedStaysStopped(t *testing.T) {
	n := supervised(t, "exec sleep 3600")
	assert.ErrorContains(t, n.control("kill", "script"), "does not run")
	require.NoError(t, n.control("start", "script"))
	awaitScript(t, n, func(p programReport) bool { return p.Running })
	require.NoError(t, n.control("stop", "script"))
	stopped := awaitScript(t, n, func(programReport) bool { return true })
	assert.False(t, stopped.Running, "stop returns when the program has ended")
	assert.Zero(t, stopped.Restarts)
	time.Sleep(2 * restartDelay) // nothing to wait for is the point
	assert.False(t, awaitScript(t, n, func(programReport) bool { return true }).Running)
	require.NoError(t, n.control("start", "script"))
	awaitScript(t, n, func(p programReport) bool { return p.Running })
}

func TestUnknownProgramIsRefused(t *testing.T) {
	n := supervised(t, "exec sleep 3600")
	assert.ErrorContains(t, n.control("stop", "kublet"), "the node has no program named kublet")
}

func TestWithoutANodeItSaysSo(t *testing.T) {
	n := testNode(t)
	assert.ErrorContains(t, n.control("stop", "etcd"), "no node is up with its state in "+n.state)
	n.state = n.path("missing")
	assert.ErrorContains(t, n.printStatus(os.Stdout), "run node up")
}
