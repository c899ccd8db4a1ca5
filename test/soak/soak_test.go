// Package soak_test kills the operator and the API server at random while
// tenants are edited, and then looks for what was lost. "make soak" runs it for
// minutes, "make test" for seconds.
//
// Both are real processes, ended by SIGKILL, and so is the controller manager
// that takes what deleted tenants leave. The identity providers are in this
// process, and so is what plays the controller of the gateway's Deployment,
// since no node runs its pods.
package soak_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	duration = flag.Duration("duration", 20*time.Second, "how long programs are killed and tenants edited")
	tenants  = flag.Int("tenants", 36, "how many tenants there are at most")
	out      = flag.String("out", "", "file for the report in JSON")
)

// patience is how long it may take until all is as it should be, from the last
// kill on. The garbage collector looks for new kinds every half minute.
const patience = 3 * time.Minute

// report is what became of it all.
type report struct {
	Seconds       float64        `json:"seconds"`
	Tenants       int            `json:"tenants"`
	OperatorKills int            `json:"operator_kills"`
	ServerKills   int            `json:"apiserver_kills"`
	Edits         int            `json:"edits"`
	EditsByKind   map[string]int `json:"edits_by_kind"`
	// ConvergedSeconds is from the last kill until nothing was wrong any more.
	ConvergedSeconds float64 `json:"converged_seconds"`

	verdict
}

func TestNothingIsLostWhilePartsAreKilled(t *testing.T) {
	w := startWorld(t)
	began := time.Now()
	ctx, end := context.WithTimeout(t.Context(), *duration)
	defer end()
	var working sync.WaitGroup
	for _, s := range w.slots {
		working.Go(func() { w.edit(ctx, s) })
	}
	working.Go(func() { w.kill(ctx) })
	w.watchKeys(ctx)
	working.Wait()

	r := report{Seconds: time.Since(began).Seconds(), Tenants: len(w.slots), EditsByKind: map[string]int{}}
	r.OperatorKills, r.ServerKills = w.operator.killed(), w.server.killed()
	for _, s := range w.slots {
		for kind, n := range s.edits {
			r.EditsByKind[kind] += n
			r.Edits += n
		}
	}
	calm := time.Now()
	for {
		r.verdict = w.judge(t.Context())
		if r.clean() || time.Since(calm) > patience {
			break
		}
		pause(t.Context(), time.Second)
	}
	r.ConvergedSeconds = time.Since(calm).Seconds()
	t.Log("\n" + r.String())
	r.write(t)
	require.True(t, r.clean(), "after %s: %s\nlogs are in %s", patience, strings.Join(r.Problems, "\n"), w.keepLogs())
	require.Positive(t, r.OperatorKills)
	require.Positive(t, r.ServerKills)
	require.Greater(t, r.Edits, len(w.slots), "each was edited")
}

func (r report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.0f s, %d tenants, operator killed %d times, API server %d times\n", r.Seconds, r.Tenants, r.OperatorKills, r.ServerKills)
	fmt.Fprintf(&b, "%d edits:", r.Edits)
	kinds := make([]string, 0, len(r.EditsByKind))
	for kind := range r.EditsByKind {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		fmt.Fprintf(&b, " %s %d,", kind, r.EditsByKind[kind])
	}
	fmt.Fprintf(&b, "\nconverged %.1f s after the last kill\n", r.ConvergedSeconds)
	fmt.Fprintf(&b, "edits lost %d, tenants not Ready %d, wrong Secrets %d, leftovers %d, SP keys replaced %d\n",
		r.EditsLost, r.NotReady, r.WrongSecrets, r.Leftovers, r.KeysReplaced)
	return b.String()
}

func (r report) write(t *testing.T) {
	t.Helper()
	if *out == "" {
		return
	}
	content, err := json.MarshalIndent(r, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(*out), 0o755))
	require.NoError(t, os.WriteFile(*out, append(content, '\n'), 0o644))
}

// kill ends the operator or the API server every few seconds; each of them once
// at least. The controller manager goes with the API server, as on a machine
// that has both: what is deleted while its garbage collector does not see the
// API server, that forgets for as long as it runs.
func (w *world) kill(ctx context.Context) {
	for n := 0; pause(ctx, 2*time.Second+rand.N(4*time.Second)); n++ {
		if n == 1 || n > 1 && rand.N(3) == 0 {
			w.server.kill()
			w.manager.kill()
		} else {
			w.operator.kill()
		}
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
