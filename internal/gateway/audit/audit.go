// Package audit keeps who did what: one line of JSON for each sign-in, refusal,
// sign-out, new user, refusal by a role that a path requires, act of an
// administrator and change of a configuration. No line holds an assertion, a cookie or a token. docs/reference/audit-log.md
// describes the fields.
package audit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/internal/store"
)

// What an entry is about.
const (
	EventSignIn         = "sign-in"
	EventSignOut        = "sign-out"
	EventAccess         = "access"
	EventProvisioning   = "provisioning"
	EventAdministration = "administration"
	EventConfiguration  = "configuration"
	// EventConnectionTest is a sign-in at the test page, which signs nobody in.
	EventConnectionTest = "connection-test"
)

// How it ended.
const (
	OutcomeSuccess = "success"
	OutcomeRefused = "refused"
	// OutcomeRestarted: a sign-in that the identity provider began goes on as one
	// of ours.
	OutcomeRestarted = "restarted"
)

// Entry is one line.
type Entry = administration.AuditEntry

const (
	// queued entries wait for the store at most.
	queued = 4096
	// batch is how many are stored in one transaction.
	batch = 200
	// anonymous refusals of a tenant are stored in a minute at most. They cost
	// whoever causes them nothing; the others take an assertion of the IdP.
	anonymous = 60
	// flushTime bounds what is done at the end.
	flushTime = 5 * time.Second
)

// Options of a Log. All but Observe are required.
type Options struct {
	// Out takes the lines.
	Out   io.Writer
	Store store.Store
	// Retention is how long entries are kept in the store; zero is not at all.
	Retention time.Duration
	Now       func() time.Time
	Log       *slog.Logger
	// Observe is told of each entry.
	Observe func(Entry)
}

// Log writes entries at once, and stores them soon after. A nil Log takes
// entries and does nothing. It may be used concurrently.
type Log struct {
	Options
	queue chan store.AuditEntry

	mu sync.Mutex
	// refusals counts those without an assertion, by tenant, since minute.
	refusals map[string]int
	minute   time.Time
	dropped  int
	// recorded orders the entries of a millisecond.
	recorded uint32
}

// New returns a Log whose Run has to be called.
func New(o Options) *Log {
	return &Log{Options: o, queue: make(chan store.AuditEntry, queued), refusals: map[string]int{}}
}

// Record completes e by its ID and time, and writes it. It waits for nothing but
// Out.
func (l *Log) Record(e Entry) {
	if l == nil {
		return
	}
	if l.Observe != nil {
		l.Observe(e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.Now().UTC()
	l.recorded++
	e.Time, e.ID = now, fmt.Sprintf("%013d-%08x-%s", now.UnixMilli(), l.recorded, rand.Text()[:10])
	line, err := json.Marshal(e)
	if err != nil {
		l.Log.Error("encode audit entry", "error", err.Error())
		return
	}
	if _, err := l.Out.Write(append(line, '\n')); err != nil {
		l.Log.Error("write audit entry", "error", err.Error())
	}
	if l.Retention <= 0 || e.Outcome == OutcomeRefused && e.AssertionID == "" && e.Actor == "" && !l.affordable(e.Tenant, now) {
		return
	}
	select {
	case l.queue <- store.AuditEntry{ID: e.ID, Tenant: e.Tenant, User: e.User, Event: e.Event, Outcome: e.Outcome, Text: string(line), ExpiresAt: now.Add(l.Retention)}:
	default:
		l.dropped++
	}
}

// affordable says whether one more anonymous refusal of the tenant is to be
// stored. The caller holds mu.
func (l *Log) affordable(tenant string, now time.Time) bool {
	if minute := now.Truncate(time.Minute); !minute.Equal(l.minute) {
		l.minute = minute
		clear(l.refusals)
	}
	l.refusals[tenant]++
	return l.refusals[tenant] <= anonymous
}

// Run stores entries until ctx ends, and then those that are left; Flush those
// that come later. What the store does not take is tried again while there is
// room for more.
func (l *Log) Run(ctx context.Context) {
	var entries []store.AuditEntry
	for {
		if len(entries) == 0 {
			select {
			case e := <-l.queue:
				entries = append(entries, e)
			case <-ctx.Done():
				l.flush(entries)
				return
			}
		}
		entries = l.more(entries)
		if err := l.Store.AppendAudit(ctx, entries); err == nil {
			entries = entries[:0]
			continue
		} else if ctx.Err() == nil {
			l.Log.Warn("audit entries wait for the store", "error", err.Error(), "waiting", len(entries)+len(l.queue), "dropped", l.drops())
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			l.flush(entries)
			return
		}
	}
}

// more fills a batch by what is there.
func (l *Log) more(entries []store.AuditEntry) []store.AuditEntry {
	for len(entries) < batch {
		select {
		case e := <-l.queue:
			entries = append(entries, e)
		default:
			return entries
		}
	}
	return entries
}

// Flush stores what Run has not.
func (l *Log) Flush() { l.flush(nil) }

func (l *Log) flush(entries []store.AuditEntry) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	for entries = l.more(entries); len(entries) > 0; entries = l.more(entries[:0]) {
		if err := l.Store.AppendAudit(ctx, entries); err != nil {
			l.Log.Error("audit entries are not stored; standard output has them", "error", err.Error(), "entries", len(entries)+len(l.queue))
			return
		}
	}
}

func (l *Log) drops() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}
