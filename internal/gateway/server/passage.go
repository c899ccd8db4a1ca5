package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/authorization"
	"cequence.cloud/saml-operator/internal/gateway/streams"
)

// passage is one request to the application and its response on their way
// through. It gives up on a client that stalls, keeps our own headers for the
// response that counts, and has streams end when the gateway stops.
type passage struct {
	http.ResponseWriter
	controller *http.ResponseController
	streams    *streams.Set
	stallAfter time.Duration
	// alive says whether a stream may go on.
	alive func() bool
	// own are headers of ours for the final response.
	own      http.Header
	answered atomic.Bool
	writing  stall
	body     *body
	// response is the body of the application's answer, nil before there is one.
	response io.Closer
}

// pass passes a request on to the application, if there is a place for it.
func (x *exchange) pass(application http.Handler, v visit) {
	if client, ok := x.client(); ok {
		if !x.clients.Enter(client) {
			x.full()
			return
		}
		defer x.clients.Leave(client)
	}
	if x.PerTenant > 0 && x.tenant.Upstream != nil {
		if !x.tenants.Enter(x.tenant.Name()) {
			x.full()
			return
		}
		defer x.tenants.Leave(x.tenant.Name())
	}
	if !x.Application.Enter(x.r.Context()) {
		x.full()
		return
	}
	defer x.Application.Leave()
	p, r := newPassage(x.w, withVisit(x.r, v), x.Streams, x.StallTimeout)
	p.alive = func() bool { return x.goesOn(v) }
	defer p.end()
	application.ServeHTTP(p, r)
}

// goesOn says whether a stream may go on that began with that visit: somebody's
// while the session counts and the path is for its user, a stranger's while the
// path is public. The stream itself is use of the session.
func (x *exchange) goesOn(v visit) bool {
	now := *x
	now.tenant = x.Tenants.ByHost(x.tenant.Config.Host)
	if now.tenant == nil || now.tenant.Config.Disabled || bindingOf(now.tenant) != x.binding {
		return false
	}
	required, err := now.required()
	switch {
	case err != nil:
		return false
	case !v.signedIn:
		return required.Public
	}
	s := v.session
	s.SeenAt = x.Now()
	return now.counts(s, s.SeenAt) && required.Satisfied(now.roles(s)) &&
		now.tenant.Authorization.Admit(authorization.Subject{Email: s.Email, Groups: s.Groups, GroupsIncomplete: s.GroupsIncomplete}) == nil
}

// notPassed answers a request whose passage has failed before the application's
// answer began.
func (s *Server) notPassed(w http.ResponseWriter, r *http.Request, err error) {
	failed := passageOf(r).body.failed()
	var (
		p       problem
		network net.Error
	)
	switch {
	case errors.Is(failed, errStalled):
		p = problem{status: http.StatusRequestTimeout, code: "request_stalled"}
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // nobody is listening
	case failed != nil:
		p = problem{status: http.StatusBadRequest, code: "request_unreadable"}
	case errors.As(err, &network) && network.Timeout():
		p = problem{status: http.StatusGatewayTimeout, code: "upstream_timeout"}
	default:
		p = problem{status: http.StatusBadGateway, code: "upstream_unreachable"}
	}
	p.cause = err.Error()
	s.problem(w, r, p)
}

// newPassage returns the response and the request to pass on. The passage must
// be ended before the handler returns.
func newPassage(w http.ResponseWriter, r *http.Request, all *streams.Set, stallAfter time.Duration) (*passage, *http.Request) {
	p := &passage{ResponseWriter: w, controller: http.NewResponseController(w), streams: all, stallAfter: stallAfter, own: w.Header().Clone()}
	clear(w.Header())
	p.writing = stall{after: stallAfter, give: p.controller.SetWriteDeadline}
	// Once the application has begun to answer, the two may be in a conversation
	// in which the client says nothing for long.
	p.body = &body{ReadCloser: r.Body, waiting: stall{after: stallAfter, give: p.controller.SetReadDeadline, patient: p.answered.Load}}
	r = r.WithContext(context.WithValue(r.Context(), passageKey{}, p))
	if r.Body != nil {
		r.Body = p.body
	}
	return p, r
}

type passageKey struct{}

func passageOf(r *http.Request) *passage {
	p, _ := r.Context().Value(passageKey{}).(*passage)
	return p
}

// end keeps timers from touching what belongs to the server again, and lets go of
// an answer that was not passed on to its end.
func (p *passage) end() {
	if p.response != nil {
		_ = p.response.Close()
	}
	p.writing.end()
	p.body.waiting.end()
}

// WriteHeader implements http.ResponseWriter. What is only informational
// [RFC 9110 15.2] gets none of our headers, since all are gone after it.
func (p *passage) WriteHeader(status int) {
	if status >= http.StatusOK {
		p.answer()
	}
	p.ResponseWriter.WriteHeader(status)
}

// answer adds our headers to the final response.
func (p *passage) answer() {
	if p.answered.Swap(true) {
		return
	}
	h := p.Header()
	for name, values := range p.own {
		h[name] = append(values, h[name]...)
	}
}

// Write implements io.Writer.
func (p *passage) Write(b []byte) (int, error) {
	p.answer()
	p.writing.begin()
	n, err := p.ResponseWriter.Write(b)
	if !p.writing.pause() {
		return n, errStalled
	}
	return n, err //nolint:wrapcheck // a writer's
}

// FlushError is for http.ResponseController.
func (p *passage) FlushError() error {
	p.answer()
	p.writing.begin()
	err := p.controller.Flush()
	if !p.writing.pause() {
		return errStalled
	}
	return err //nolint:wrapcheck // a writer's
}

// Hijack is for http.ResponseController. Nothing but a WebSocket comes so far.
func (p *passage) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := p.controller.Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("take over connection: %w", err)
	}
	p.answer()
	return p.streams.WebSocket(conn, p.stallAfter, p.alive), rw, nil
}

// Unwrap is for http.ResponseController.
func (p *passage) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// receive has the body of a stream of events end with the gateway. What has
// switched protocols is no such stream, whatever the application says of it.
func (p *passage) receive(response *http.Response) {
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err == nil && kind == "text/event-stream" && response.StatusCode != http.StatusSwitchingProtocols {
		response.Body = p.streams.Events(response.Body, p.alive)
	}
	p.response = response.Body
}

// body is a request's. It remembers how it failed.
type body struct {
	io.ReadCloser
	waiting stall
	// trailers go from the request as it came to the one that is sent.
	from, to http.Header

	mu  sync.Mutex
	err error
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.waiting.begin()
	n, err := b.ReadCloser.Read(p)
	if !b.waiting.pause() {
		err = errStalled
	}
	if err == nil {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		for name := range b.to {
			b.to[name] = b.from[name]
		}
		return n, err //nolint:wrapcheck // a reader's
	}
	b.mu.Lock()
	b.err = err
	b.mu.Unlock()
	return n, err //nolint:wrapcheck // a reader's
}

// failed is the error by which the body ended, if it did.
func (b *body) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// errStalled says that a client has neither sent nor taken anything for too long.
var errStalled = errors.New("client stalled")

// stall gives a connection up if something takes longer than after; zero is no
// limit. begin and pause are called in turns.
type stall struct {
	after time.Duration
	// give sets the deadline of what is waited for.
	give func(time.Time) error
	// patient says whether it may take longer nevertheless; nil for never.
	patient func() bool
	timer   *time.Timer

	mu         sync.Mutex
	gone, over bool
}

func (s *stall) begin() {
	switch {
	case s.after <= 0:
	case s.timer == nil:
		s.timer = time.AfterFunc(s.after, s.fire)
	default:
		s.timer.Reset(s.after)
	}
}

// pause returns false if it took too long.
func (s *stall) pause() bool {
	if s.after <= 0 || s.timer.Stop() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.gone
}

func (s *stall) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.patient != nil && s.patient() {
		return
	}
	s.gone = true
	_ = s.give(time.Unix(1, 0)) // in the past
}

// end has fire do nothing from now on.
func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}
