// Command chaos installs the product on a cluster by its manifests, has people
// work and attackers try, and takes parts away at random. It ends with the
// account of what became of it, on standard output and in out/chaos.json.
// "make chaos" runs it in a node of its own; docs/testing/end-to-end.md says
// what it proves.
//
// It exits with 0 if nothing was lost and nobody came in without the right, 1
// otherwise, and 2 for a wrong command line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"cequence.cloud/saml-operator/test/cluster"
	"cequence.cloud/saml-operator/test/rig"
	"cequence.cloud/saml-operator/test/traffic"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

const (
	signIns, requests = 6, 20
	attackEvery       = 500 * time.Millisecond
	// convergeTime is from the last of the outages until all is well. A container
	// that was killed again and again is started after five minutes at most.
	convergeTime = 7 * time.Minute
)

// tenants of the rig.
var tenants = []string{"acme", "globex", "initech"}

func main() {
	var o rig.Options
	out := flag.String("out", "out/chaos.json", "file for the account")
	duration := flag.Duration("duration", 10*time.Minute, "how long parts are taken away")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "what happens in which order, to have it again")
	flag.StringVar(&o.Node, "node", "", "`command` that stops and starts the control plane of a node of ours; empty if the cluster is another one")
	flag.StringVar(&o.Address, "address", "", "address of this machine at which pods reach it; empty if it is a node of the cluster")
	flag.StringVar(&o.Gateway, "gateway", "", "host:port at which the gateway is reached from here; empty for its Service's address")
	flag.StringVar(&o.ImagePrefix, "image-prefix", "", "where the images are, such as registry.example/sso/")
	flag.StringVar(&o.Tag, "tag", "latest", "tag of the images to install")
	flag.Parse()
	if flag.NArg() > 0 || *duration <= 0 {
		fmt.Fprintln(os.Stderr, "chaos: give flags only, and a -duration such as 10m")
		os.Exit(exitUsage)
	}
	o.Directory = filepath.Join(filepath.Dir(*out), "chaos")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	account, err := run(ctx, o, *duration, *seed)
	stop()
	if err == nil {
		err = write(*out, account)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		os.Exit(exitFailed)
	}
	fmt.Print(account)
	if len(account.Problems) > 0 {
		os.Exit(exitFailed)
	}
}

func write(file string, account *account) error {
	content, err := json.MarshalIndent(account, "", "  ")
	if err != nil {
		return err
	}
	return rig.WriteReport(file, content)
}

func run(ctx context.Context, o rig.Options, duration time.Duration, seed uint64) (_ *account, err error) {
	fmt.Printf("Chaos for %s with -seed=%d\n", duration, seed)
	r, err := rig.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, tenant := range tenants {
		if _, err := r.Onboard(ctx, tenant); err != nil {
			return nil, err
		}
	}
	attacker := traffic.NewAttacker(r.Authority.Pool(), seed, r.Replicas, r.Sites()...)
	chaos, end := context.WithTimeout(ctx, duration)
	defer end()
	var attacking sync.WaitGroup
	attacking.Go(func() { attacker.Run(chaos, attackEvery) })

	began := time.Now()
	r.Load.Set(signIns, requests)
	events := play(chaos, r, plan(seed, r.CanStop()))
	calm := time.Now()
	convergence, cancel := context.WithTimeout(ctx, convergeTime)
	defer cancel()
	converged := cluster.Wait(convergence, r.Converged)
	took := time.Since(calm)
	attacking.Wait()
	r.Load.Set(0, 0)

	f := findings{
		Attempts: r.Load.Attempts(ctx, began, time.Now()), Outages: r.Outages(),
		Edits: r.Edits(), Converged: converged,
	}
	f.Replays, f.CrossTenant = attacker.Attacks()
	if f.LostEdits, err = r.LostEdits(ctx); err != nil {
		return nil, err
	}
	a := draw(f)
	a.Seed, a.Seconds, a.Events, a.ConvergedSeconds = seed, time.Since(began).Seconds(), events, took.Seconds()
	return a, ctx.Err()
}

// play does what the plan says until ctx ends, and counts what it did. Of one
// part there is one event at a time; those of different parts overlap.
func play(ctx context.Context, r *rig.Rig, next func() event) map[string]int {
	var (
		mu      sync.Mutex
		playing sync.WaitGroup
		busy    = map[string]bool{}
		events  = map[string]int{}
		began   = time.Now()
	)
	tell := func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, errSpared):
			return
		case err != nil:
			what += ", in vain"
		}
		events[what]++
		fmt.Println(strings.TrimSpace(fmt.Sprintf("%6.1f s  %s %s", time.Since(began).Seconds(), what, errText(err))))
	}
	for ctx.Err() == nil {
		e := next()
		mu.Lock()
		free := !busy[e.what]
		busy[e.what] = true
		mu.Unlock()
		if free {
			playing.Go(func() {
				// What has begun is finished: nothing is left stopped.
				err := e.do(context.WithoutCancel(ctx), r)
				tell(e.what, err)
				mu.Lock()
				defer mu.Unlock()
				busy[e.what] = false
			})
		}
		rig.Pause(ctx, e.pause)
	}
	playing.Wait()
	return events
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return "(" + line + ")"
}
