//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namePattern fits file names and interface names alike.
var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// hidden are the machine's directories that the node has others at.
var hidden = []string{"/run", "/var/run", "/var/lib", "/var/log"}

// validate refuses names and directories with which a node would not work.
func (n node) validate() error {
	if !namePattern.MatchString(n.name) {
		return usageError(fmt.Sprintf("-name: %q is not up to 40 lower-case letters, digits and dashes", n.name))
	}
	for _, dir := range []string{n.state, n.binaries} {
		for _, h := range hidden {
			if strings.HasPrefix(dir+"/", h+"/") {
				return usageError(fmt.Sprintf("%s is below %s, which the node hides behind its own; use another directory", dir, h))
			}
		}
	}
	return nil
}

// packages of Debian, and a program of each.
var packages = []struct{ name, program string }{
	{"containerd", "containerd"},
	{"containerd", "containerd-shim-runc-v2"},
	{"containerd", "ctr"},
	{"iproute2", "ip"},
	{"nftables", "nft"},
	{"runc", "runc"},
}

// pluginDirectory is where the network plugins are: where Debian puts them, or
// where their own releases do.
func pluginDirectory() string {
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(dir, "ptp")); err == nil {
			return dir
		}
	}
	return ""
}

// checkMachine says whether this machine can have a node.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return cannot("a node needs root: run this as root, or use any cluster that KUBECONFIG names")
	}
	missing := map[string]bool{}
	for _, p := range packages {
		if _, err := exec.LookPath(p.program); err != nil {
			missing[p.name] = true
		}
	}
	if pluginDirectory() == "" {
		missing["containernetworking-plugins"] = true
	}
	if len(missing) > 0 {
		return cannot("missing programs: run hack/install-node-packages.sh, which on Debian installs them: " + strings.Join(sorted(missing), " "))
	}
	if err := checkCgroups(); err != nil {
		return err
	}
	var stderr strings.Builder
	command := exec.Command("/proc/self/exe", "probe")
	command.Stderr = &stderr
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC}
	if err := command.Run(); err != nil {
		if stderr.Len() == 0 {
			return cannot(fmt.Sprintf("this machine does not let root make namespaces, as in a container without privileges: %v", err))
		}
		return cannot(strings.TrimPrefix(strings.TrimSpace(stderr.String()), "node: "))
	}
	return nil
}

// checkState says whether images can be unpacked below the state.
func (n node) checkState() error {
	if err := os.MkdirAll(n.state, 0o755); err != nil {
		return err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(n.state, &s); err != nil {
		return err
	}
	if s.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return cannot(n.state + " is on overlayfs, as a container has it, and cannot be the ground of another: mount a volume there, or use -state")
	}
	return nil
}

// checkBinaries says whether the programs have been built.
func (n node) checkBinaries() error {
	for _, p := range n.programs() {
		if filepath.IsAbs(p.path) {
			if _, err := os.Stat(p.path); err != nil {
				return fmt.Errorf("%s is missing: run make kubernetes-node", p.path)
			}
		}
	}
	return nil
}

// probe runs in namespaces of its own and does what a node has to.
func probe() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("this machine does not let root mount, as in a container without privileges: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("this machine does not let root mount, as in a container without privileges: %w", err)
	}
	for _, dir := range []string{"/run/lower", "/run/upper", "/run/work", "/run/merged"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", "/run/merged", "overlay", 0, "lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work"); err != nil {
		return fmt.Errorf("the kernel has no overlayfs, which containerd needs: %w", err)
	}
	if output, err := exec.Command("nft", "add", "table", "ip", "probe").CombinedOutput(); err != nil {
		return fmt.Errorf("the kernel has no nftables, which kube-proxy needs: %w\n%s", err, output)
	}
	return nil
}
