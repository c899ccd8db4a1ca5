//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// publish runs a command in the node's network and meanwhile passes connections
// to ports of this machine's loopback address on to those ports of the node.
func (n node) publish(ports string, args []string) error {
	if _, err := os.Stat(n.network()); err != nil {
		return n.notUp()
	}
	for port := range strings.SplitSeq(ports, ",") {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			return fmt.Errorf("publish port %s: %w", port, err)
		}
		defer func() { _ = listener.Close() }()
		go n.forward(listener, net.JoinHostPort(nodeAddress, port))
	}
	// The command gets what a terminal sends by itself, and ends by its own rules.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	command := make(chan *exec.Cmd, 1)
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with this function
		c, err := n.inNetwork(args)
		if err == nil {
			c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
			err = c.Start()
		}
		if err != nil {
			failed <- err
			return
		}
		command <- c
	}()
	select {
	case err := <-failed:
		return err
	case c := <-command:
		go func() {
			for s := range signals {
				if s == syscall.SIGTERM {
					_ = c.Process.Signal(s) // it may have ended
				}
			}
		}()
		err := c.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
			return commandStatus(exit.ExitCode())
		}
		return err
	}
}

// forward passes connections on until the listener is closed.
func (n node) forward(listener net.Listener, address string) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = connection.Close() }()
			inside, err := n.dial(address)
			if err != nil {
				fmt.Fprintf(os.Stderr, "node: %v\n", err)
				return
			}
			defer func() { _ = inside.Close() }()
			done := make(chan struct{}, 2)
			for _, way := range [][2]net.Conn{{inside, connection}, {connection, inside}} {
				go func() {
					_, _ = io.Copy(way[0], way[1]) // either side may go
					_ = way[0].(*net.TCPConn).CloseWrite()
					done <- struct{}{}
				}()
			}
			<-done
			<-done
		}()
	}
}

// dial connects to an address in the node's network. A socket stays in the
// network in which it was made.
func (n node) dial(address string) (net.Conn, error) {
	type result struct {
		connection net.Conn
		err        error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // the thread ends with this function
		if err := n.enter(); err != nil {
			done <- result{err: err}
			return
		}
		connection, err := (&net.Dialer{}).DialContext(context.Background(), "tcp4", address)
		done <- result{connection, err}
	}()
	r := <-done
	return r.connection, r.err
}

// commandStatus is that of a command which was run and failed.
type commandStatus int

func (s commandStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }
