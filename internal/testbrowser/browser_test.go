package testbrowser_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crewjam/saml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/testbrowser"
	"cequence.cloud/saml-operator/internal/testidp"
)

// web serves hosts of the name space .localhost by TLS on one loopback port.
type web struct {
	roots *x509.CertPool
	port  string
	hosts map[string]http.Handler
}

func newWeb(t *testing.T) *web {
	t.Helper()
	w := &web{roots: x509.NewCertPool(), hosts: map[string]http.Handler{}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"idp.localhost", "app.localhost", "a.app.localhost", "mapped.example.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	root, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	w.roots.AddCert(root)

	server := httptest.NewUnstartedServer(w)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, w.port, err = net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	return w
}

func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	if h := w.hosts[host]; h != nil {
		h.ServeHTTP(rw, r)
		return
	}
	http.NotFound(rw, r)
}

func (w *web) url(host, path string) string { return "https://" + host + ":" + w.port + path }

func (w *web) browser() *testbrowser.Browser {
	return testbrowser.New(testbrowser.Options{RootCAs: w.roots})
}

func page(w http.ResponseWriter, format string, args ...any) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = fmt.Fprintf(w, format, args...)
}

// relyingParty signs people in at idp, keeps who they are in a cookie and says
// it on its front page.
func relyingParty(t *testing.T, w *web, host string, idp *testidp.IDP) http.Handler {
	t.Helper()
	document, err := idp.Metadata()
	require.NoError(t, err)
	var metadata saml.EntityDescriptor
	require.NoError(t, xml.Unmarshal(document, &metadata))
	acs, err := url.Parse(w.url(host, "/saml/acs"))
	require.NoError(t, err)
	sp := saml.ServiceProvider{
		EntityID: w.url(host, "/saml/metadata"), AcsURL: *acs, IDPMetadata: &metadata,
		AuthnNameIDFormat: saml.UnspecifiedNameIDFormat,
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(rw http.ResponseWriter, r *http.Request) {
		if who, err := r.Cookie("__Host-who"); err == nil {
			page(rw, "<title>Welcome</title>Hello %s at %s", who.Value, r.URL.Path)
			return
		}
		request, err := sp.MakeAuthenticationRequest(idp.SSOURL(), saml.HTTPRedirectBinding, saml.HTTPPostBinding)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		http.SetCookie(rw, &http.Cookie{
			Name: "__Host-request", Value: request.ID, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode,
		})
		to, err := request.Redirect(url.QueryEscape(r.URL.Path), &sp)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		http.Redirect(rw, r, to.String(), http.StatusFound)
	})
	mux.HandleFunc("POST /saml/acs", func(rw http.ResponseWriter, r *http.Request) {
		pending, err := r.Cookie("__Host-request")
		if err != nil {
			http.Error(rw, "no request", http.StatusForbidden)
			return
		}
		_ = r.ParseForm()
		assertion, err := sp.ParseResponse(r, []string{pending.Value})
		if err != nil {
			http.Error(rw, "refused", http.StatusForbidden)
			return
		}
		http.SetCookie(rw, &http.Cookie{
			Name: "__Host-who", Value: assertion.Subject.NameID.Value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		})
		path, _ := url.QueryUnescape(r.PostForm.Get("RelayState"))
		http.Redirect(rw, r, path, http.StatusSeeOther)
	})
	return mux
}

func samlWeb(t *testing.T) *web {
	t.Helper()
	w := newWeb(t)
	idp, err := testidp.New(testidp.Options{
		BaseURL: w.url("idp.localhost", ""),
		Users:   []testidp.User{{Name: "ada@acme.example", Password: "correct horse"}},
	})
	require.NoError(t, err)
	w.hosts["idp.localhost"] = idp
	w.hosts["app.localhost"] = relyingParty(t, w, "app.localhost", idp)
	return w
}

func TestSignInByWayOfAnIdP(t *testing.T) {
	w := samlWeb(t)
	var seen []testbrowser.Step
	b := testbrowser.New(testbrowser.Options{RootCAs: w.roots, OnStep: func(s testbrowser.Step) { seen = append(seen, s) }})
	got, err := b.SignIn(t.Context(), w.url("app.localhost", "/deep/link"), "ada@acme.example", "correct horse")
	require.NoError(t, err)
	assert.Equal(t, "Welcome", got.Title)
	assert.Contains(t, string(got.Body), "Hello ada@acme.example at /deep/link")
	assert.Equal(t, w.url("app.localhost", "/deep/link"), got.URL.String())
	assert.Same(t, got, b.Page())

	assert.Equal(t, []testbrowser.Step{
		{Method: "GET", URL: w.url("app.localhost", "/deep/link"), Status: 302},
		{Method: "GET", URL: w.url("idp.localhost", "/sso?SAMLRequest&RelayState"), Status: 200, Title: "Sign in - Test IdP"},
		{Method: "POST", URL: w.url("idp.localhost", "/signin"), Status: 200, Title: "Working... - Test IdP"},
		{Method: "POST", URL: w.url("app.localhost", "/saml/acs"), Status: 303},
		{Method: "GET", URL: w.url("app.localhost", "/deep/link"), Status: 200, Title: "Welcome"},
	}, b.Steps())
	assert.Equal(t, b.Steps(), seen)

	again, err := b.SignIn(t.Context(), w.url("app.localhost", "/"), "nobody", "")
	require.NoError(t, err, "signed in already")
	assert.Contains(t, string(again.Body), "Hello ada@acme.example at /")

	cookies, err := b.Cookies(w.url("app.localhost", "/"))
	require.NoError(t, err)
	assert.True(t, slices.ContainsFunc(cookies, func(c *http.Cookie) bool { return c.Name == "__Host-who" }))
}

func TestSignInWithAWrongPassword(t *testing.T) {
	w := samlWeb(t)
	got, err := w.browser().SignIn(t.Context(), w.url("app.localhost", "/"), "ada@acme.example", "s3cret")
	require.ErrorIs(t, err, testbrowser.ErrRefused)
	assert.ErrorContains(t, err, "/signin")
	assert.ErrorContains(t, err, `200 "Sign in - Test IdP"`)
	assert.NotContains(t, err.Error(), "s3cret")
	assert.Contains(t, string(got.Body), "AADSTS50126")
}

func TestSignInThatEndsAtAnErrorPage(t *testing.T) {
	w := samlWeb(t)
	w.hosts["app.localhost"] = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		rw.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(rw, "<title> Not\n for you </title>")
	})
	got, err := w.browser().SignIn(t.Context(), w.url("app.localhost", "/x?secret=1"), "a", "b")
	require.EqualError(t, err, "GET "+w.url("app.localhost", "/x?secret")+`: 403 "Not for you": the visit ended at an error page`)
	assert.Equal(t, http.StatusForbidden, got.Status)
}

// TestForeignSignInForms: what the forms of products have in common with
// theirs, and what is around them.
func TestForeignSignInForms(t *testing.T) {
	for name, tc := range map[string]struct {
		pages []string
		want  url.Values
	}{
		"Keycloak": {
			pages: []string{`<form action="/next?session_code=1" method="post">
				<input id="username" name="username" type="text" autocomplete="username"><input name="password" type="password">
				<input type="checkbox" name="rememberMe"><input type="hidden" name="credentialId"><input name="login" type="submit" value="Sign In"></form>`},
			want: url.Values{"username": {"ada"}, "password": {"pw"}, "credentialId": {""}, "login": {"Sign In"}},
		},
		"Shibboleth, after a page of scripts": {
			pages: []string{
				`<body onload="document.forms[0].submit()"><form method="post" action="/next"><input type="hidden" name="csrf_token" value="1"></form>`,
				`<form method="post" action="/next"><input name="j_username" type="text"><input name="j_password" type="password">
				<input type="checkbox" name="donotcache" value="1"><button name="_eventId_proceed" type="submit">Login</button></form>`,
			},
			want: url.Values{"j_username": {"ada"}, "j_password": {"pw"}, "_eventId_proceed": {""}},
		},
		"AD FS": {
			pages: []string{`<form method="post" id="loginForm" action="/next"><input name="UserName" type="email"><input name="Password" type="password">
				<input type="radio" name="Kmsi" value="no" checked><input type="radio" name="Kmsi" value="yes">
				<input type="hidden" name="AuthMethod" value="FormsAuthentication"><span id="submitButton">Sign in</span></form>`},
			want: url.Values{"UserName": {"ada"}, "Password": {"pw"}, "Kmsi": {"no"}, "AuthMethod": {"FormsAuthentication"}},
		},
		"name first, password later": {
			pages: []string{
				`<form method="post" action="/next"><input type="search" name="q"></form><form method="post" action="/next"><input name="loginfmt" type="email"><input type="submit"></form>`,
				`<form method="post" action="/next"><input type="hidden" name="login" value="ada"><input name="passwd" type="password"></form>`,
			},
			want: url.Values{"login": {"ada"}, "passwd": {"pw"}},
		},
		"only the place tells": {
			pages: []string{`<form method="post" action="/next"><select name="org"><option value="1">One<option value="2" selected>Two</select>
				<input name="f1"><input name="f2" type="password"><textarea name="note">n</textarea><input name="otp" disabled></form>`},
			want: url.Values{"f1": {"ada"}, "f2": {"pw"}, "org": {"2"}, "note": {"n"}},
		},
		"registration beside it, controls outside": {
			pages: []string{`<form method="post" action="/register"><input name="username"><input type="password" name="p1"><input type="password" name="p2"></form>
				<form method="post" action="/next" id="f"></form><input name="uid" form="f"><input type="password" name="pass" form="f"><input name="stray">`},
			want: url.Values{"uid": {"ada"}, "pass": {"pw"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWeb(t)
			visits := 0
			var got url.Values
			w.hosts["idp.localhost"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					_ = r.ParseForm()
					got = r.PostForm
					if r.URL.Path != "/next" {
						http.Error(rw, "wrong form", http.StatusForbidden)
						return
					}
				}
				if visits == len(tc.pages) {
					page(rw, "<title>Done</title><form><input name=newsletter type=email></form>")
					return
				}
				page(rw, "%s", "<title>Sign in</title>"+tc.pages[visits])
				visits++
			})
			done, err := w.browser().SignIn(t.Context(), w.url("idp.localhost", "/"), "ada", "pw")
			require.NoError(t, err)
			assert.Equal(t, "Done", done.Title)
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestIdPThatDoesNotKnowTheName(t *testing.T) {
	w := newWeb(t)
	w.hosts["idp.localhost"] = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		page(rw, `<title>Who?</title><form method="post"><input name="identifier"></form>`)
	})
	_, err := w.browser().SignIn(t.Context(), w.url("idp.localhost", "/"), "ada", "pw")
	require.ErrorIs(t, err, testbrowser.ErrRefused)
	assert.ErrorContains(t, err, "Who?")
}

func TestFillAndSubmit(t *testing.T) {
	w := newWeb(t)
	w.hosts["app.localhost"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		page(rw, `<title>%s %s</title><form action="/a"><input name="x"></form><form action="/b?gone=1"><input name="City"><input name="zip.code" value="1"></form>
			<form method="post" action="/c" enctype="multipart/form-data"><input name="file"></form>`, r.URL.Path, html(r.Form))
	})
	b := w.browser()
	_, err := b.FillAndSubmit(t.Context(), nil)
	require.ErrorContains(t, err, "no page is open")
	_, err = b.Open(t.Context(), w.url("app.localhost", "/"))
	require.NoError(t, err)

	got, err := b.FillAndSubmit(t.Context(), map[string]string{"city|town": "Zürich"})
	require.NoError(t, err)
	assert.Equal(t, "/b City=Z%C3%BCrich&zip.code=1", got.Title, "the first form with such a field, by GET")

	_, err = b.FillAndSubmit(t.Context(), map[string]string{"country": "CH"})
	require.ErrorContains(t, err, `no field "country"`)
	_, err = b.FillAndSubmit(t.Context(), map[string]string{"(": "CH"})
	require.Error(t, err)
	_, err = b.FillAndSubmit(t.Context(), map[string]string{"file": "x"})
	require.ErrorContains(t, err, "multipart")
}

func html(form url.Values) string { return strings.ReplaceAll(form.Encode(), "&", "&amp;") }

func TestRedirects(t *testing.T) {
	w := newWeb(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /form/{status}", func(rw http.ResponseWriter, r *http.Request) {
		page(rw, `<form method="post" action="/to/%s"><input name="x" value="1"></form>`, r.PathValue("status"))
	})
	mux.HandleFunc("POST /to/{status}", func(rw http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscan(r.PathValue("status"), &status)
		http.Redirect(rw, r, "/end", status)
	})
	mux.HandleFunc("/end", func(rw http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		page(rw, "<title>%s %s</title>", r.Method, r.PostForm.Encode())
	})
	mux.HandleFunc("/loop", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/script", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Location", "javascript:alert(1)")
		rw.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/bad", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Location", "https://%zz")
		rw.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/auto", func(rw http.ResponseWriter, _ *http.Request) {
		page(rw, `<form method="post"><input type="hidden" name="SAMLResponse"></form>`)
	})
	w.hosts["app.localhost"] = mux

	for status, want := range map[string]string{"302": "GET ", "303": "GET ", "307": "POST x=1", "308": "POST x=1"} {
		b := w.browser()
		_, err := b.Open(t.Context(), w.url("app.localhost", "/form/"+status))
		require.NoError(t, err)
		got, err := b.FillAndSubmit(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, strings.TrimSpace(want), got.Title, status)
	}
	for path, want := range map[string]string{
		"/loop": "more than 5 requests", "/auto": "more than 5 requests",
		"/script": `scheme "javascript"`, "/bad": "Location",
	} {
		b := testbrowser.New(testbrowser.Options{RootCAs: w.roots, MaxSteps: 5})
		_, err := b.Open(t.Context(), w.url("app.localhost", path))
		assert.ErrorContains(t, err, want, path)
	}
}

func TestCookies(t *testing.T) {
	for name, tc := range map[string]struct {
		set string
		// sent tells where the cookie of app.localhost goes.
		typed, sibling, crossGET, crossPOST bool
	}{
		"plain":                      {set: "c=1", typed: true, crossGET: true, crossPOST: true},
		"SameSite None":              {set: "c=1; Secure; SameSite=None", typed: true, crossGET: true, crossPOST: true},
		"SameSite None, not Secure":  {set: "c=1; SameSite=None"},
		"SameSite Lax":               {set: "c=1; SameSite=Lax", typed: true, crossGET: true},
		"SameSite Strict":            {set: "c=1; SameSite=Strict", typed: true},
		"for the domain":             {set: "c=1; Domain=app.localhost", typed: true, sibling: true, crossGET: true, crossPOST: true},
		"for a public suffix":        {set: "c=1; Domain=localhost"},
		"for a stranger":             {set: "c=1; Domain=idp.localhost"},
		"__Host-":                    {set: "__Host-c=1; Path=/; Secure", typed: true, crossGET: true, crossPOST: true},
		"__Host- without Secure":     {set: "__Host-c=1; Path=/"},
		"__Host- with a path":        {set: "__Host-c=1; Path=/x; Secure"},
		"__Host- with a domain":      {set: "__Host-c=1; Path=/; Secure; Domain=app.localhost"},
		"__Secure- without Secure":   {set: "__Secure-c=1; Path=/"},
		"replaced by a stricter one": {set: "c=0; Path=/|c=1; Path=/; SameSite=Strict", typed: true},
		"taken back":                 {set: "c=1; Path=/; SameSite=Lax|c=; Path=/; Max-Age=0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWeb(t)
			app := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/set" {
					for c := range strings.SplitSeq(tc.set, "|") {
						rw.Header().Add("Set-Cookie", c)
					}
				}
				page(rw, "<title>%s</title>", r.Header.Get("Cookie"))
			})
			w.hosts["app.localhost"], w.hosts["a.app.localhost"] = app, app
			w.hosts["idp.localhost"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				page(rw, `<form method=%q action=%q><input type=hidden name=f></form>`, r.URL.Query().Get("method"), w.url("app.localhost", "/"))
			})
			b := w.browser()
			visit := func(u string) *testbrowser.Page {
				got, err := b.Open(t.Context(), u)
				require.NoError(t, err)
				return got
			}
			cross := func(method string) string {
				visit(w.url("idp.localhost", "/?method="+method))
				got, err := b.FillAndSubmit(t.Context(), nil)
				require.NoError(t, err)
				return got.Title
			}
			visit(w.url("app.localhost", "/set"))
			assert.Equal(t, tc.typed, visit(w.url("app.localhost", "/")).Title != "", "typed")
			assert.Equal(t, tc.sibling, visit(w.url("a.app.localhost", "/")).Title != "", "sibling")
			assert.Equal(t, tc.crossGET, cross("get") != "", "GET from another site")
			assert.Equal(t, tc.crossPOST, cross("post") != "", "POST from another site")
		})
	}
}

func TestSecureCookieFromAnInsecureOrigin(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Set-Cookie", "c=1; Secure")
	}))
	defer server.Close()
	b := testbrowser.New(testbrowser.Options{})
	_, err := b.Open(t.Context(), server.URL)
	require.NoError(t, err)
	cookies, err := b.Cookies("https" + strings.TrimPrefix(server.URL, "http"))
	require.NoError(t, err)
	assert.Empty(t, cookies)
}

func TestDial(t *testing.T) {
	w := newWeb(t)
	w.hosts["mapped.example.test"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		page(rw, "<title>%s</title>", r.Host)
	})
	for name, tc := range map[string]struct {
		dial map[string]string
		url  string
	}{
		"host to address":           {map[string]string{"mapped.example.test": "127.0.0.1"}, w.url("mapped.example.test", "/")},
		"host to address and port":  {map[string]string{"mapped.example.test": "127.0.0.1:" + w.port}, "https://mapped.example.test/"},
		"host and port to the same": {map[string]string{"mapped.example.test:443": "127.0.0.1:" + w.port}, "https://mapped.example.test/"},
	} {
		t.Run(name, func(t *testing.T) {
			b := testbrowser.New(testbrowser.Options{RootCAs: w.roots, Dial: tc.dial})
			got, err := b.Open(t.Context(), tc.url)
			require.NoError(t, err)
			assert.Contains(t, got.Title, "mapped.example.test")
		})
	}
}

func TestFailuresNameTheStepAndNoSecret(t *testing.T) {
	w := newWeb(t)
	w.hosts["app.localhost"] = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		page(rw, "%s", strings.Repeat("endless ", 2<<20))
	})
	_, err := w.browser().Open(t.Context(), w.url("app.localhost", "/big?token=s3cret"))
	require.ErrorContains(t, err, w.url("app.localhost", "/big?token"))
	require.ErrorContains(t, err, "bytes")
	assert.NotContains(t, err.Error(), "s3cret")

	_, err = testbrowser.New(testbrowser.Options{}).Open(t.Context(), w.url("app.localhost", "/?token=s3cret"))
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown, "TLS is verified")
	assert.NotContains(t, err.Error(), "s3cret")

	_, err = w.browser().Open(t.Context(), "https://%zz")
	require.Error(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = w.browser().Open(ctx, w.url("app.localhost", "/"))
	require.ErrorIs(t, err, context.Canceled)
}

func TestPagesThatAreNotHTML(t *testing.T) {
	w := newWeb(t)
	w.hosts["app.localhost"] = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"html":"<title>no</title><form method=post><input name=SAMLResponse></form>"}`)
	})
	got, err := w.browser().Open(t.Context(), w.url("app.localhost", "/saml/session"))
	require.NoError(t, err)
	assert.Empty(t, got.Title)
	assert.Empty(t, got.Forms)
	assert.Contains(t, string(got.Body), `"html"`)
}
