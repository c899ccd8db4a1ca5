package tenant

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"cequence.cloud/saml-operator/internal/gateway/pathrules"
	"cequence.cloud/saml-operator/internal/gateway/upstreams"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Set is the files of one tenant as a source last saw them.
type Set struct {
	// Revision differs whenever Files do; a set with the revision of before is
	// not loaded again.
	Revision string
	Files    tenantconfig.Files
	// Err says why the files could not be read, although they are there.
	Err error
}

// Status is what the gateway does for one tenant.
type Status struct {
	Tenant string `json:"tenant"`
	// Host is empty if the tenant is not served.
	Host string `json:"host,omitempty"`
	// ConfigHash is of the files that are served, or were last.
	ConfigHash string `json:"configHash,omitempty"`
	// Problem says why the newest files are not served, or not as a whole.
	Problem string `json:"problem,omitempty"`
}

// Registry holds all tenants. Its methods may be called concurrently; ByHost
// takes no lock.
type Registry struct {
	log    *slog.Logger
	byHost atomic.Pointer[map[string]*Tenant]

	mu      sync.Mutex
	entries map[string]*entry
	changed chan struct{}
	limits  Limits
	observe func(tenant, action, configHash string)
}

// What is done to the configuration of a tenant.
const (
	actionAdded, actionChanged, actionRemoved = "tenant_added", "tenant_changed", "tenant_removed"
)

// Observe has observe told of each tenant that is added, changed or removed,
// but not of those that there are at first. It must not call the registry.
func (r *Registry) Observe(observe func(tenant, action, configHash string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observe = observe
}

// Limits are what the gateway's owner says of tenants' applications. The zero
// value allows none but the gateway's, and opens no path.
type Limits struct {
	Upstreams upstreams.Allowed
	Paths     *pathrules.Rules
}

// Limit has the limits count for what is loaded afterwards.
func (r *Registry) Limit(limits Limits) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limits = limits
}

func (r *Registry) tell(tenant, action, configHash string) {
	if r.observe != nil && r.Synced() {
		r.observe(tenant, action, configHash)
	}
}

// entry is one tenant's history in short.
type entry struct {
	revision string
	hash     string
	// good is the last set that could be loaded.
	good *Tenant
	// loadProblem and hostProblem are empty when all is well.
	loadProblem, hostProblem string
	// limitProblem says what of good the limits do not let be.
	limitProblem string
}

// NewRegistry returns a Registry without tenants.
func NewRegistry(log *slog.Logger) *Registry {
	return &Registry{log: log, entries: map[string]*entry{}, changed: make(chan struct{})}
}

// ByHost returns the tenant of a host, or nil. The host is in lower case,
// without port or trailing dot.
func (r *Registry) ByHost(host string) *Tenant {
	if hosts := r.byHost.Load(); hosts != nil {
		return (*hosts)[host]
	}
	return nil
}

// ByName returns the tenant of a name if it is served, or nil.
func (r *Registry) ByName(name string) *Tenant {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[name]; e != nil && e.good != nil && e.hostProblem == "" {
		return e.good
	}
	return nil
}

// Synced says whether Apply was called: before, an unknown host may be one
// that is not loaded yet.
func (r *Registry) Synced() bool { return r.byHost.Load() != nil }

// Changed returns a channel that is closed by the next Apply.
func (r *Registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Apply makes sets, by tenant, all that there is. A tenant that is not among
// them is gone at once; one whose set is of no use stays as it was.
func (r *Registry) Apply(sets map[string]Set) {
	r.mu.Lock()
	defer r.mu.Unlock()

	for name, e := range r.entries {
		if _, ok := sets[name]; !ok {
			delete(r.entries, name)
			if e.good != nil {
				r.log.Info("tenant removed", "tenant", name)
				r.tell(name, actionRemoved, e.hash)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		r.load(name, sets[name])
	}
	r.assignHosts()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Registry) load(name string, set Set) {
	e, known := r.entries[name]
	if !known {
		e = &entry{}
		r.entries[name] = e
	}
	if known && set.Err == nil && e.revision == set.Revision {
		return
	}
	err := set.Err
	if err == nil {
		e.revision = set.Revision
		var loaded *Tenant
		if loaded, err = Load(name, set.Files); err == nil {
			action := actionChanged
			if e.good == nil {
				action = actionAdded
			}
			e.good, e.hash, e.loadProblem = loaded, configHash(set.Files), ""
			e.limitProblem = r.judge(loaded)
			r.log.Info("tenant loaded", "tenant", name, "host", loaded.Config.Host, "configHash", e.hash)
			r.tell(name, action, e.hash)
			return
		}
	} else {
		// Whatever comes next is to be loaded, even if it is as before.
		e.revision = ""
	}
	if problem := err.Error(); problem != e.loadProblem {
		e.loadProblem = problem
		r.log.Error("tenant configuration refused", "tenant", name, "servesLastKnownGood", e.good != nil, "error", problem)
	}
}

// judge holds a tenant to the limits and says what they do not let be. It is
// served all the same: its users are told, and its administrator by the status.
func (r *Registry) judge(t *Tenant) (problem string) {
	t.UpstreamRefused = nil
	var problems []string
	if t.Upstream != nil {
		if t.UpstreamRefused = r.limits.Upstreams.Check(t.Upstream); t.UpstreamRefused != nil {
			problems = append(problems, fmt.Sprintf("application.upstream %s: %v", t.Config.Application.Upstream, t.UpstreamRefused))
		}
	}
	if closed := pathrules.Closed(r.limits.Paths, t.Config.Application.Paths); len(closed) > 0 {
		problems = append(problems, "not public, since the gateway's owner does not leave that to tenants (--path-rules-file): "+strings.Join(closed, ", "))
	}
	if problem = strings.Join(problems, "; "); problem != "" {
		r.log.Warn("tenant served within the gateway's limits", "tenant", t.Name(), "error", problem)
	}
	return problem
}

// assignHosts gives each host to one tenant: the one that has it, else the
// first by name.
func (r *Registry) assignHosts() {
	hosts := make(map[string]*Tenant, len(r.entries))
	names := slices.Sorted(maps.Keys(r.entries))
	for _, name := range names {
		if t := r.entries[name].good; t != nil {
			if holder := r.ByHost(t.Config.Host); holder != nil && holder.Name() == name {
				hosts[t.Config.Host] = t
			}
		}
	}
	for _, name := range names {
		e := r.entries[name]
		if e.good == nil {
			continue
		}
		host := e.good.Config.Host
		if _, taken := hosts[host]; !taken {
			hosts[host] = e.good
		}
		problem := ""
		if holder := hosts[host]; holder != e.good {
			problem = fmt.Sprintf("host %s belongs to tenant %s", host, holder.Name())
		}
		if problem != e.hostProblem && problem != "" {
			r.log.Error("tenant not served", "tenant", name, "error", problem)
		}
		e.hostProblem = problem
	}
	r.byHost.Store(&hosts)
}

// Status returns all tenants, by name.
func (r *Registry) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	statuses := make([]Status, 0, len(r.entries))
	for _, name := range slices.Sorted(maps.Keys(r.entries)) {
		e := r.entries[name]
		s := Status{Tenant: name, ConfigHash: e.hash, Problem: cmp.Or(e.loadProblem, e.hostProblem, e.limitProblem)}
		if e.good != nil && e.hostProblem == "" {
			s.Host = e.good.Config.Host
		}
		statuses = append(statuses, s)
	}
	return statuses
}

// configHash is the hash that the operator annotates: over the files of the
// configuration, without the key.
func configHash(files tenantconfig.Files) string {
	config := maps.Clone(files)
	for _, name := range []string{
		tenantconfig.FileKey, tenantconfig.FileCertificate, tenantconfig.FileNextKey, tenantconfig.FileNextCertificate,
	} {
		delete(config, name)
	}
	return config.Hash()
}
