package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end by itself.
const stopTimeout = 15 * time.Second

// programs are the processes that were started.
type programs struct {
	// failed tells of a program that ended although nobody stopped it.
	failed   chan error
	mu       sync.Mutex
	running  []*program
	stopping bool
}

type program struct {
	name    string
	command *exec.Cmd
	log     string
	done    chan struct{}
}

// start runs a program with its output in a file of directory.
func (p *programs) start(directory, path string, env []string, args ...string) error {
	name := filepath.Base(path)
	log, err := os.OpenFile(filepath.Join(directory, name+".log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600) //nolint:gosec // in our own directory
	if err != nil {
		return err
	}
	command := exec.Command(path, args...) //nolint:gosec // a program of ours with our arguments
	command.Env = append(os.Environ(), env...)
	command.Stdout, command.Stderr = log, log
	// Ctrl-C is for the demo, which stops them in order.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	running := &program{name: name, command: command, log: log.Name(), done: make(chan struct{})}
	p.mu.Lock()
	p.running = append(p.running, running)
	p.mu.Unlock()
	go func() {
		err := command.Wait()
		_ = log.Close() // the program wrote it, not we
		p.mu.Lock()
		stopping := p.stopping
		p.mu.Unlock()
		if !stopping {
			p.failed <- fmt.Errorf("%s ended: %w; its last words:\n%s", name, orEOF(err), lastLines(running.log))
		}
		close(running.done)
	}()
	return nil
}

func orEOF(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

func lastLines(path string) []byte {
	content, err := os.ReadFile(path) //nolint:gosec // our own log
	if err != nil {
		return nil
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-15):], []byte("\n"))
}

// stop ends the programs, the last one first.
func (p *programs) stop() error {
	p.mu.Lock()
	p.stopping = true
	running := p.running
	p.mu.Unlock()
	var errs []error
	for i := len(running) - 1; i >= 0; i-- {
		r := running[i]
		_ = r.command.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-r.done:
		case <-time.After(stopTimeout):
			errs = append(errs, fmt.Errorf("%s did not end within %s and was killed", r.name, stopTimeout))
			_ = r.command.Process.Kill()
			<-r.done
		}
	}
	return errors.Join(errs...)
}
