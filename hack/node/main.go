//go:build linux

// Command node runs a Kubernetes node on this machine: etcd, the control
// plane, kubelet with containerd, kube-proxy and CoreDNS, in network, mount and
// process namespaces and below a cgroup of its own. It needs root and nothing
// from a registry: images are loaded from archives. What it writes is below
// -state, and all of the rest goes with its processes.
//
// Its network has no way out, and the machine none in but this command's exec.
// Nodes with different names run beside each other.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
	// exitCannot says that this machine cannot have a node, which is no failure
	// of the node.
	exitCannot = 77
)

// cannot says why this machine cannot have a node, and what to do about it.
type cannot string

func (c cannot) Error() string { return string(c) }

const usage = `usage: node [flags] COMMAND

  up [-images DIR]     start the node, and load the image archives of DIR (out/images)
  down                 end it, and remove everything but its logs
  status               what runs
  check                whether this machine can have a node
  exec [-publish PORT,...] COMMAND...
                       run a command in its network, with KUBECONFIG and kubectl;
                       meanwhile ports of the node are this machine's as well
  load ARCHIVE...      load images
  stop|start|kill PROGRAM...
                       one of etcd, kube-apiserver, containerd,
                       kube-controller-manager, kube-scheduler, kubelet,
                       kube-proxy, coredns; one that is killed comes back by
                       itself

Exit status: 1 if it failed, 2 for a wrong command line, 77 if this machine
cannot have a node.

`

// node is one on this machine.
type node struct {
	// name of the network namespace and the cgroup.
	name string
	// state and binaries are directories, absolute.
	state    string
	binaries string
}

func (n node) path(elements ...string) string {
	return filepath.Join(append([]string{n.state}, elements...)...)
}

// kubeconfig is the administrator's.
func (n node) kubeconfig() string { return n.path("kubeconfig") }

func main() {
	name := flag.String("name", or(os.Getenv("NODE_NAME"), "saml-node"), "name of the network namespace and the cgroup (NODE_NAME)")
	state := flag.String("state", "out/node", "directory for all that it writes")
	binaries := flag.String("binaries", or(os.Getenv("KUBEBUILDER_ASSETS"), "bin/kubernetes"), "directory of the Kubernetes binaries (KUBEBUILDER_ASSETS)")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	n := node{name: *name}
	err := func() (err error) {
		if n.state, err = filepath.Abs(*state); err != nil {
			return err
		}
		if n.binaries, err = filepath.Abs(*binaries); err != nil {
			return err
		}
		return n.run(flag.Arg(0), flag.Args()[min(1, flag.NArg()):])
	}()
	os.Exit(status(err))
}

// status says what went wrong and returns the exit status.
func status(err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if status, ok := errors.AsType[commandStatus](err); ok {
		return int(status) // it has said why
	}
	fmt.Fprintf(os.Stderr, "node: %v\n", err)
	if _, ok := errors.AsType[cannot](err); ok {
		return exitCannot
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// usageError is an error of the command line.
type usageError string

func (e usageError) Error() string { return string(e) + `; "node -h" lists the commands` }

func (n node) run(command string, args []string) error {
	if err := n.validate(); err != nil {
		return err
	}
	switch command {
	case "up":
		flags := flag.NewFlagSet("node up", flag.ContinueOnError)
		images := flags.String("images", "out/images", "directory with image archives (*.tar)")
		if err := flags.Parse(args); err != nil {
			return err
		}
		if flags.NArg() > 0 {
			return usageError("up takes no arguments")
		}
		return n.up(*images)
	case "check":
		if err := checkMachine(); err != nil {
			return err
		}
		return n.checkState()
	case "down":
		return n.down()
	case "status":
		return n.printStatus(os.Stdout)
	case "exec":
		flags := flag.NewFlagSet("node exec", flag.ContinueOnError)
		ports := flags.String("publish", "", "comma-separated ports of the node that this machine has at 127.0.0.1 while the command runs")
		if err := flags.Parse(args); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			return usageError("say what to run")
		}
		if *ports != "" {
			return n.publish(*ports, flags.Args())
		}
		return n.exec(flags.Args())
	case "load":
		if len(args) == 0 {
			return usageError("say which archives to load")
		}
		return n.load(args...)
	case "stop", "start", "kill":
		if len(args) == 0 {
			return usageError("say which program to " + command)
		}
		return n.control(command, args...)
	// What the node's own processes do.
	case "init":
		return n.init()
	case "supervise":
		return n.supervise()
	case "probe":
		return probe()
	case "":
		return usageError("say what to do")
	default:
		return usageError(fmt.Sprintf("unknown command %q", command))
	}
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
