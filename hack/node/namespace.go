//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces has the network namespaces that have names.
const namespaces = "/run/netns"

// network is the node's network namespace, by which others enter it.
func (n node) network() string { return filepath.Join(namespaces, n.name) }

// startInit starts the first process of the node, in namespaces of its own. The
// returned channel is closed when it ends.
func (n node) startInit() (<-chan struct{}, error) {
	log, err := os.Create(n.path("log", "node.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(executable, "-name="+n.name, "-state="+n.state, "-binaries="+n.binaries, "init")
	command.Dir = "/"
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	failed := make(chan error, 1)
	go func() {
		// The thread has the new network namespace, and so has what it starts.
		// It ends with this function.
		runtime.LockOSThread()
		failed <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("make a network namespace: %w", err)
			}
			if err := os.MkdirAll(namespaces, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(n.network(), nil, 0o444); err != nil {
				return err
			}
			if err := unix.Mount("/proc/thread-self/ns/net", n.network(), "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("name the network namespace: %w", err)
			}
			return command.Start()
		}()
	}()
	if err := <-failed; err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait() // its log says why
		close(ended)
	}()
	return ended, nil
}

// removeNetwork takes the network namespace's name away; it goes with the last
// process in it.
func (n node) removeNetwork() error {
	err := unix.Unmount(n.network(), unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", n.network(), err)
	}
	if err := os.Remove(n.network()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_ = os.Remove(namespaces) // others may have names there
	return nil
}

// enter moves this thread into the node's network.
func (n node) enter() error {
	file, err := os.Open(n.network())
	if errors.Is(err, fs.ErrNotExist) {
		return n.notUp()
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s, which needs root: %w", n.network(), err)
	}
	return nil
}

func (n node) notUp() error { return fmt.Errorf("no node named %s is up: run node up", n.name) }

// inNetwork moves this thread into the node's network, and returns a command to
// be started from there, with kubectl in its path.
func (n node) inNetwork(args []string) (*exec.Cmd, error) {
	if err := n.enter(); err != nil {
		return nil, err
	}
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.Setenv("PATH", n.binaries+":"+filepath.Dir(executable)+":"+os.Getenv("PATH")); err != nil {
		return nil, err
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return nil, err
	}
	command := exec.Command(path, args[1:]...)
	command.Args[0] = args[0]
	command.Env = append(os.Environ(), "KUBECONFIG="+n.kubeconfig(), "NODE_NAME="+n.name, "NODE_ADDRESS="+nodeAddress)
	return command, nil
}

// exec replaces this process by a command in the node's network.
func (n node) exec(args []string) error {
	runtime.LockOSThread()
	command, err := n.inNetwork(args)
	if err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", command.Path, unix.Exec(command.Path, command.Args, command.Environ()))
}

// command is like exec, and returns.
func (n node) command(args ...string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this function
		command, err := n.inNetwork(args)
		if err != nil {
			done <- err
			return
		}
		output, err := command.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w\n%s", args[0], err, output)
		}
		done <- err
	}()
	return <-done
}

// kernelSettings are what kubelet wants of the whole kernel. It is shown them,
// and the machine keeps its own.
var kernelSettings = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// init is the first process of the node: it makes its surroundings, starts the
// supervisor, and takes care of processes whose parent has ended.
func (n node) init() error {
	if os.Getpid() != 1 {
		return usageError("init is for the node's own first process")
	}
	for _, setUp := range []func() error{n.joinCgroups, n.mount, n.configureNetwork} {
		if err := setUp(); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte(n.name)); err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	process, err := os.StartProcess(executable, append([]string{executable}, append(slices.Clone(os.Args[1:len(os.Args)-1]), "supervise")...),
		&os.ProcAttr{Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if pid == process.Pid {
			return fmt.Errorf("the supervisor ended with status %d", status.ExitStatus())
		}
	}
}

// mount gives the node a /run, /var/lib and /var/log of its own.
func (n node) mount() error {
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV},
		{n.path("log"), "/var/log", "", unix.MS_BIND},
		{n.path("lib"), "/var/lib", "", unix.MS_BIND},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for name, value := range kernelSettings {
		shown := filepath.Join("/run/kernel", name)
		if err := os.MkdirAll(filepath.Dir(shown), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(shown, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		err := unix.Mount(shown, filepath.Join("/proc/sys", name), "", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("show another %s: %w", name, err)
		}
	}
	// Volumes that a pod mounts are seen by containers, and the other way round.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// configureNetwork gives the node its address, and no way out.
func (n node) configureNetwork() error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"address", "add", nodeAddress + "/32", "dev", "lo"},
		// kube-proxy changes the destination, but only of what has a route.
		{"route", "add", serviceNetwork, "dev", "lo", "src", nodeAddress},
		// Pods that call the world learn at once that it is not there.
		{"route", "add", "unreachable", "default"},
	} {
		if output, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w\n%s", args, err, output)
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1\n"), 0o600)
}

// owner returns the state directory of the node of this name that runs, or
// "" if none does.
func (n node) owner() (string, error) {
	pids, err := n.processes()
	if err != nil {
		return "", err
	}
	for _, pid := range pids {
		content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err != nil {
			continue // it is gone
		}
		args := bytes.Split(bytes.TrimSuffix(content, []byte{0}), []byte{0})
		if string(args[len(args)-1]) != "init" {
			continue
		}
		for _, arg := range args {
			if state, ok := bytes.CutPrefix(arg, []byte("-state=")); ok {
				return string(state), nil
			}
		}
	}
	return "", nil
}
