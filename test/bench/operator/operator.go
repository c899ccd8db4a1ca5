package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// memoryLimit is what config/manager tells the operator's garbage collector.
const memoryLimit = "GOMEMLIMIT=350MiB"

// operator is the real program as a process of its own.
type operator struct {
	command *exec.Cmd
	log     *os.File
	done    chan error
	stopped func()
}

// startOperator runs bin/operator for a namespace, as config/manager does.
func (b *bench) startOperator(ctx context.Context, namespace string, flags ...string) (*operator, error) {
	health, err := freePort()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(b.directory, "operator.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + health
	args := append([]string{
		"--namespace=" + namespace, "--base-domain=s.localhost", "--metadata-allow-cidrs=127.0.0.0/8",
		"--health-probe-bind-address=" + address,
	}, flags...)
	if b.pprof != "" {
		args = append(args, "--pprof-bind-address="+b.pprof)
	}
	o := &operator{command: exec.Command("bin/operator", args...), log: log, done: make(chan error, 1)}
	o.command.Env = append(os.Environ(), "KUBECONFIG="+b.kubeconfig, "SSL_CERT_FILE="+b.farm.ca, memoryLimit)
	o.command.Stdout, o.command.Stderr = log, log
	o.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := o.command.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	b.running, o.stopped = o, func() { b.running = nil }
	go func() { o.done <- o.command.Wait() }()
	for {
		if answers(ctx, "http://"+address+"/readyz") {
			return o, nil
		}
		select {
		case err := <-o.done:
			o.stopped()
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("the operator ended: %w\n%s", err, text[max(0, len(text)-2000):])
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), o.stop())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func answers(ctx context.Context, url string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}

func (o *operator) stop() error {
	defer func() { _ = o.log.Close() }()
	o.stopped()
	if err := o.command.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the operator: %w", err)
	}
	select {
	case err := <-o.done:
		if err != nil {
			return fmt.Errorf("the operator was asked to stop: %w", err)
		}
		return nil
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the operator did not end within a minute and was killed"), o.command.Process.Kill())
	}
}

// memory returns the resident memory of the process in MiB, now and at most.
func (o *operator) memory() (now, peak int, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", o.command.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	read := func(name string) int {
		_, after, _ := bytes.Cut(status, []byte(name+":"))
		fields := strings.Fields(string(after[:min(len(after), 40)]))
		if len(fields) == 0 {
			return 0
		}
		kib, _ := strconv.Atoi(fields[0])
		return kib / 1024
	}
	return read("VmRSS"), read("VmHWM"), nil
}

// cpuTimes returns the seconds of CPU that this process (with the IdP farm)
// and its children have used, by name.
func cpuTimes() (map[string]float64, error) {
	const ticksPerSecond = 100 // USER_HZ on every Linux
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	times := map[string]float64{}
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		head, tail, ok := strings.Cut(string(content), ") ")
		_, name, _ := strings.Cut(head, "(")
		fields := strings.Fields(tail)
		own := strconv.Itoa(os.Getpid())
		if !ok || len(fields) < 13 || fields[1] != own && !strings.HasPrefix(head, own+" ") {
			continue
		}
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		times[name] += float64(user+system) / ticksPerSecond
	}
	return times, nil
}
