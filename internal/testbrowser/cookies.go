package testbrowser

import (
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// jar adds to the standard one what it leaves out: prefixes of names, Secure
// cookies from insecure origins and SameSite [RFC6265bis 5.6]. A cookie lies
// in the jar of its SameSite. One without the attribute is sent everywhere, as
// all browsers do at least for its first two minutes.
type jar struct {
	unrestricted, lax, strict *cookiejar.Jar
}

func newJar() *jar {
	empty := func() *cookiejar.Jar {
		j, _ := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List}) // never fails
		return j
	}
	return &jar{unrestricted: empty(), lax: empty(), strict: empty()}
}

func (j *jar) set(u *url.URL, cookies []*http.Cookie) {
	for _, cookie := range cookies {
		if !acceptable(u, cookie) {
			continue
		}
		own := j.unrestricted
		switch cookie.SameSite {
		case http.SameSiteLaxMode:
			own = j.lax
		case http.SameSiteStrictMode:
			own = j.strict
		}
		gone := *cookie //nolint:gosec // as the server set it, only taken back
		gone.MaxAge = -1
		for _, other := range []*cookiejar.Jar{j.unrestricted, j.lax, j.strict} {
			if other != own {
				other.SetCookies(u, []*http.Cookie{&gone})
			}
		}
		own.SetCookies(u, []*http.Cookie{cookie})
	}
}

func acceptable(u *url.URL, c *http.Cookie) bool {
	if c.Secure && u.Scheme != "https" {
		return false
	}
	if c.SameSite == http.SameSiteNoneMode && !c.Secure {
		return false
	}
	switch name := strings.ToLower(c.Name); {
	case strings.HasPrefix(name, "__host-"):
		return c.Secure && c.Path == "/" && c.Domain == ""
	case strings.HasPrefix(name, "__secure-"):
		return c.Secure
	}
	return true
}

// cookies for a navigation: Lax ones cross sites with safe methods only.
func (j *jar) cookies(u *url.URL, sameSite, safe bool) []*http.Cookie {
	cookies := j.unrestricted.Cookies(u)
	if sameSite || safe {
		cookies = append(cookies, j.lax.Cookies(u)...)
	}
	if sameSite {
		cookies = append(cookies, j.strict.Cookies(u)...)
	}
	return cookies
}

// site is the scheme with the registrable domain, or with the host if that has
// none.
func site(u *url.URL) string {
	host := u.Hostname()
	if net.ParseIP(host) == nil {
		if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
			host = domain
		}
	}
	return u.Scheme + "://" + host
}
