package idpmetadata

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"cequence.cloud/saml-operator/internal/dialguard"
)

const (
	defaultMaxBytes  = 10 << 20
	defaultTimeout   = 10 * time.Second
	defaultUserAgent = "saml-operator"

	maxRedirects     = 3
	maxHeaderBytes   = 64 << 10
	maxValidatorSize = 512 // bytes of an ETag or Last-Modified value
)

// FetcherOptions limit where a [Fetcher] goes and how much it takes.
type FetcherOptions struct {
	// AllowCIDRs are networks that may be reached although they are not on
	// the public internet.
	AllowCIDRs []netip.Prefix
	// MaxBytes limits the document after decompression; 10 MiB if zero.
	MaxBytes int64
	// Timeout limits a fetch from the first DNS query to the last byte; 10 s
	// if zero.
	Timeout time.Duration
	// LargeDocuments limits how many documents of more than 1 MiB are held at
	// once, from the download until [Result.Close]; 2 if zero. A host has one
	// of them at most.
	LargeDocuments int
	// FetchesPerHost limits how many callers wait for the same host and port at
	// once; 16 if zero. It should be at most a quarter of those that call.
	FetchesPerHost int
	// UserAgent is sent with each request; "saml-operator" if empty.
	UserAgent string
	// Resolver looks up host names; the system's if nil.
	Resolver *net.Resolver
}

// Fetcher downloads metadata from URLs that tenants choose. It speaks https
// only, follows at most three redirects, uses no proxy, sends no cookies or
// credentials, and connects to no address on the inside. It may be used by
// several goroutines at once. Callers that ask for the very same at the same
// time share one download; else fetches share no connections, so that nothing
// of one tenant, such as its trusted CA, reaches another.
//
// It spares hosts, and its callers those that do not answer: few fetches go to
// one host at a time, and one that goes on failing is asked by one fetch at a
// time with growing pauses, up to a minute. Who comes in between gets the
// failure at once.
//
// Its memory is bounded whatever the number of callers, since downloading and
// reading a document takes a multiple of its size, and 10 KiB of gzip make
// 10 MiB: a document grows beyond 1 MiB only while it has one of a few slots,
// which the caller gives back with [Result.Close].
type Fetcher struct {
	options FetcherOptions
	large   *slots
	hosts   *hosts
	flights *flights
}

// NewFetcher fills in the defaults.
func NewFetcher(options FetcherOptions) *Fetcher {
	if options.MaxBytes == 0 {
		options.MaxBytes = defaultMaxBytes
	}
	if options.Timeout == 0 {
		options.Timeout = defaultTimeout
	}
	if options.UserAgent == "" {
		options.UserAgent = defaultUserAgent
	}
	if options.LargeDocuments == 0 {
		options.LargeDocuments = defaultLargeSlots
	}
	if options.FetchesPerHost == 0 {
		options.FetchesPerHost = defaultFetchesPerHost
	}
	options.AllowCIDRs = slices.Clone(options.AllowCIDRs)
	return &Fetcher{
		options: options,
		large:   newSlots(options.LargeDocuments),
		hosts:   newHosts(options.FetchesPerHost),
		flights: newFlights(),
	}
}

// Request says what to fetch. ETag and LastModified are those of the last
// [Result]; with them the server may answer that nothing has changed.
type Request struct {
	URL string
	// CABundle holds PEM certificates that replace the system's roots.
	CABundle           []byte
	ETag, LastModified string
	// MayWait: nobody is waiting for the answer, so other requests to the same
	// host go first.
	MayWait bool
}

// Result is a downloaded document, or NotModified without one. It must be
// closed once the document has been read. The document must not be changed,
// since other callers may have it, too.
type Result struct {
	Document           []byte
	NotModified        bool
	ETag, LastModified string

	release func() // gives back the slot of a large document, else nil
}

// Close lets go of the document and gives back the slot that it had if it was
// large. What [Accept] made of it stays valid, and so do the other fields. It
// may be called more than once, and on nil, but not by two goroutines at once.
func (r *Result) Close() {
	if r == nil {
		return
	}
	r.Document = nil
	if r.release != nil {
		r.release()
	}
}

// Fetch downloads a document. The caller must close the result as soon as it
// has read the document, since other fetches may be waiting for its slot. A
// fetch that gets no slot within the time limit fails with [Timeout]. While
// enough fetches from the host are under way, a further one fails at once with
// a [HostBusyError]. Other errors are of type [*Error], except that of a
// cancelled ctx.
func (f *Fetcher) Fetch(ctx context.Context, request Request) (*Result, error) {
	u, err := parseURL(request.URL)
	if err != nil {
		return nil, err
	}
	roots, err := parseRoots(request.CABundle)
	if err != nil {
		return nil, err
	}
	v := newVisit(u, request)
	leave, err := f.hosts.enter(v)
	if err != nil {
		return nil, err
	}
	defer leave()

	key := flightKey{request.URL, string(request.CABundle), request.ETag, request.LastModified}
	result, err := f.flights.do(ctx, key, func(ctx context.Context) (*Result, error) {
		start := time.Now()
		w := &way{host: hostName(u)}
		result, err := f.download(ctx, request, roots, w)
		if ctx.Err() == nil { // else nobody waited for the end
			f.hosts.ended(v, time.Since(start), failureOf(err, w))
		}
		return result, err
	})
	switch {
	case err == nil:
		return result, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, fmt.Errorf("fetch metadata: %w", ctx.Err())
	case errors.Is(err, context.DeadlineExceeded) && ReasonOf(err) == "":
		return nil, f.timeout(err)
	}
	return nil, err
}

// way is what was seen of the hosts on the way to a document.
type way struct {
	host       string      // as hostName writes it, of the first
	connected  atomic.Bool // to the first host at least
	redirected bool
}

// download fetches on behalf of all who have asked for it.
func (f *Fetcher) download(ctx context.Context, request Request, roots *x509.CertPool, w *way) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, f.options.Timeout)
	defer cancel()
	result, err := f.get(ctx, request, roots, w)
	switch {
	case err == nil:
		return result, nil
	case errors.Is(err, errNoSlot):
		return nil, fail(Timeout, err, "the metadata is larger than %d MiB and the operator is busy with other large documents; it will be fetched again, use a URL that serves the IdP's own metadata instead of an aggregate if this lasts", largeDocument>>20)
	case ctx.Err() != nil:
		return nil, f.timeout(err)
	}
	return nil, classify(err)
}

func (f *Fetcher) timeout(cause error) *Error {
	return fail(Timeout, cause, "the metadata URL gave no complete answer within %s; check that the IdP is reachable from the cluster and serves its metadata quickly", f.options.Timeout)
}

func (f *Fetcher) get(ctx context.Context, request Request, roots *x509.CertPool, w *way) (*Result, error) {
	transport := f.transport(roots, w)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		w.redirected = true
		return checkRedirect(r, via)
	}}

	r, err := http.NewRequestWithContext(ctx, http.MethodGet, request.URL, http.NoBody)
	if err != nil {
		return nil, urlNotAllowed(err, "is not a URL")
	}
	r.Header.Set("User-Agent", f.options.UserAgent)
	r.Header.Set("Accept", "application/samlmetadata+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1")
	conditional := false
	for name, value := range map[string]string{"If-None-Match": request.ETag, "If-Modified-Since": request.LastModified} {
		if isValidator(value) {
			r.Header.Set(name, value)
			conditional = true
		}
	}

	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()

	result := &Result{
		NotModified:  response.StatusCode == http.StatusNotModified && conditional,
		ETag:         validator(response, "ETag"),
		LastModified: validator(response, "Last-Modified"),
	}
	if result.NotModified {
		if result.ETag == "" {
			result.ETag = request.ETag
		}
		if result.LastModified == "" {
			result.LastModified = request.LastModified
		}
		return result, nil
	}
	if response.StatusCode != http.StatusOK {
		return nil, statusError(response.StatusCode)
	}
	result.Document, result.release, err = f.read(ctx, w.host, response.Body)
	if err != nil {
		return nil, err
	}
	return result, nil
}

// read returns the body. If it is large, it has a slot, which release gives
// back; else release is nil. What waits for a slot holds no more than a small
// document.
func (f *Fetcher) read(ctx context.Context, host string, body io.Reader) (document []byte, release func(), err error) {
	small := min(largeDocument, f.options.MaxBytes)
	start, err := readUpTo(ctx, body, small+1)
	switch {
	case err != nil:
		return nil, nil, err
	case int64(len(start)) <= small:
		return start, nil, nil
	case small == f.options.MaxBytes:
		return nil, nil, f.tooLarge()
	}

	giveBack, err := f.large.acquire(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if release == nil {
			giveBack()
		}
	}()
	document, err = readUpTo(ctx, io.MultiReader(bytes.NewReader(start), body), f.options.MaxBytes+1)
	if err != nil {
		return nil, nil, err
	}
	if int64(len(document)) > f.options.MaxBytes {
		return nil, nil, f.tooLarge()
	}
	return document, giveBack, nil
}

// readUpTo limits the body as it comes out of decompression.
func readUpTo(ctx context.Context, body io.Reader, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(body, limit))
	if err == nil {
		// A server that notices the end of our patience may end its body in
		// good form while the connection is being closed.
		err = ctx.Err()
	}
	return content, err
}

func (f *Fetcher) tooLarge() *Error {
	return fail(TooLarge, nil, "the metadata URL serves more than %d bytes; use a URL that serves the IdP's own metadata instead of an aggregate", f.options.MaxBytes)
}

// transport makes one for a single fetch. It cannot speak anything but TLS.
func (f *Fetcher) transport(roots *x509.CertPool, w *way) *http.Transport {
	dialer := &net.Dialer{
		Resolver: f.options.Resolver,
		ControlContext: dialguard.Control(func(address netip.Addr) bool {
			return dialguard.Public(address, f.options.AllowCIDRs...)
		}),
	}
	return &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, errPlain
		},
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialTLS(ctx, dialer, network, address, roots)
			if err == nil {
				w.connected.Store(true)
			}
			return conn, err
		},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

var errPlain = errors.New("connection without TLS")

// tlsError marks what went wrong after the connection was made and before
// it was safe.
type tlsError struct{ error }

func (e tlsError) Unwrap() error { return e.error }

func dialTLS(ctx context.Context, dialer *net.Dialer, network, address string, roots *x509.CertPool) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	raw, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12})
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, tlsError{err}
	}
	return conn, nil
}

// parseRoots returns nil, which stands for the system's roots, without a
// bundle.
func parseRoots(bundle []byte) (*x509.CertPool, error) {
	if len(bundle) == 0 {
		return nil, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return nil, fail(TLSFailed, nil, "metadataCA holds no certificate; put the PEM certificate of the authority there that issued the metadata host's certificate")
	}
	return roots, nil
}

func urlNotAllowed(cause error, problem string) *Error {
	return fail(URLNotAllowed, cause, "the metadata URL %s; use a complete https URL such as https://idp.example.com/metadata", problem)
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The parser's words quote the URL, which may hold a password.
		return nil, urlNotAllowed(nil, "cannot be read as a URL")
	}
	if problem := urlProblem(u); problem != "" {
		return nil, urlNotAllowed(nil, problem)
	}
	return u, nil
}

// numericHost matches hosts that some resolvers read as an IPv4 address in
// decimal, octal, hexadecimal or shortened form.
var numericHost = regexp.MustCompile(`(?i)(^|\.)([0-9]+|0x[0-9a-f]*)\.?$`)

// urlProblem says in a phrase why the URL must not be fetched, or nothing.
func urlProblem(u *url.URL) string {
	host := u.Hostname()
	address, err := netip.ParseAddr(host)
	switch {
	case u.Scheme != "https":
		return "is not https"
	case host == "":
		return "names no host"
	case u.User != nil:
		return "contains a user name or password"
	case u.Fragment != "":
		return "contains a fragment"
	case err == nil && address.Zone() != "":
		return "names a network interface"
	case err != nil && (numericHost.MatchString(host) || strings.Contains(host, ":")):
		return "writes the host's address in an unusual form"
	}
	return ""
}

// checkRedirect holds each hop to the rules of the first.
func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fail(RedirectNotAllowed, nil, "the metadata URL redirects more than %d times; set metadataURL to the final URL", maxRedirects)
	}
	if problem := urlProblem(r.URL); problem != "" {
		return fail(RedirectNotAllowed, nil, "the metadata URL redirects to a URL that %s; set metadataURL to the final https URL", problem)
	}
	// It would tell the next host the path and query of the one before.
	r.Header.Del("Referer")
	return nil
}

// status is the code of an answer that is no success.
type status int

func (s status) Error() string { return fmt.Sprintf("HTTP status %d", int(s)) }

func statusError(code int) *Error {
	var next string
	switch {
	case code == http.StatusNotFound || code == http.StatusGone:
		next = "check the path and the application ID in metadataURL, and that the application still exists at the IdP"
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		next = "the metadata must be readable without signing in, check its access rules at the IdP"
	case code == http.StatusTooManyRequests:
		next = "the IdP limits requests and will be asked again, raise refreshInterval if this lasts"
	case code >= 500:
		next = "the IdP has a problem and will be asked again, tell its administrator if this lasts"
	case code >= 300 && code < 400:
		next = "set metadataURL to the URL that serves the document itself"
	default:
		next = "check metadataURL in a browser"
	}
	text := strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
	return fail(HTTPStatus, status(code), "the metadata URL answered %s; %s", text, next)
}

// classify turns an error of the HTTP client into one to act on. Neither the
// client's words nor what distinguishes a closed from a filtered port come
// through: with them a tenant could explore the network of the operator.
func classify(err error) *Error {
	var known *Error
	var dns *net.DNSError
	var handshake tlsError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, dialguard.ErrInside):
		return fail(URLNotAllowed, err, "the host of the metadata URL, or of a redirect, resolves to an address that is not allowed; use a public URL, or have the operator allow the network with --metadata-allow-cidrs")
	case errors.As(err, &dns):
		return fail(DNSFailed, err, "the host name of the metadata URL, or of a redirect, cannot be resolved; check its spelling and the cluster's DNS")
	case errors.As(err, &handshake):
		return fail(TLSFailed, err, "no trusted TLS connection to the metadata host: %s", tlsProblem(handshake))
	}
	return fail(ConnectFailed, err, "the connection to the metadata host failed or broke before the answer was complete; check that the host is up and reachable from the cluster")
}

func tlsProblem(err error) string {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return "its certificate is not issued by a trusted authority; put the authority's certificate into metadataCA, or have one of a public authority installed"
	case errors.As(err, &hostname):
		return "its certificate is for another host name; correct metadataURL or the certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired or is not valid yet; have it renewed"
	}
	return "the handshake failed; check that the port serves https with TLS 1.2 or newer and a valid certificate"
}

// validator returns a response header if it can be sent back.
func validator(response *http.Response, name string) string {
	if value := response.Header.Get(name); isValidator(value) {
		return value
	}
	return ""
}

func isValidator(value string) bool {
	return value != "" && len(value) <= maxValidatorSize && !strings.ContainsFunc(value, func(r rune) bool {
		return r < ' ' || r > '~'
	})
}
