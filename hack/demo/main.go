// Command demo runs the whole job on this machine: etcd, kube-apiserver and
// kube-controller-manager, the operator, the gateway, an application and two
// identity providers on free loopback ports. It applies config/samples, waits
// until the tenants are ready, says what to open, and cleans up after itself.
// With -check it plays the person, too, and exits.
//
// With -node operator and gateway are pods instead, as config/default has them,
// on the node in whose network the demo runs.
//
// It runs from the root of the repository, with the programs that "make demo"
// builds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// startTimeout bounds everything up to tenants that are ready.
const startTimeout = 3 * time.Minute

func main() {
	check := flag.Bool("check", false, "sign in, report each step, and exit")
	node := flag.Bool("node", false, "use the node in whose network this runs")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *check, *node)
	stop()
	// Ctrl-C is how a person ends the demo, and no end for a check.
	if err != nil && (*check || !errors.Is(err, context.Canceled)) {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

// demo is what has been started so far.
type demo struct {
	directory string
	onNode    bool
	// address at which the peers listen.
	address   string
	cluster   *cluster
	providers []provider
	app       *application
	gateway   string // base domain and port
	operator  string // where the operator is asked for refreshes
	programs  programs
	started   time.Time
}

func run(ctx context.Context, check, node bool) (err error) {
	directory, err := os.MkdirTemp("", "saml-operator-demo-")
	if err != nil {
		return err
	}
	d := &demo{directory: directory, onNode: node, address: "127.0.0.1", started: time.Now(), programs: programs{failed: make(chan error, 8)}}
	defer func() {
		if err == nil || errors.Is(err, context.Canceled) {
			fmt.Println("\nStopping and cleaning up.")
		}
		err = errors.Join(err, d.stop())
	}()
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, step := range d.steps() {
		if err := d.step(starting, step.what, step.run); err != nil {
			return err
		}
	}
	if err := d.report(ctx); err != nil {
		return err
	}
	if check {
		return d.check(ctx)
	}
	d.invite()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-d.programs.failed:
		return err
	}
}

// step is one of those that lead to tenants that are ready.
type step struct {
	what string
	run  func(context.Context) error
}

func (d *demo) steps() []step {
	peers := step{"Start two identity providers and the application", d.startPeers}
	samples := []step{
		{"Apply config/samples with the metadata URLs of these identity providers", d.applySamples},
		{"Wait until the tenants are ready", d.waitReady},
	}
	if d.onNode {
		return append(append([]step{
			{"Take the node", d.useNode},
			peers,
			{"Apply config/default and wait until its pods are ready", d.installOnNode},
		}, samples...), step{"Wait until the gateway's port leads to its new pod", d.awaitNodePort})
	}
	return append([]step{
		{"Start etcd, kube-apiserver and kube-controller-manager", d.startCluster},
		{"Install the CustomResourceDefinition and the roles", d.install},
		peers,
		{"Start the operator", d.startOperator},
		{"Start the gateway", d.startGateway},
	}, samples...)
}

// step runs one step and shows that it works, and then how long it took.
func (d *demo) step(ctx context.Context, what string, run func(context.Context) error) error {
	fmt.Printf("%-74s ", what+" …")
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	var err error
	select {
	case err = <-done:
	case err = <-d.programs.failed:
	}
	if err != nil {
		fmt.Println("failed")
		return fmt.Errorf("%s: %w", strings.ToLower(what[:1])+what[1:], err)
	}
	fmt.Printf("ok %5.1f s\n", time.Since(start).Seconds())
	return nil
}

func (d *demo) stop() error {
	err := d.programs.stop()
	if d.onNode && d.cluster != nil {
		// What ended the demo does not end this.
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		err = errors.Join(err, d.uninstall(ctx))
	}
	for _, p := range d.providers {
		p.server.Close()
	}
	if d.app != nil {
		d.app.server.Close()
	}
	if d.cluster != nil {
		err = errors.Join(err, d.cluster.stop())
	}
	return errors.Join(err, os.RemoveAll(d.directory))
}

// kubectl runs the real kubectl as the cluster's administrator.
func (d *demo) kubectl(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, filepath.Join(d.cluster.binaries, "kubectl"), args...) //nolint:gosec // arguments are ours
	command.Env = append(os.Environ(), "KUBECONFIG="+d.cluster.kubeconfig)
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return string(output), nil
}

// report shows what happened, by the commands that a person would use.
func (d *demo) report(ctx context.Context) error {
	for _, args := range [][]string{
		{"get", "samltenants"},
		{"get", "events", "--field-selector=involvedObject.name=acme", "--sort-by=.metadata.creationTimestamp",
			"--output=custom-columns=TYPE:.type,REASON:.reason,MESSAGE:.message"},
		{"get", "secrets"},
	} {
		output, err := d.kubectl(ctx, args...)
		if err != nil {
			return err
		}
		fmt.Printf("\n$ kubectl %s\n%s", strings.Join(args, " "), output)
	}
	return nil
}

func (d *demo) invite() {
	fmt.Printf("\nReady after %.0f s. Open, and let the browser accept the demo's certificates:\n\n", time.Since(d.started).Seconds())
	for _, p := range d.providers {
		fmt.Printf("  https://%s.%s/   user %s, password %s\n", p.tenant, d.gateway, p.user.Name, p.user.Password)
	}
	fmt.Printf("\nLook around with kubectl in another terminal:\n\n")
	if d.onNode {
		fmt.Printf("  bin/node exec kubectl -n %[1]s get samltenants,pods\n  bin/node exec kubectl -n %[1]s describe samltenant acme\n", namespace)
	} else {
		fmt.Printf("  export KUBECONFIG=%s\n  %s describe samltenant acme\n", d.cluster.kubeconfig, filepath.Join(d.cluster.binaries, "kubectl"))
	}
	fmt.Print("\nCtrl-C stops everything.\n")
}
