// Package testbrowser plays the person in front of a browser: it follows
// redirects, keeps cookies as browsers do, posts the forms that a script would
// submit, and signs in at an IdP it has never seen by filling its form.
//
// It runs no scripts. All traffic verifies TLS.
package testbrowser

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// requestTimeout bounds one request with its body.
	requestTimeout = 30 * time.Second
	// maxBodyBytes bounds a page.
	maxBodyBytes = 8 << 20
	// defaultMaxSteps bounds the requests of one call: a sign-in takes about
	// eight.
	defaultMaxSteps = 30
)

// Options of a Browser.
type Options struct {
	// RootCAs verify servers, the system's roots if nil.
	RootCAs *x509.CertPool
	// Dial maps a host, or a host:port, to the address to connect to instead.
	// An address without a port keeps the URL's. Names that end in .localhost
	// go to 127.0.0.1 unless they are mapped [RFC6761 6.3].
	Dial map[string]string
	// MaxSteps bounds the requests of one call, 30 if zero.
	MaxSteps int
	// OnStep, if not nil, is called after each request.
	OnStep func(Step)
}

// Step is one request and its answer, fit to be shown: URL has the names of
// its query parameters only.
type Step struct {
	Method string
	URL    string
	// Status is zero if there was no answer.
	Status int
	// Title of the page, empty for a redirect.
	Title string
}

func (s Step) String() string {
	text := s.Method + " " + s.URL
	if s.Status != 0 {
		text += fmt.Sprintf(": %d", s.Status)
	}
	if s.Title != "" {
		text += fmt.Sprintf(" %q", s.Title)
	}
	return text
}

// Error says at which step a visit failed.
type Error struct {
	Step Step
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Step, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrRefused means that the IdP asked again after it got the password.
var ErrRefused = errors.New("the IdP asks again: it does not accept the user name or the password")

// Browser of one person. It is not safe for concurrent use.
type Browser struct {
	client   *http.Client
	jar      *jar
	maxSteps int
	onStep   func(Step)
	steps    []Step
	left     int
	page     *Page
}

// New makes a browser without cookies.
func New(o Options) *Browser {
	dialer := &net.Dialer{Timeout: requestTimeout}
	return &Browser{
		client: &http.Client{
			Timeout: requestTimeout,
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					return dialer.DialContext(ctx, network, dialAddress(address, o.Dial))
				},
				TLSClientConfig:   &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
				ForceAttemptHTTP2: true,
				IdleConnTimeout:   requestTimeout,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		jar:      newJar(),
		maxSteps: cmp.Or(o.MaxSteps, defaultMaxSteps),
		onStep:   o.OnStep,
	}
}

func dialAddress(address string, mapped map[string]string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	to, ok := mapped[address]
	if !ok {
		to, ok = mapped[host]
	}
	switch {
	case !ok && (host == "localhost" || strings.HasSuffix(host, ".localhost")):
		return net.JoinHostPort("127.0.0.1", port)
	case !ok:
		return address
	}
	if _, _, err := net.SplitHostPort(to); err != nil {
		return net.JoinHostPort(to, port)
	}
	return to
}

// Steps since the browser was made.
func (b *Browser) Steps() []Step { return slices.Clone(b.steps) }

// Page that is shown, nil at first.
func (b *Browser) Page() *Page { return b.page }

// Cookies which a request to the URL would carry, if the person typed it.
func (b *Browser) Cookies(rawURL string) ([]*http.Cookie, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	return b.jar.cookies(u, true, true), nil
}

// CloseIdleConnections lets a test server close at once.
func (b *Browser) CloseIdleConnections() { b.client.CloseIdleConnections() }

// Open goes to a URL as if it were typed, follows redirects, and submits what
// a script on the way would submit. It returns the page at the end, whatever
// its status.
func (b *Browser) Open(ctx context.Context, rawURL string) (*Page, error) {
	b.left = b.maxSteps
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	return b.visit(ctx, navigation{method: http.MethodGet, url: u})
}

// FillAndSubmit fills the form of the page and submits it as Open visits: the
// form with a password field, or else the first one that has all the fields. A
// key is the name of a field, or a regular expression for the whole name
// without regard to case. Other fields keep the values of the page.
func (b *Browser) FillAndSubmit(ctx context.Context, fields map[string]string) (*Page, error) {
	b.left = b.maxSteps
	if b.page == nil {
		return nil, errors.New("no page is open")
	}
	values, form, err := b.page.fill(fields)
	if err != nil {
		return b.page, b.fail(err)
	}
	return b.submit(ctx, form, values)
}

// SignIn opens a URL, signs in where the page asks for it, and returns the page
// at the end. A page with a status of 400 or more is an error, and is returned
// with it.
func (b *Browser) SignIn(ctx context.Context, startURL, user, password string) (*Page, error) {
	page, err := b.Open(ctx, startURL)
	var nameSent, passwordSent bool
	for err == nil {
		form, fill := page.signInForm(user, password)
		switch {
		case form == nil || (passwordSent && !fill.hasPassword):
			if page.Status >= http.StatusBadRequest {
				return page, b.fail(errors.New("the visit ended at an error page"))
			}
			return page, nil
		case passwordSent || (nameSent && !fill.hasPassword):
			return page, b.fail(ErrRefused)
		}
		nameSent, passwordSent = true, fill.hasPassword
		page, err = b.submit(ctx, form, fill.values)
	}
	return page, err
}

// navigation is one request which a person or a page starts.
type navigation struct {
	method    string
	url       *url.URL
	form      url.Values
	initiator *url.URL
}

// visit follows a navigation to a page which a person would look at.
func (b *Browser) visit(ctx context.Context, n navigation) (*Page, error) {
	for {
		page, err := b.follow(ctx, n)
		if err != nil {
			return page, err
		}
		b.page = page
		form := page.scriptedForm()
		if form == nil {
			return page, nil
		}
		if n, err = form.navigation(form.defaults()); err != nil {
			return page, b.fail(err)
		}
	}
}

func (b *Browser) submit(ctx context.Context, form *Form, values url.Values) (*Page, error) {
	n, err := form.navigation(values)
	if err != nil {
		return b.page, b.fail(err)
	}
	return b.visit(ctx, n)
}

// follow performs a navigation with its redirects.
func (b *Browser) follow(ctx context.Context, n navigation) (*Page, error) {
	for {
		got, err := b.do(ctx, n)
		if err != nil {
			return b.page, err
		}
		location := got.header.Get("Location")
		if location == "" || !isRedirect(got.status) {
			page := newPage(n.url, got)
			b.record(n, got.status, page.Title)
			return page, nil
		}
		b.record(n, got.status, "")
		to, err := n.url.Parse(location)
		if err != nil {
			return b.page, b.fail(errors.New("the redirect has no valid Location"))
		}
		// 307 and 308 repeat the request, the others read the new place
		// [RFC9110 15.4].
		if got.status != http.StatusTemporaryRedirect && got.status != http.StatusPermanentRedirect {
			n.method, n.form = http.MethodGet, nil
		}
		n.url = to
	}
}

func isRedirect(status int) bool {
	return slices.Contains([]int{301, 302, 303, 307, 308}, status)
}

// answer to one request, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (b *Browser) do(ctx context.Context, n navigation) (answer, error) {
	failed := func(err error) (answer, error) {
		return answer{}, &Error{Step: Step{Method: n.method, URL: shownURL(n.url)}, Err: err}
	}
	if b.left--; b.left < 0 {
		return failed(fmt.Errorf("more than %d requests", b.maxSteps))
	}
	if n.url.Scheme != "https" && n.url.Scheme != "http" {
		return failed(fmt.Errorf("the scheme %q is not for the web", n.url.Scheme))
	}
	request, err := http.NewRequestWithContext(ctx, n.method, n.url.String(), strings.NewReader(n.form.Encode()))
	if err != nil {
		return failed(err)
	}
	n.setHeaders(request.Header)
	for _, cookie := range b.jar.cookies(n.url, n.sameSite(), n.method == http.MethodGet) {
		request.AddCookie(cookie)
	}
	response, err := b.client.Do(request)
	if err != nil {
		// The url.Error around the cause would show the whole query.
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return failed(err)
	}
	defer func() { _ = response.Body.Close() }()
	b.jar.set(n.url, response.Cookies())
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes+1))
	if err == nil && len(body) > maxBodyBytes {
		err = fmt.Errorf("more than %d bytes", maxBodyBytes)
	}
	if err != nil {
		return failed(fmt.Errorf("read the page: %w", err))
	}
	return answer{status: response.StatusCode, header: response.Header, body: body}, nil
}

func (n navigation) setHeaders(h http.Header) {
	h.Set("User-Agent", "Mozilla/5.0 (testbrowser)")
	h.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	h.Set("Accept-Language", "en")
	h.Set("Sec-Fetch-Mode", "navigate")
	h.Set("Sec-Fetch-Dest", "document")
	if n.method == http.MethodPost {
		h.Set("Content-Type", "application/x-www-form-urlencoded")
		if n.initiator != nil {
			h.Set("Origin", n.initiator.Scheme+"://"+n.initiator.Host)
		}
	}
}

// sameSite: what a person types belongs to no other site.
func (n navigation) sameSite() bool { return n.initiator == nil || site(n.initiator) == site(n.url) }

func (b *Browser) record(n navigation, status int, title string) {
	step := Step{Method: n.method, URL: shownURL(n.url), Status: status, Title: title}
	b.steps = append(b.steps, step)
	if b.onStep != nil {
		b.onStep(step)
	}
}

// fail blames the last step.
func (b *Browser) fail(err error) error { return &Error{Step: b.steps[len(b.steps)-1], Err: err} }

// shownURL has no user, no fragment and no values in its query.
func shownURL(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	var names []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if name, _, _ := strings.Cut(part, "="); name != "" {
			names = append(names, name)
		}
	}
	shown.RawQuery = strings.Join(names, "&")
	return shown.String()
}
