//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// socketAddress returns the supervisor's socket by way of the open directory,
// since the path of a socket must be short.
func (n node) socketAddress() (directory *os.File, address string, err error) {
	if directory, err = os.Open(n.state); err != nil {
		return nil, "", err
	}
	return directory, fmt.Sprintf("/proc/self/fd/%d/%s", directory.Fd(), socket), nil
}

// ask sends a request to the supervisor.
func (n node) ask(method, path string, body io.Reader) ([]byte, error) {
	down := fmt.Errorf("no node is up with its state in %s: run node up", n.state)
	directory, address, err := n.socketAddress()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, down
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = directory.Close() }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		connection, err := (&net.Dialer{}).DialContext(ctx, "unix", address)
		if err != nil {
			return nil, down
		}
		return connection, nil
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequest(method, "http://node"+path, body)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(answer)))
	}
	return answer, nil
}

func (n node) report() (report, error) {
	answer, err := n.ask(http.MethodGet, "/programs", nil)
	if err != nil {
		return report{}, err
	}
	var r report
	err = json.Unmarshal(answer, &r)
	return r, err
}

// printStatus lists the programs; it is an error if there is no node.
func (n node) printStatus(w io.Writer) error {
	r, err := n.report()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "PROGRAM\tSTATE\tRESTARTS")
	for _, p := range r.Programs {
		state := "stopped"
		switch {
		case p.Running:
			state = "running"
		case p.Wanted:
			state = "starting"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\n", p.Name, state, p.Restarts)
	}
	return table.Flush()
}

// control stops, starts or kills programs.
func (n node) control(action string, names ...string) error {
	for _, name := range names {
		if _, err := n.ask(http.MethodPost, "/programs/"+name+"/"+action, nil); err != nil {
			return fmt.Errorf("%s %s: %w", action, name, err)
		}
	}
	return nil
}

// load gives containerd the images of archives.
func (n node) load(archives ...string) error {
	for _, archive := range archives {
		file, err := os.Open(archive)
		if err != nil {
			return err
		}
		_, err = n.ask(http.MethodPost, "/images", file)
		_ = file.Close() // it was read
		if err != nil {
			return fmt.Errorf("load %s: %w", archive, err)
		}
		fmt.Printf("loaded %s\n", filepath.Base(archive))
	}
	return nil
}
