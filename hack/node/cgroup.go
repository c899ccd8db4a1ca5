//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// system is the cgroup of the node's own programs, beside that of its pods.
	system = "system"
)

// unified tells whether the machine has the one hierarchy of cgroup v2.
func unified() bool {
	var s unix.Statfs_t
	return unix.Statfs(cgroupRoot, &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC
}

// hierarchies returns the roots of all of them: one, or with cgroup v1 one for
// each set of controllers, and often that of v2 without any, which runc uses too.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, entry := range entries {
		root := filepath.Join(cgroupRoot, entry.Name())
		var s unix.Statfs_t
		// Symbolic links are second names: cpu of cpu,cpuacct.
		if entry.IsDir() && unix.Statfs(root, &s) == nil && (s.Type == unix.CGROUP_SUPER_MAGIC || s.Type == unix.CGROUP2_SUPER_MAGIC) {
			roots = append(roots, root)
		}
	}
	return roots, nil
}

// controllers that kubelet does not do without.
var controllers = []string{"cpu", "cpuset", "memory", "pids"}

// checkCgroups says whether kubelet can have cgroups here.
func checkCgroups() error {
	const advice = "; in a container, give it privileges and the machine's cgroups"
	var have []string
	if unified() {
		content, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
		if err != nil {
			return cannot("no cgroups: " + err.Error() + advice)
		}
		have = strings.Fields(string(content))
	} else {
		roots, err := hierarchies()
		if err != nil {
			return cannot("no cgroups: " + err.Error() + advice)
		}
		for _, root := range roots {
			have = append(have, strings.Split(filepath.Base(root), ",")...)
		}
	}
	for _, controller := range controllers {
		if !slices.Contains(have, controller) {
			return cannot(fmt.Sprintf("the cgroup controller %s is missing below %s%s", controller, cgroupRoot, advice))
		}
	}
	probe := filepath.Join(cgroupRoot, fmt.Sprintf("saml-node-probe-%d", os.Getpid()))
	if !unified() {
		probe = filepath.Join(cgroupRoot, "pids", filepath.Base(probe))
	}
	if err := os.Mkdir(probe, 0o755); err != nil {
		return cannot("cgroups cannot be made: " + err.Error() + advice)
	}
	return os.Remove(probe)
}

// makeCgroups makes the node's cgroup in each hierarchy, and in it that of its
// programs.
func (n node) makeCgroups() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		parent := root
		for _, element := range []string{n.name, system} {
			if unified() {
				if err := delegate(parent); err != nil {
					return err
				}
			}
			child := filepath.Join(parent, element)
			if err := os.MkdirAll(child, 0o755); err != nil {
				return err
			}
			// A cpuset of cgroup v1 begins empty, and admits nothing.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				if content, err := os.ReadFile(filepath.Join(parent, file)); err == nil && !unified() {
					if err := os.WriteFile(filepath.Join(child, file), content, 0o600); err != nil {
						return err
					}
				}
			}
			parent = child
		}
	}
	return nil
}

// delegate passes the controllers of a cgroup on to those below it. [cgroup v2]
func delegate(dir string) error {
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, controller := range strings.Fields(string(available)) {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o600)
		if err != nil && slices.Contains(controllers, controller) {
			return cannot(fmt.Sprintf("the cgroup controller %s cannot be passed on from %s, as in a container: %v", controller, dir, err))
		}
	}
	return nil
}

// joinCgroups moves this process there.
func (n node) joinCgroups() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := os.WriteFile(filepath.Join(root, n.name, system, "cgroup.procs"), []byte("0"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// processes returns those of the node's programs and pods, wherever they are.
func (n node) processes() ([]int, error) {
	roots, err := hierarchies()
	if err != nil {
		return nil, err
	}
	found := map[int]bool{}
	for _, root := range roots {
		err := filepath.WalkDir(filepath.Join(root, n.name), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil || !entry.IsDir():
				return err
			}
			content, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EOPNOTSUPP) {
				return err
			}
			for field := range bytes.FieldsSeq(content) {
				if pid, err := strconv.Atoi(string(field)); err == nil && pid > 0 {
					found[pid] = true
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// endTimeout is how long killed processes may take to be gone.
const endTimeout = 30 * time.Second

// killAll ends every process of the node and waits until they are gone.
func (n node) killAll() error {
	return eventually(endTimeout, func() error {
		pids, err := n.processes()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may be gone
		}
		if len(pids) > 0 {
			return fmt.Errorf("processes do not end: %v", pids)
		}
		return nil
	})
}

// removeCgroups removes the node's cgroups, which must have no processes.
func (n node) removeCgroups() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	return eventually(endTimeout, func() error {
		for _, root := range roots {
			if err := removeTree(filepath.Join(root, n.name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// removeTree removes a directory and those below it: the files of a cgroup go
// with it.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// eventually repeats what may fail for a while.
func eventually(timeout time.Duration, try func() error) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
