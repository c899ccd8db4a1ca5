package soak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// program is started again whenever it ends, as a kubelet does.
type program struct {
	command []string
	env     []string
	log     *os.File

	mu      sync.Mutex
	process *os.Process // nil while it does not run
	kills   int
}

// supervise runs a program until the test ends.
func supervise(t *testing.T, directory string, env []string, command ...string) *program {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(directory, filepath.Base(command[0])+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	p := &program{command: command, env: append(os.Environ(), env...), log: log}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for first := true; first || pause(ctx, rand.N(2*time.Second)); first = false {
			p.run(ctx)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = log.Close() // the program wrote it
	})
	return p
}

// run starts the program and waits for its end, which is that of ctx at the
// latest.
func (p *program) run(ctx context.Context) {
	command := exec.CommandContext(ctx, p.command[0], p.command[1:]...)
	command.Env, command.Stdout, command.Stderr = p.env, p.log, p.log
	if err := command.Start(); err != nil {
		_, _ = fmt.Fprintln(p.log, err)
		return
	}
	p.set(command.Process)
	_ = command.Wait() // it was killed, or ended by itself and is started again
	p.set(nil)
}

func (p *program) set(process *os.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = process
}

// kill ends the program, if it runs, without a word.
func (p *program) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != nil && p.process.Signal(syscall.SIGKILL) == nil {
		p.kills++
	}
}

func (p *program) killed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kills
}

// child returns the process of that name which this one has started, and its
// command line.
func child(t *testing.T, name string) (*os.Process, []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		var pid, parent int
		head, tail, _ := strings.Cut(string(stat), ") ")
		if _, err := fmt.Sscanf(head, "%d", &pid); err != nil || !strings.HasSuffix(head, "("+name) {
			continue
		}
		if _, err := fmt.Sscanf(tail[1:], "%d", &parent); err != nil || parent != os.Getpid() {
			continue
		}
		command, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		require.NoError(t, err)
		process, err := os.FindProcess(pid)
		require.NoError(t, err)
		return process, strings.Split(strings.TrimSuffix(string(command), "\x00"), "\x00")
	}
	require.Fail(t, "no process "+name)
	return nil, nil
}
