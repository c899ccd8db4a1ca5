package traffic

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"cequence.cloud/saml-operator/internal/testidp"
)

const (
	acsPath       = "/saml/acs"
	sessionCookie = "__Host-saml-session"
	// keptAnswers are those that are sent again later.
	keptAnswers   = 64
	attackTimeout = 10 * time.Second
)

// Attacker has everything that a victim's browser has, can have any identity
// provider of the sites say what he likes to his own tenant, and reaches each
// replica of the gateway by itself.
type Attacker struct {
	roots *x509.CertPool
	sites []*Site
	// replicas returns the addresses of those that there are.
	replicas func() []string
	random   *rand.Rand

	answers []*answer
	mu      sync.Mutex
	replays Attacks
	crossed Attacks
}

// answer of an identity provider, and the cookies of the request for it.
type answer struct {
	site     *Site
	response []byte
	cookies  []*http.Cookie
	// accepted counts who was let in by it.
	accepted int
	// session is the cookie of the first of them.
	session *http.Cookie
}

// NewAttacker returns an Attacker who chooses by the seed. There must be two
// sites at least.
func NewAttacker(roots *x509.CertPool, seed uint64, replicas func() []string, sites ...*Site) *Attacker {
	return &Attacker{roots: roots, sites: sites, replicas: replicas, random: rand.New(rand.NewPCG(seed, 1))}
}

// Attacks returns the replays, and the attempts to come into another tenant, so
// far.
func (a *Attacker) Attacks() (replays, crossed Attacks) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.replays, a.crossed
}

// Run attacks again and again until ctx ends.
func (a *Attacker) Run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// An attempt that meets nobody counts as one that was not answered.
			a.attack(context.WithoutCancel(ctx))
		}
	}
}

func (a *Attacker) attack(ctx context.Context) {
	from, to := a.twoSites()
	switch choice := a.random.IntN(6); {
	case choice < 2:
		a.race(ctx, from)
	case choice == 2 && len(a.answers) > 0:
		a.send(ctx, a.answers[a.random.IntN(len(a.answers))])
	case choice == 3:
		a.carry(ctx, from, to)
	case choice == 4:
		a.vouch(ctx, from, to)
	default:
		a.reuseSession(ctx, to)
	}
}

func (a *Attacker) twoSites() (from, to *Site) {
	i := a.random.IntN(len(a.sites))
	j := (i + 1 + a.random.IntN(len(a.sites)-1)) % len(a.sites)
	return a.sites[i], a.sites[j]
}

// race has all replicas get a fresh answer at the same time, one of which may
// take it, and keeps it for later.
func (a *Attacker) race(ctx context.Context, site *Site) {
	request, err := a.begin(ctx, site)
	if err != nil {
		return
	}
	response, err := site.answer(site.IDP, request.id)
	if err != nil {
		return
	}
	fresh := &answer{site: site, response: response, cookies: request.cookies}
	a.send(ctx, fresh)
	a.answers = append(a.answers, fresh)
	if len(a.answers) > keptAnswers {
		a.answers = slices.Delete(a.answers, 0, 1)
	}
}

// send posts an answer to all replicas at the same time.
func (a *Attacker) send(ctx context.Context, what *answer) {
	var (
		sending sync.WaitGroup
		mu      sync.Mutex
	)
	replicas := a.replicas()
	before := Excess(what.accepted)
	answered := 0
	for _, replica := range replicas {
		sending.Go(func() {
			session, err := a.post(ctx, replica, what.site, what.response, what.cookies)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				answered++
			}
			if session != nil {
				what.accepted++
				what.session = session
			}
		})
	}
	sending.Wait()
	a.count(&a.replays, Attacks{Tried: len(replicas), Answered: answered, Accepted: Excess(what.accepted) - before})
}

// carry brings a fresh answer for one tenant to another.
func (a *Attacker) carry(ctx context.Context, from, to *Site) {
	request, err := a.begin(ctx, from)
	if err != nil {
		return
	}
	response, err := from.answer(from.IDP, request.id)
	if err != nil {
		return
	}
	a.cross(ctx, to, response, request.cookies)
}

// vouch has the identity provider of one tenant answer the request of another.
func (a *Attacker) vouch(ctx context.Context, from, to *Site) {
	request, err := a.begin(ctx, to)
	if err != nil {
		return
	}
	response, err := to.answerBy(from, request.id)
	if err != nil {
		return
	}
	a.cross(ctx, to, response, request.cookies)
}

func (a *Attacker) cross(ctx context.Context, to *Site, response []byte, cookies []*http.Cookie) {
	session, err := a.post(ctx, a.anyReplica(), to, response, cookies)
	one := Attacks{Tried: 1}
	if err == nil {
		one.Answered = 1
	}
	if session != nil {
		one.Accepted = 1
	}
	a.count(&a.crossed, one)
}

// reuseSession brings sessions of others to a tenant.
func (a *Attacker) reuseSession(ctx context.Context, to *Site) {
	for _, other := range a.answers {
		if other.site == to || other.session == nil {
			continue
		}
		one := Attacks{Tried: 1}
		got, err := a.do(ctx, a.anyReplica(), http.MethodGet, to.Origin+reportsPath, nil, []*http.Cookie{other.session})
		if err == nil {
			one.Answered = 1
			if got.status == http.StatusOK {
				one.Accepted = 1
			}
		}
		a.count(&a.crossed, one)
		return
	}
}

func (a *Attacker) count(to *Attacks, one Attacks) {
	a.mu.Lock()
	defer a.mu.Unlock()
	to.Tried += one.Tried
	to.Answered += one.Answered
	to.Accepted += one.Accepted
}

func (a *Attacker) anyReplica() string {
	replicas := a.replicas()
	if len(replicas) == 0 {
		return ""
	}
	return replicas[a.random.IntN(len(replicas))]
}

// request for an answer: its ID, and the cookies that the browser got with it.
type request struct {
	id      string
	cookies []*http.Cookie
}

// begin starts a sign-in at some replica.
func (a *Attacker) begin(ctx context.Context, site *Site) (request, error) {
	got, err := a.do(ctx, a.anyReplica(), http.MethodGet, site.Origin+loginPath+"?return_to=%2Freports", nil, nil)
	if err != nil {
		return request{}, err
	}
	if got.location == nil {
		return request{}, fmt.Errorf("%s answered %d", loginPath, got.status)
	}
	id, err := requestID(got.location)
	return request{id: id, cookies: got.cookies}, err
}

// requestID reads it from the URL of the Redirect binding. [SAMLBind 3.4.4.1]
func requestID(u *url.URL) (string, error) {
	deflated, err := base64.StdEncoding.DecodeString(u.Query().Get("SAMLRequest"))
	if err != nil {
		return "", err
	}
	var request struct {
		ID string `xml:",attr"`
	}
	if err := xml.NewDecoder(flate.NewReader(bytes.NewReader(deflated))).Decode(&request); err != nil {
		return "", fmt.Errorf("read SAMLRequest: %w", err)
	}
	return request.ID, nil
}

// post sends an answer to a replica and returns the session that it begins, nil
// for none. Its error says that nobody has answered.
func (a *Attacker) post(ctx context.Context, replica string, to *Site, response []byte, cookies []*http.Cookie) (*http.Cookie, error) {
	form := url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString(response)}}
	got, err := a.do(ctx, replica, http.MethodPost, to.Origin+acsPath, form, cookies)
	if err != nil {
		return nil, err
	}
	for _, cookie := range got.cookies {
		if cookie.Name == sessionCookie && cookie.Value != "" && cookie.MaxAge >= 0 {
			return cookie, nil
		}
	}
	return nil, nil
}

var errNoReplica = errors.New("the gateway has no replica")

// reply is an answer of the gateway that was read to its end.
type reply struct {
	status   int
	location *url.URL // nil for none
	cookies  []*http.Cookie
}

// do sends a request to a replica by itself.
func (a *Attacker) do(ctx context.Context, replica, method, to string, form url.Values, cookies []*http.Cookie) (reply, error) {
	if replica == "" {
		return reply{}, errNoReplica
	}
	ctx, cancel := context.WithTimeout(ctx, attackTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(form.Encode()))
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, replica)
		},
		TLSClientConfig:   &tls.Config{RootCAs: a.roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }()
	got := reply{status: response.StatusCode, cookies: response.Cookies()}
	if location, err := response.Location(); err == nil {
		got.location = location
	}
	_, err = io.Copy(io.Discard, response.Body)
	return got, err
}

// answer of the site's own identity provider to its request.
func (s *Site) answer(idp *testidp.IDP, requestID string) ([]byte, error) {
	return idp.IssueResponse(testidp.ResponseOptions{
		UserName: s.Users[0].Name, Audience: s.Origin + ":443/saml/metadata", ACSURL: s.Origin + acsPath, InResponseTo: requestID,
	})
}

// answerBy another site's identity provider, in the name of one of its users.
func (s *Site) answerBy(other *Site, requestID string) ([]byte, error) {
	return (&Site{Origin: s.Origin, Users: other.Users}).answer(other.IDP, requestID)
}

// Strangers bring what one installation has given out, for a site of the same
// name and the same identity provider, to another installation: an answer of the
// identity provider, and a session. They bring both to their own as well, where
// they must be good: otherwise Strangers returns an error.
func Strangers(ctx context.Context, roots *x509.CertPool, own *Site, ownGateway string, other *Site, otherGateway string) (Attacks, error) {
	here := NewAttacker(roots, 0, func() []string { return []string{ownGateway} }, own)
	there := NewAttacker(roots, 0, func() []string { return []string{otherGateway} }, other)
	request, err := here.begin(ctx, own)
	if err != nil {
		return Attacks{}, err
	}
	response, err := own.answer(own.IDP, request.id)
	if err != nil {
		return Attacks{}, err
	}
	there.cross(ctx, other, response, request.cookies)
	session, err := here.post(ctx, ownGateway, own, response, request.cookies)
	if err != nil {
		return Attacks{}, err
	}
	if session == nil {
		return Attacks{}, errors.New("the answer is not good where it belongs")
	}
	there.answers = []*answer{{site: own, session: session}}
	there.reuseSession(ctx, other)
	_, crossed := there.Attacks()
	return crossed, nil
}
