// Package testpostgres runs a real PostgreSQL server for tests, in a temporary
// directory and on a Unix socket there.
package testpostgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Password is the administrator's, and so in every URL: no log may have it.
const Password = "p-testpostgres-p"

const (
	administrator = "postgres"
	startTimeout  = time.Minute
)

// Server is a PostgreSQL server. It can be stopped and started again.
type Server struct {
	dir, programs string
	credential    *syscall.Credential // nil: as who runs the tests
	databases     atomic.Int64
	running       *exec.Cmd
	ended         chan error
	log           *os.File
}

// Run is the body of a TestMain: it starts a server, hands it to use, runs the
// tests and returns the exit code.
func Run(m *testing.M, use func(*Server)) (code int) {
	s, err := New()
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot start PostgreSQL: hack/install-test-packages.sh installs it: %v\n", err)
		return 1
	}
	defer func() {
		if err := s.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "stop PostgreSQL: %v\n", err)
			code = 1
		}
	}()
	use(s)
	return m.Run()
}

// New makes a server and starts it. Close it.
func New() (_ *Server, err error) {
	s := &Server{}
	if s.programs, err = programs(); err != nil {
		return nil, err
	}
	if s.credential, err = credential(); err != nil {
		return nil, err
	}
	// Not t.TempDir: a socket's path must be short.
	if s.dir, err = os.MkdirTemp("", "postgres"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.initialize(); err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return nil, err
	}
	return s, s.Start()
}

// programs returns the folder of the newest installed server.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("there is no initdb, neither in PATH nor below /usr/lib/postgresql")
	}
	return filepath.Dir(slices.Max(found)), nil
}

// credential is of a user without rights: PostgreSQL refuses to run as root.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (s *Server) initialize() error {
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(Password), 0o600); err != nil {
		return err
	}
	if s.credential != nil {
		for _, path := range []string{s.dir, password} {
			if err := os.Chown(path, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
				return err
			}
		}
	}
	initdb := s.command("initdb", "--pgdata="+s.data(), "--username="+administrator, "--pwfile="+password,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.programs, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"LC_ALL=C.UTF-8", "TZ=UTC"}
	// A server does not outlive tests that are killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

// Start starts the server and waits until it answers.
func (s *Server) Start() error {
	// Whether it writes to the disk does not matter to a process that ends.
	cmd := s.command("postgres", "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200")
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	s.running, s.ended = cmd, make(chan error, 1)
	go func() { s.ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for ticker := time.NewTicker(20 * time.Millisecond); ; {
		conn, err := pgx.Connect(ctx, s.url("postgres"))
		if err == nil {
			ticker.Stop()
			return conn.Close(ctx)
		}
		select {
		case <-ticker.C:
		case ended := <-s.ended:
			ticker.Stop()
			s.ended <- ended
			return errors.Join(err, ended, s.Stop())
		case <-ctx.Done():
			ticker.Stop()
			return errors.Join(err, s.Stop())
		}
	}
}

// Stop stops the server at once, and with it all connections.
func (s *Server) Stop() error {
	if s.running == nil {
		return nil
	}
	err := s.running.Process.Signal(syscall.SIGINT)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	err = errors.Join(err, <-s.ended)
	s.running = nil
	return err
}

// Close stops the server and removes all that it has written.
func (s *Server) Close() error {
	err := s.Stop()
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// NewDatabase makes an empty database and returns its URL.
func (s *Server) NewDatabase(t testing.TB) string {
	t.Helper()
	name := "test" + strconv.FormatInt(s.databases.Add(1), 10)
	conn, err := pgx.Connect(t.Context(), s.url("postgres"))
	if err != nil {
		t.Fatalf("connect to PostgreSQL: %v", err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("make database: %v", err)
	}
	return s.url(name)
}

func (s *Server) url(database string) string {
	return strings.Join([]string{"postgres://", administrator, ":", Password, "@/", database, "?host=", url.QueryEscape(s.dir)}, "")
}
