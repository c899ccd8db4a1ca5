//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// restartDelay is before a program that ended by itself starts again.
	restartDelay = time.Second
	// stopTimeout is what a program has to end by itself.
	stopTimeout = 20 * time.Second
	// startTimeout is what the early programs have, on a busy machine.
	startTimeout = 5 * time.Minute
	// socket is where the supervisor is asked, in the state directory.
	socket = "control.sock"
)

// supervisor starts the node's programs, and starts those again that end
// although nobody stopped them, as systemd does.
type supervisor struct {
	mu sync.Mutex
	// changed tells of every change of a running program.
	changed  *sync.Cond
	programs []*running
	ready    bool
}

// running is a program and what became of it.
type running struct {
	program
	wanted   bool
	restarts int
	process  *os.Process
}

// report is what the supervisor tells of itself.
type report struct {
	// Node is its name.
	Node string `json:"node"`
	// Ready says that all programs have been started.
	Ready    bool            `json:"ready"`
	Programs []programReport `json:"programs"`
}

type programReport struct {
	Name     string `json:"name"`
	Running  bool   `json:"running"`
	Wanted   bool   `json:"wanted"`
	PID      int    `json:"pid,omitempty"`
	Restarts int    `json:"restarts"`
}

func newSupervisor() *supervisor {
	s := &supervisor{}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// add has a program run whenever it is wanted, early ones at once.
func (s *supervisor) add(p program, log *os.File) {
	r := &running{program: p, wanted: p.early}
	s.mu.Lock()
	s.programs = append(s.programs, r)
	s.mu.Unlock()
	go s.keep(r, log)
}

// supervise runs the node's programs until the process is killed.
func (n node) supervise() error {
	if err := raiseFileLimit(); err != nil {
		return err
	}
	s := newSupervisor()
	for _, p := range n.programs() {
		log, err := os.OpenFile(n.path("log", p.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		s.add(p, log)
	}
	go func() {
		if err := n.awaitEarly(); err != nil {
			slog.Error("the node does not start", "error", err)
			os.Exit(exitFailed)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range s.programs {
			r.wanted = true
		}
		s.ready = true
		s.changed.Broadcast()
	}()
	return s.serve(n)
}

// raiseFileLimit lets pods open as many files as the machine admits.
func raiseFileLimit() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// awaitEarly waits until the API server and containerd answer.
func (n node) awaitEarly() error {
	config, err := clientcmd.BuildConfigFromFlags("", n.kubeconfig())
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	client.Timeout = 5 * time.Second
	return eventually(startTimeout, func() error {
		response, err := client.Get(config.Host + "/readyz")
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("the API server answers %s", response.Status)
		}
		return exec.Command("ctr", "version").Run()
	})
}

// keep runs one program whenever it is wanted.
func (s *supervisor) keep(r *running, log *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !r.wanted {
			s.changed.Wait()
		}
		command := exec.Command(r.path, r.args...)
		command.Stdout, command.Stderr = log, log
		err := command.Start()
		if err == nil {
			r.process = command.Process
			s.changed.Broadcast()
			s.mu.Unlock()
			err = command.Wait()
			s.mu.Lock()
			r.process = nil
			s.changed.Broadcast()
		}
		if r.wanted {
			r.restarts++
			slog.Warn("a program ended by itself, and is started again", "program", r.name, "status", err)
			s.mu.Unlock()
			time.Sleep(restartDelay)
			s.mu.Lock()
		}
	}
}

func (s *supervisor) serve(n node) error {
	directory, address, err := n.socketAddress()
	if err != nil {
		return err
	}
	defer func() { _ = directory.Close() }()
	listener, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /programs", func(w http.ResponseWriter, _ *http.Request) {
		r := s.report()
		r.Node = n.name
		_ = json.NewEncoder(w).Encode(r) // the caller may be gone
	})
	mux.HandleFunc("POST /programs/{name}/{action}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.act(r.PathValue("name"), r.PathValue("action")); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	mux.HandleFunc("POST /images", func(w http.ResponseWriter, r *http.Request) {
		command := exec.CommandContext(r.Context(), "ctr", "--namespace=k8s.io", "images", "import", "-")
		command.Stdin = r.Body
		if output, err := command.CombinedOutput(); err != nil {
			http.Error(w, fmt.Sprintf("%v: %s", err, output), http.StatusConflict)
		}
	})
	return http.Serve(listener, mux) //nolint:gosec // root's own socket, and archives take their time
}

func (s *supervisor) report() report {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := report{Ready: s.ready}
	for _, r := range s.programs {
		p := programReport{Name: r.name, Wanted: r.wanted, Running: r.process != nil, Restarts: r.restarts}
		if r.process != nil {
			p.PID = r.process.Pid
		}
		answer.Programs = append(answer.Programs, p)
	}
	return answer
}

func (s *supervisor) act(name, action string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.programs {
		if r.name != name {
			continue
		}
		switch action {
		case "stop":
			s.stop(r)
			return nil
		case "start":
			r.wanted = true
			s.changed.Broadcast()
			return nil
		case "kill":
			if r.process == nil {
				return fmt.Errorf("%s does not run", name)
			}
			return r.process.Kill()
		}
	}
	return errors.New("the node has no program named " + name)
}

// stop ends a program, and returns when it has ended.
func (s *supervisor) stop(r *running) {
	r.wanted = false
	process := r.process
	if process == nil {
		return
	}
	_ = process.Signal(unix.SIGTERM) // it may have ended
	timer := time.AfterFunc(stopTimeout, func() { _ = process.Kill() })
	defer timer.Stop()
	for r.process == process {
		s.changed.Wait()
	}
}
