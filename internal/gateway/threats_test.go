package gateway_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/session"
)

// Rows of the threat model that no other test of the gateway covers.

// One answer, posted by many at once, signs in one of them.
func TestB4_ParallelReplay(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	requestID, relayState := p.login(acme, "/")
	response := w.issue(acme, acme, requestID)
	thieves := make([]*person, 20)
	statuses := make([]int, len(thieves))
	for i := range thieves {
		thieves[i] = w.person()
		p.give(acme, thieves[i], acme)
	}
	var all sync.WaitGroup
	for i, thief := range thieves {
		all.Go(func() { statuses[i] = thief.post(acme, response, relayState).StatusCode })
	}
	all.Wait()
	in := 0
	for i, thief := range thieves {
		_, signedIn := thief.whoami(acme)
		if signedIn {
			in++
		}
		if signedIn != (statuses[i] == http.StatusSeeOther) {
			t.Errorf("status %d, signed in %t", statuses[i], signedIn)
		}
	}
	if in != 1 {
		t.Errorf("%d sessions, want one", in)
	}
}

// An attacker's session in the victim's browser ends with the victim's own
// sign-in: the ID is new, and the old cookie is not taken up.
func TestT5_SessionFixation(t *testing.T) {
	w := newWorld(t)
	attacker, victim := w.person(), w.person()
	attacker.signIn(acme)
	fixed := attacker.cookies(acme)
	victim.client.Jar.SetCookies(&url.URL{Scheme: "https", Host: host(acme)}, fixed)
	victim.signIn(acme)
	own := victim.cookies(acme)
	if len(own) != 1 || own[0].Name != session.CookieName || own[0].Value == fixed[0].Value {
		t.Errorf("cookies after the sign-in: %v", own)
	}
	if a := victim.do(victim.request(http.MethodPost, site(acme)+"/saml/logout", nil)); a.StatusCode >= 400 {
		t.Fatalf("sign-out: status %d", a.StatusCode)
	}
	if _, in := attacker.whoami(acme); !in {
		t.Error("both had the same session")
	}
}

// Of a connection on which somebody else's next request may seem to begin
// within this one's body, nothing more is read.
func TestT10_RequestSmuggling(t *testing.T) {
	w := newWorld(t)
	p := w.person()
	p.signIn(acme)
	cookie := "Cookie: " + p.cookies(acme)[0].String()
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: " + host(acme) + "\r\n" + cookie + "\r\n\r\n"
	for name, test := range map[string]struct {
		headers []string
		status  string
	}{
		"length and chunks":     {[]string{fmt.Sprint("Content-Length: ", len(smuggled)+5), "Transfer-Encoding: chunked"}, "200"},
		"chunks and length":     {[]string{"Transfer-Encoding: chunked", "Content-Length: 0"}, "200"},
		"chunks":                {[]string{"Transfer-Encoding: chunked"}, "200"},
		"two lengths":           {[]string{"Content-Length: 0", fmt.Sprint("Content-Length: ", len(smuggled)+5)}, "400"},
		"length with a sign":    {[]string{"Content-Length: +5"}, "400"},
		"two encodings":         {[]string{"Transfer-Encoding: chunked", "Transfer-Encoding: identity"}, "501"},
		"encoding of two":       {[]string{"Transfer-Encoding: gzip, chunked"}, "501"},
		"unknown encoding":      {[]string{"Transfer-Encoding: xchunked"}, "501"},
		"blank before a colon":  {[]string{"Transfer-Encoding : chunked"}, "400"},
		"line feed in a header": {[]string{"X-A: b\rTransfer-Encoding: chunked"}, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", w.server.Listener.Addr().String(), &tls.Config{RootCAs: w.roots, ServerName: host(acme), MinVersion: tls.VersionTLS12})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			request := append([]string{"POST /first HTTP/1.1", "Host: " + host(acme), cookie}, test.headers...)
			if _, err := io.WriteString(conn, strings.Join(request, "\r\n")+"\r\n\r\n0\r\n\r\n"+smuggled); err != nil {
				t.Fatal(err)
			}
			// The server closes the connection, or this would wait for more.
			_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
			answers, err := io.ReadAll(conn)
			if err != nil {
				t.Errorf("the connection is still open: %v", err)
			}
			if !strings.HasPrefix(string(answers), "HTTP/1.1 "+test.status) {
				t.Errorf("answered %.100q, want status %s", answers, test.status)
			}
			if strings.Contains(string(answers), "/smuggled") {
				t.Errorf("a request within a body was served: %s", answers)
			}
		})
	}
}
