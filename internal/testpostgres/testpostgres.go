// Package testpostgres runs a real PostgreSQL server for tests, in a temporary
// directory and on a Unix socket there, and at a TCP address if asked for.
package testpostgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
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
	address       netip.AddrPort      // the zero value for none
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
func New() (*Server, error) { return Listen(netip.AddrPort{}) }

// Listen is New for a server that is reached at a TCP address as well, without
// TLS.
func Listen(address netip.AddrPort) (_ *Server, err error) {
	s := &Server{address: address}
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
	if !s.address.IsValid() {
		return nil
	}
	access, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = access.WriteString("host all all all scram-sha-256\n")
	return errors.Join(err, access.Close())
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
	cmd := s.command("postgres", "-D", s.data(), "-k", s.dir, "-c", "fsync=off", "-c", "max_connections=200", "-c", "listen_addresses=")
	if s.address.IsValid() {
		cmd.Args[len(cmd.Args)-1] += s.address.Addr().String()
		cmd.Args = append(cmd.Args, "-c", fmt.Sprintf("port=%d", s.address.Port()))
	}
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
	database, err := s.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return database
}

// CreateDatabase makes an empty database and returns its URL, by the TCP address
// if there is one.
func (s *Server) CreateDatabase(ctx context.Context) (string, error) {
	name := "test" + strconv.FormatInt(s.databases.Add(1), 10)
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return "", fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("make database: %w", err)
	}
	if s.address.IsValid() {
		return strings.Join([]string{"postgres://", administrator, ":", Password, "@", s.address.String(), "/", name, "?sslmode=disable"}, ""), nil
	}
	return s.url(name), nil
}

func (s *Server) url(database string) string {
	u := strings.Join([]string{"postgres://", administrator, ":", Password, "@/", database, "?host=", url.QueryEscape(s.dir)}, "")
	if s.address.IsValid() {
		u += fmt.Sprintf("&port=%d", s.address.Port())
	}
	return u
}
