package configsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

const (
	defaultPollInterval = time.Second
	// maxFileBytes is what a Secret could hold at most.
	maxFileBytes = 1 << 20
	// settleTime: a file changed so recently may change again without another
	// modification time, and is read again.
	settleTime = 2 * time.Second
)

// Directory reads DIR/<tenant>/<file>. It polls, which works as well with the
// symbolic links of mounted Secrets and with network file systems.
type Directory struct {
	// Dir has one directory for each tenant.
	Dir string
	// PollInterval is a second if zero.
	PollInterval time.Duration
	Log          *slog.Logger
}

// Run implements Source.
func (d *Directory) Run(ctx context.Context, registry *tenant.Registry) error {
	p := poller{dir: d.Dir, registry: registry, seen: map[string]snapshot{}, dirty: true}
	if err := p.poll(); err != nil {
		return fmt.Errorf("read tenants' directory: %w", err)
	}
	interval := d.PollInterval
	if interval <= 0 {
		interval = defaultPollInterval
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	lastProblem := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		problem := ""
		if err := p.poll(); err != nil {
			// A directory that cannot be listed does not mean that there are
			// no tenants.
			problem = err.Error()
		}
		if problem != lastProblem && problem != "" {
			d.Log.Error("read tenants' directory", "error", problem)
		}
		lastProblem = problem
	}
}

// snapshot is a tenant's directory at one time.
type snapshot struct {
	// stamp tells without reading whether a file may have changed.
	stamp string
	set   tenant.Set
}

// poller is what Directory knows between two polls.
type poller struct {
	dir      string
	registry *tenant.Registry
	seen     map[string]snapshot
	// dirty: seen differs from what the registry was told.
	dirty bool
}

// poll reads what has changed, and applies all tenants if anything has.
func (p *poller) poll() error {
	before, err := os.Stat(p.dir)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	present := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		if !validName(name) {
			continue
		}
		if _, err := os.Stat(filepath.Join(p.dir, name, tenantconfig.FileConfig)); isAbsent(err) {
			continue
		}
		present[name] = true
		p.look(name)
	}
	// What is absent from a directory that was moved away meanwhile is not gone.
	if after, err := os.Stat(p.dir); err != nil || !os.SameFile(before, after) {
		for name, s := range p.seen {
			s.stamp = "" // its files may be of before and after
			p.seen[name] = s
		}
		return errors.Join(errors.New("the directory was replaced while it was read"), err)
	}
	for name := range p.seen {
		if !present[name] {
			delete(p.seen, name)
			p.dirty = true
		}
	}
	p.apply()
	return nil
}

// look reads a tenant's files if they may have changed.
func (p *poller) look(name string) {
	dir := filepath.Join(p.dir, name)
	before, known := p.seen[name]
	stamp, settled, err := stampOf(dir)
	if err == nil && known && before.set.Err == nil && stamp == before.stamp {
		return
	}
	now := snapshot{}
	if err == nil {
		now.set.Files, err = readFiles(dir)
	}
	if err != nil {
		now.set.Err = err
	} else {
		now.set.Revision = now.set.Files.Hash()
		if settled {
			now.stamp = stamp
		}
	}
	if !known || now.set.Revision != before.set.Revision || now.set.Err != nil || before.set.Err != nil {
		p.dirty = true
	}
	p.seen[name] = now
}

func (p *poller) apply() {
	if !p.dirty {
		return
	}
	sets := make(map[string]tenant.Set, len(p.seen))
	for name, s := range p.seen {
		sets[name] = s.set
	}
	p.registry.Apply(sets)
	p.dirty = false
	for name, s := range p.seen {
		s.set.Files = nil // loaded or refused: not needed again
		p.seen[name] = s
	}
}

// stampOf describes the files of dir by size and modification time. They are
// settled if none changed just now.
func stampOf(dir string) (stamp string, settled bool, err error) {
	var b strings.Builder
	settled = true
	for _, name := range slices.Concat(configFiles, keyFiles) {
		info, err := os.Stat(filepath.Join(dir, name))
		if isAbsent(err) {
			b.WriteString("-/")
			continue
		}
		if err != nil {
			return "", false, err
		}
		b.WriteString(strconv.FormatInt(info.Size(), 10) + " " + strconv.FormatInt(info.ModTime().UnixNano(), 10) + "/")
		settled = settled && time.Since(info.ModTime()) > settleTime
	}
	return b.String(), settled, nil
}

func readFiles(dir string) (tenantconfig.Files, error) {
	files := tenantconfig.Files{}
	for _, name := range slices.Concat(configFiles, keyFiles) {
		content, err := readFile(filepath.Join(dir, name))
		switch {
		case isAbsent(err):
		case err != nil:
			return nil, err
		default:
			files[name] = content
		}
	}
	return files, nil
}

func readFile(path string) (_ []byte, err error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFileBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFileBytes)
	}
	return content, nil
}

// isAbsent also covers a plain file where a tenant's directory should be.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
