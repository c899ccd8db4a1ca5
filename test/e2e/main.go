// Command e2e installs the product on a cluster by its manifests and proves by
// scripted sign-ins what it promises, while everything around it changes. It
// writes a line for each step and out/e2e.json. "make e2e" runs it in a node of
// its own; docs/testing/end-to-end.md says what each step proves.
//
// It exits with 0 if every step passed, 1 if one failed, 2 for a wrong command
// line, and 77 if steps could not be run here and nothing failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cequence.cloud/saml-operator/test/peers"
	"cequence.cloud/saml-operator/test/rig"
	"cequence.cloud/saml-operator/test/traffic"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
	exitNotRun = 77
)

func main() {
	var o rig.Options
	out := flag.String("out", "out/e2e.json", "file for the report")
	next := flag.String("next-tag", "", "tag of the images to upgrade to; empty to leave the upgrade out")
	previous := version{}
	flag.StringVar(&previous.manifests, "previous", "", "directory of the manifests (config) of the version to begin with; empty for this one")
	flag.StringVar(&previous.tag, "previous-tag", "", "tag of its images")
	only := flag.String("steps", "1,2,3,4,5,6,7,8", "which steps to run; the first is always run")
	flag.StringVar(&o.Node, "node", "", "`command` that stops and starts the control plane of a node of ours; empty if the cluster is another one")
	flag.StringVar(&o.Address, "address", "", "address of this machine at which pods reach it; empty if it is a node of the cluster")
	flag.StringVar(&o.Gateway, "gateway", "", "host:port at which the gateway is reached from here; empty for its Service's address")
	flag.StringVar(&o.ImagePrefix, "image-prefix", "", "where the images are, such as registry.example/sso/")
	flag.StringVar(&o.Tag, "tag", "latest", "tag of the images to install")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "e2e: unexpected argument %q\n", flag.Arg(0))
		os.Exit(exitUsage)
	}
	o.Directory = filepath.Join(filepath.Dir(*out), "e2e")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	s := &suite{
		report: report{Began: time.Now(), out: os.Stdout}, this: version{tag: o.Tag}, previous: previous, next: *next, steps: strings.Split(*only, ","),
	}
	if previous.manifests != "" {
		o.Manifests, o.Tag = previous.manifests, previous.tag
	}
	err := errors.Join(s.run(ctx, o), s.finish(*out))
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		os.Exit(exitFailed)
	}
	fmt.Printf("End to end: %s in %.0f s\n", s.Result, s.Seconds)
	switch s.Result {
	case failed:
		os.Exit(exitFailed)
	case notRun:
		fmt.Fprintln(os.Stderr, "e2e: not all steps could be run here; the report says which and why")
		os.Exit(exitNotRun)
	}
}

// Rates of sign-ins and requests in a second: those that the steps about keys
// and rollouts promise, and those that go on all the time.
const (
	busySignIns, busyRequests   = 20, 40
	usualSignIns, usualRequests = 4, 20
)

// suite is everything that the steps share.
type suite struct {
	report
	*rig.Rig
	// The suite begins with the previous version, if there is one.
	this, previous version
	next           string
	steps          []string
	// absent is the identity provider that is away for ten minutes.
	absent *peers.Provider
}

func (s *suite) run(ctx context.Context, o rig.Options) (err error) {
	s.report.run(ctx, "0", "install by the manifests, with PostgreSQL", func(ctx context.Context, _ *step) error {
		s.Rig, err = rig.Start(ctx, o)
		return err
	})
	if err != nil {
		return nil // the step has said so
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	s.step(ctx, "1", "1", "a manifest of two fields becomes a sign-in", s.firstSignIn)
	if s.Steps[len(s.Steps)-1].Result != passed {
		return errors.New("without a sign-in, the other steps would prove nothing")
	}
	for _, tenant := range []string{"globex", "initech"} {
		if _, err := s.Onboard(ctx, tenant); err != nil {
			return err
		}
	}
	s.absent = s.Providers[2]
	s.Load.Set(usualSignIns, usualRequests)

	if s.previous.manifests != "" {
		s.step(ctx, "1", "9", "the previous version is upgraded, and back, and again", s.upgradeAndBack)
	}
	back := s.providerAway(ctx)
	s.step(ctx, "2", "2.1", "the IdP's key is replaced in order", s.orderlyRollover)
	s.step(ctx, "2", "2.2", "the IdP's key is replaced without warning", s.abruptRollover)
	s.step(ctx, "3", "3.1", "the gateway rolls for a tenant's change", s.rollByChange)
	s.step(ctx, "3", "3.2", "the gateway rolls by an image upgrade", s.rollByUpgrade)
	s.step(ctx, "4", "4.1", "the operator's leader is killed", s.killLeader)
	s.step(ctx, "4", "4.2", "the gateway's pods are killed one by one", s.killGateways)
	s.step(ctx, "4", "4.3", "the API server is away for 60 s", s.withoutAPIServer)
	s.step(ctx, "4", "4.4", "PostgreSQL is away for 30 s", s.withoutDatabase)
	s.step(ctx, "5", "5", "200 tenants at once come and go", s.burst)
	s.step(ctx, "7", "7", "GitOps tools find everything synced and current", s.gitOps)
	s.step(ctx, "8", "8", "namespaces and a pod's token are bounded", s.isolation)
	s.step(ctx, "4", "4.5", "an IdP is away for 10 minutes", back)
	s.step(ctx, "6", "6", "nothing is written once all has settled", s.settled)
	return nil
}

// step runs a step if it was asked for, and leaves it out of the report if not.
func (s *suite) step(ctx context.Context, asked, number, title string, do func(context.Context, *step) error) {
	if asked == "1" || slices.Contains(s.steps, asked) {
		s.report.run(ctx, number, title, do)
	}
}

// under does something while people come at these rates, and judges what they
// met, by all outages of the suite.
func (s *suite) under(ctx context.Context, st *step, signIns, requests float64, do func(context.Context) error) ([]traffic.Attempt, error) {
	from := time.Now()
	s.Load.Set(signIns, requests)
	err := do(ctx)
	s.Load.Set(usualSignIns, usualRequests)
	attempts := s.Load.Attempts(ctx, from, time.Now())
	st.judge(traffic.Judge(attempts, s.Outages()))
	return attempts, err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
