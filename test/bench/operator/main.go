// Command bench-operator measures what thousands of tenants cost the operator
// and the API server, and holds it to targets. It runs from the root of the
// repository, with the programs that "make bench-operator" builds: a real etcd
// and kube-apiserver, bin/operator as a process of its own with the memory
// limit of config/manager, and in its own process a farm of identity providers,
// which are one https host with a document of its own for each tenant, as Entra
// ID is. All of them share the machine's cores.
//
// What it does, in this order:
//
//   - Keys. It generates some RSA keys on all cores and scales the time to all
//     tenants (keygen_seconds), since that would hide everything else.
//   - A small run, in which the operator makes everything itself, its keys
//     included: requests to the API server by the API server's own metrics, and
//     fetches, per tenant (writes_per_tenant, events_per_tenant, ...).
//   - The floor (floor_seconds): for tenants of its own with the same
//     specification, a plain client that creates the same configuration Secret
//     and patches the same status twice, 64 at a time, without a limit and
//     without anybody watching. One half of the tenants before the operator's
//     run and one half after it, so that neither has the warmer API server.
//   - Ready (ready_seconds): tenants with a key Secret each, which the operator
//     takes for its own, wait for an operator. From the start of its process
//     until all are Ready. The keys are there on both sides, and writing their
//     Secrets is counted on neither.
//   - Idle (idle_writes): everything in the namespace keeps its resourceVersion
//     for two minutes, then over a restart of the operator. Counted are objects
//     that changed, and writes of any kind by the API server's metrics.
//   - New tenants (new_tenant_p99_seconds): every refresh becomes due while no
//     operator runs. One starts, and while it refreshes, new tenants are created
//     one after another, each with a key to be made; again until there are
//     enough of them.
//   - A burst (rollouts_per_burst), with rollouts: 1,000 edits spread over a
//     minute. The bench plays the Deployment's controller, whose rollouts take
//     ten seconds. Counted are rollouts that start until every edit is served.
//
// Memory (rss_mib) is the greatest resident set of any of these processes of
// the operator. Results go to out/bench-operator.json.
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
	"runtime"
	"syscall"
	"time"
)

// results are what is measured, as it is written.
type results struct {
	Tenants             int     `json:"tenants"`
	ReadySeconds        float64 `json:"ready_seconds"`
	FloorSeconds        float64 `json:"floor_seconds"`
	KeygenSeconds       float64 `json:"keygen_seconds"`
	WritesPerTenant     float64 `json:"writes_per_tenant"`
	RSSMiB              int     `json:"rss_mib"`
	NewTenantP99Seconds float64 `json:"new_tenant_p99_seconds"`
	RolloutsPerBurst    int     `json:"rollouts_per_burst"`
	IdleWrites          int     `json:"idle_writes"`

	// What explains them.
	ReadyOverFloor      float64            `json:"ready_over_floor"`
	FloorHalvesSeconds  []float64          `json:"floor_halves_seconds"`
	ReadsPerTenant      float64            `json:"reads_per_tenant"`
	EventsPerTenant     float64            `json:"events_per_tenant"`
	FetchesPerTenant    float64            `json:"fetches_per_tenant"`
	RSSReadyMiB         int                `json:"rss_ready_mib"`
	RSSIdleMiB          int                `json:"rss_idle_mib"`
	WritesPerRefresh    float64            `json:"writes_per_refresh"`
	RefreshesPerSecond  float64            `json:"refreshes_per_second"`
	NewTenants          int                `json:"new_tenants"`
	NewTenantP50Seconds float64            `json:"new_tenant_p50_seconds"`
	BurstEdits          int                `json:"burst_edits"`
	BurstSeconds        float64            `json:"burst_seconds"`
	ReadyCPUSeconds     map[string]float64 `json:"ready_cpu_seconds"`
	FloorCPUSeconds     map[string]float64 `json:"floor_cpu_seconds"`
	ReadyRequests       requests           `json:"ready_requests"`
	Cores               int                `json:"cores"`
}

// bench is what has been started so far, and measured.
type bench struct {
	*cluster
	farm      *farm
	directory string
	pprof     string
	keys      []keyPair
	gateway   *gateway // of the tenants in mainNamespace
	running   *operator
	results
}

func main() {
	b := &bench{}
	flag.IntVar(&b.Tenants, "tenants", 10_000, "number of tenants")
	flag.StringVar(&b.pprof, "operator-pprof", "", "address at which the operator serves its profiles")
	only := flag.String("only", "", "end after this step: ready, idle or new")
	out := flag.String("out", "out/bench-operator.json", "file for the results")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := b.run(ctx, *only, *out)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench-operator: %v\n", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context, last, out string) (err error) {
	if b.Tenants < 1 {
		return errors.New("-tenants must be at least 1")
	}
	b.Cores = runtime.NumCPU()
	if b.directory, err = os.MkdirTemp("", "bench-operator-"); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(b.directory)
		} else {
			err = fmt.Errorf("%w (logs are in %s)", err, b.directory)
		}
	}()
	if b.farm, err = startFarm(b.directory); err != nil {
		return fmt.Errorf("start the identity providers: %w", err)
	}
	defer b.farm.server.Close()
	if b.cluster, err = startCluster(b.directory); err != nil {
		return err
	}
	defer func() {
		if b.running != nil {
			err = errors.Join(err, b.running.stop())
		}
		err = errors.Join(err, b.environment.Stop())
	}()

	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"keys", b.measureKeys},
		{"small", b.measureWrites},
		{"floor, first half", b.measureFloor},
		{"ready", b.measureReady},
		{"floor, second half", b.measureFloor},
		{"idle", b.measureIdle},
		{"new", b.measureNewTenants},
		{"burst", b.measureBurst},
	} {
		start := time.Now()
		fmt.Printf("%-20s", step.name)
		if err := step.run(ctx); err != nil {
			fmt.Println()
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf(" (%.0f s)\n", time.Since(start).Seconds())
		if step.name == last {
			break
		}
	}
	return b.write(out)
}

func (b *bench) write(path string) error {
	b.ReadyOverFloor = b.ReadySeconds / b.FloorSeconds
	content, err := json.MarshalIndent(b.results, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	fmt.Printf("\n%s\n", content)
	return os.WriteFile(path, append(content, '\n'), 0o600)
}
