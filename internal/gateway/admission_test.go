package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// While a slow application holds all places, who comes is told to come again,
// and our own endpoints and health work on.
func TestFullGateway(t *testing.T) {
	entered, leave := make(chan struct{}, 3), make(chan struct{})
	w := newWorld(t, inFrontOf(func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		select {
		case <-leave:
		case <-r.Context().Done():
		}
	}), func(_ *world, o *gateway.Options) {
		o.MaxRequests, o.MaxQueued, o.QueueTimeout = 2, 1, time.Minute
	})
	p := w.person()
	p.signIn(acme)
	statuses := make(chan int, 3)
	begin := func() {
		r := p.request(http.MethodGet, site(acme)+"/", nil)
		go func() {
			response, err := p.client.Do(r)
			if err != nil {
				statuses <- 0
				return
			}
			_ = response.Body.Close()
			statuses <- response.StatusCode
		}()
	}
	begin()
	begin()
	<-entered
	<-entered
	begin() // waits
	refused := func(header ...string) answer {
		var a answer
		w.eventually("the queue is full", func() bool {
			r := p.request(http.MethodGet, site(acme)+"/", nil)
			r.Header.Set("Accept", header[0])
			a = p.do(r)
			return a.StatusCode == http.StatusServiceUnavailable
		})
		return a
	}
	w.eventually("one waits", func() bool { return w.gateway.Waiting() == 1 })
	page := refused("text/html")
	assert.Equal(t, "2", page.Header.Get("Retry-After"))
	assert.Contains(t, page.body, "Please try again in a moment")
	program := refused("application/json")
	assert.Equal(t, "2", program.Header.Get("Retry-After"))
	assert.JSONEq(t, `{"error": "busy"}`, program.body)
	assert.Equal(t, "no-store", program.Header.Get("Cache-Control"))

	other := w.person()
	assert.Equal(t, http.StatusFound, other.get(site(acme)+"/").StatusCode, "who is not signed in needs no place")
	other.signIn(acme)
	require.NoError(t, w.gateway.Ready())
	close(leave)
	for range 3 {
		assert.Equal(t, http.StatusOK, <-statuses)
	}
	w.eventually("all places are free", func() bool { return p.get(site(acme)+"/").StatusCode == http.StatusOK })
}

// One client does not take the places of all, where a proxy says who it is.
func TestFullForOneClient(t *testing.T) {
	entered := make(chan struct{}, 3)
	w := newWorld(t, inFrontOf(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-r.Context().Done()
		}
	}), behindProxies, func(_ *world, o *gateway.Options) { o.MaxRequestsPerClient = 2 })
	p := w.person()
	p.signIn(acme)
	from := func(path, address string) *http.Request {
		r := p.request(http.MethodGet, site(acme)+path, nil)
		if address != "" {
			r.Header.Set("X-Forwarded-For", address)
		}
		return r
	}
	hold := func(n int, address string) {
		for range n {
			r := from("/slow", address)
			go func() {
				if response, err := p.client.Do(r); err == nil {
					_ = response.Body.Close()
				}
			}()
			<-entered
		}
	}
	hold(2, "198.51.100.7")
	assert.Equal(t, http.StatusServiceUnavailable, p.do(from("/", "198.51.100.7")).StatusCode)
	assert.Equal(t, http.StatusOK, p.do(from("/", "198.51.100.8")).StatusCode)
	hold(3, "") // the proxy itself is many clients
	assert.Equal(t, http.StatusOK, p.do(from("/", "")).StatusCode)
}

// A tenant's own application that does not answer leaves places to others.
func TestT15_SlowApplicationOfATenant(t *testing.T) {
	entered := make(chan struct{}, 2)
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-r.Context().Done()
		}
	}))
	t.Cleanup(slow.Close)
	w := newWorld(t, tenantUpstreams("127.0.0.1/32"), configured(func(c *tenantconfig.Config) { c.Application.Upstream = slow.URL }),
		func(_ *world, o *gateway.Options) { o.MaxRequests = 8 })
	p, other := w.person(), w.person()
	p.signIn(acme)
	other.signIn(globex)
	ctx, stop := context.WithCancel(t.Context())
	for range 2 {
		r := p.request(http.MethodGet, site(acme)+"/slow", nil).WithContext(ctx)
		go func() {
			if response, err := p.client.Do(r); err == nil {
				_ = response.Body.Close()
			}
		}()
		<-entered
	}
	assert.Equal(t, http.StatusServiceUnavailable, p.get(site(acme)+"/").StatusCode)
	assert.Equal(t, http.StatusOK, other.get(site(globex)+"/").StatusCode)
	stop()
	w.eventually("the places are free", func() bool { return p.get(site(acme)+"/").StatusCode == http.StatusOK })
}
