// Package traffic plays the people of all tenants: some sign in at a constant
// rate, others work with the sessions that they have, and everything that fails
// is kept with its reason. It plays attackers, too, who send again what they saw
// and bring one tenant's answers to another.
package traffic

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cequence.cloud/saml-operator/internal/testbrowser"
	"cequence.cloud/saml-operator/internal/testidp"
)

// maxUnderWay bounds the attempts at once: beyond them the rate is not reached.
const maxUnderWay = 128

// loginPath is where the gateway sends whom it does not know.
const loginPath = "/saml/login"

// reportsPath is the application's.
const reportsPath = "/reports"

// Site is a tenant as its people know it.
type Site struct {
	Tenant string
	// Origin is its URL without a path.
	Origin string
	IDP    *testidp.IDP
	Users  []testidp.User
}

// host of the site, without a port.
func (s *Site) host() string { return strings.TrimPrefix(s.Origin, "https://") }

// Options of a Load.
type Options struct {
	// Roots verify the gateway and the identity providers.
	Roots *x509.CertPool
	// Gateway is the address at which the sites' hosts are reached.
	Gateway string
}

// Load is people at work. Its methods are safe for concurrent use.
type Load struct {
	Options
	signIns, requests rate

	mu       sync.Mutex
	sites    []*Site
	attempts []Attempt
	underWay map[*Attempt]bool
	skipped  int
	people   chan *person
	next     int
}

// person has a browser with a session.
type person struct {
	site     *Site
	user     testidp.User
	browser  *testbrowser.Browser
	path     *path
	signedIn bool
}

// path is where a browser went in one visit.
type path struct{ steps []testbrowser.Step }

// New returns a Load that does nothing yet.
func New(o Options) *Load {
	return &Load{Options: o, underWay: map[*Attempt]bool{}, people: make(chan *person, 4096)}
}

// Add has people of these sites sign in, and that many of each stay and work.
func (l *Load) Add(ctx context.Context, stay int, sites ...*Site) error {
	for _, site := range sites {
		for i := range stay {
			p := l.newPerson(site, site.Users[i%len(site.Users)])
			f := l.signIn(ctx, p)
			if f != nil {
				return fmt.Errorf("%s cannot sign in to %s: %s", p.user.Name, site.Tenant, f.Reason)
			}
			l.people <- p
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sites = append(l.sites, sites...)
	return nil
}

// CanSignIn returns why a person of the site cannot sign in, or nil.
func (l *Load) CanSignIn(ctx context.Context, site *Site) error {
	p := l.newPerson(site, site.Users[0])
	defer p.browser.CloseIdleConnections()
	page, err := p.browser.SignIn(ctx, site.Origin+reportsPath, p.user.Name, p.user.Password)
	if f := p.failure(page, err); f != nil {
		return fmt.Errorf("sign in to %s: %s", site.Tenant, f.Reason)
	}
	return nil
}

// Focus has only people of these sites sign in from now on.
func (l *Load) Focus(sites ...*Site) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sites = sites
}

// Set sets how many sign-ins and requests begin in a second.
func (l *Load) Set(signIns, requests float64) {
	l.signIns.set(signIns)
	l.requests.set(requests)
}

// Run plays until ctx ends, and then lets finish what is under way.
func (l *Load) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	room := make(chan struct{}, maxUnderWay)
	start := func(do func(context.Context)) {
		select {
		case room <- struct{}{}:
			running.Go(func() {
				defer func() { <-room }()
				// What has begun is finished: its end would be nobody's failure.
				do(context.WithoutCancel(ctx))
			})
		default:
			l.skip()
		}
	}
	running.Go(func() { l.signIns.run(ctx, func() { start(l.comeAndGo) }) })
	l.requests.run(ctx, func() {
		select {
		case p := <-l.people:
			start(func(ctx context.Context) {
				l.work(ctx, p)
				l.people <- p
			})
		default:
			l.skip()
		}
	})
}

func (l *Load) skip() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skipped++
}

// Skipped is how many attempts did not begin, since too many were under way.
func (l *Load) Skipped() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.skipped
}

// comeAndGo is somebody who signs in with a new browser and leaves.
func (l *Load) comeAndGo(ctx context.Context) {
	l.mu.Lock()
	if len(l.sites) == 0 {
		l.mu.Unlock()
		return
	}
	site := l.sites[l.next%len(l.sites)]
	user := site.Users[l.next/len(l.sites)%len(site.Users)]
	l.next++
	l.mu.Unlock()
	p := l.newPerson(site, user)
	defer p.browser.CloseIdleConnections()
	l.signIn(ctx, p)
}

// work is a request of somebody who has a session. Who has lost it signs in
// again, so that one loss counts once.
func (l *Load) work(ctx context.Context, p *person) {
	if !p.signedIn {
		l.signIn(ctx, p)
		return
	}
	l.try(Request, p.site, func() *Failure {
		page, err := p.open(ctx)
		f := p.failure(page, err)
		if f != nil && f.Lost {
			p.signedIn = false
		}
		return f
	})
}

func (l *Load) newPerson(site *Site, user testidp.User) *person {
	p := &person{site: site, user: user, path: &path{}}
	o := testbrowser.Options{
		RootCAs: l.Roots, Dial: map[string]string{site.host(): l.Gateway},
		OnStep: func(s testbrowser.Step) { p.path.steps = append(p.path.steps, s) },
	}
	p.browser = testbrowser.New(o)
	return p
}

// signIn signs the person in and returns why that failed, or nil.
func (l *Load) signIn(ctx context.Context, p *person) (failure *Failure) {
	l.try(SignIn, p.site, func() *Failure {
		p.path.steps = nil
		page, err := p.browser.SignIn(ctx, p.site.Origin+reportsPath, p.user.Name, p.user.Password)
		failure = p.failure(page, err)
		if failure != nil {
			failure.Lost = false // there was none
		}
		p.signedIn = failure == nil
		return failure
	})
	return failure
}

func (p *person) open(ctx context.Context) (*testbrowser.Page, error) {
	p.path.steps = nil
	return p.browser.Open(ctx, p.site.Origin+reportsPath)
}

// failure says why a visit did not end at the application as the person.
func (p *person) failure(page *testbrowser.Page, err error) *Failure {
	lost := slices.ContainsFunc(p.path.steps, func(s testbrowser.Step) bool {
		u, err := url.Parse(s.URL)
		return err == nil && u.Path == loginPath
	})
	if at := (*testbrowser.Error)(nil); errors.As(err, &at) {
		u, parseErr := url.Parse(at.Step.URL)
		if parseErr != nil {
			u = &url.URL{}
		}
		f := &Failure{AtIDP: u.Host != p.site.host(), Status: at.Step.Status, Lost: lost}
		f.Reason = at.Step.Method + " "
		if f.AtIDP {
			f.Reason += "identity provider "
		}
		f.Reason += u.Path + ": "
		if f.Status != 0 {
			f.Reason += fmt.Sprint(f.Status)
		} else {
			f.Reason += reason(err)
		}
		return f
	}
	if err != nil {
		return &Failure{Reason: err.Error(), Lost: lost}
	}
	if page.URL.Host != p.site.host() {
		return &Failure{AtIDP: true, Status: page.Status, Lost: lost, Reason: fmt.Sprintf("ended at the identity provider with %d", page.Status)}
	}
	if page.Status != http.StatusOK {
		return &Failure{Status: page.Status, Lost: lost, Reason: fmt.Sprintf("%s: %d", page.URL.Path, page.Status)}
	}
	var seen Seen
	if err := json.Unmarshal(page.Body, &seen); err != nil {
		return &Failure{Status: page.Status, Reason: "the page is not the application's"}
	}
	if seen.Tenant != p.site.Tenant || seen.Email != p.user.Email {
		return &Failure{Status: page.Status, Confused: true, Reason: "the page is somebody else's"}
	}
	return nil
}

// Seen is what the application says that it was told.
type Seen struct {
	Tenant string `json:"tenant"`
	User   string `json:"user"`
	Email  string `json:"email"`
}

// reason of a request without an answer, without addresses and ports.
func reason(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	text := errors.Unwrap(err).Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text
}

// try makes an attempt and keeps it.
func (l *Load) try(kind Kind, site *Site, do func() *Failure) {
	a := &Attempt{Kind: kind, Tenant: site.Tenant, From: time.Now()}
	l.mu.Lock()
	l.underWay[a] = true
	l.mu.Unlock()
	a.Failure = do()
	a.To = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.underWay, a)
	l.attempts = append(l.attempts, *a)
}

// Attempts returns those that began between two moments, once they are all over.
func (l *Load) Attempts(ctx context.Context, from, to time.Time) []Attempt {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for l.busy(to) {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var attempts []Attempt
	for _, a := range l.attempts {
		if !a.From.Before(from) && a.From.Before(to) {
			attempts = append(attempts, a)
		}
	}
	return attempts
}

func (l *Load) busy(to time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a := range l.underWay {
		if a.From.Before(to) {
			return true
		}
	}
	return false
}

// rate begins things at a number per second that can change.
type rate struct{ perSecond atomic.Uint64 }

func (r *rate) set(perSecond float64) { r.perSecond.Store(math.Float64bits(perSecond)) }

// run calls begin until ctx ends. What is late is made up for, up to a second's
// worth.
func (r *rate) run(ctx context.Context, begin func()) {
	const tick = 10 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var due float64
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now, perSecond := time.Now(), math.Float64frombits(r.perSecond.Load())
		due = min(due+perSecond*now.Sub(last).Seconds(), max(perSecond, 1))
		last = now
		for ; due >= 1; due-- {
			begin()
		}
	}
}
