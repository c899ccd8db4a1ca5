// Package pages writes the few pages that the gateway has of its own. They
// load nothing from anywhere, and say nothing about why: that is in the log,
// under the page's support ID.
package pages

import (
	"bytes"
	"crypto/rand"
	"embed"
	"html/template"
	"net/http"
)

//go:embed html/layout.html
var files embed.FS

var layout = template.Must(template.ParseFS(files, "html/layout.html"))

// Page is one page. Everything in it is escaped.
type Page struct {
	Status int
	// Organization is the customer's name for people; it may be empty.
	Organization string
	// Text names what the page says in the catalogue.
	Text string
	// Lead are paragraphs of this page alone, after those of the text.
	Lead []Said
	// Sections come last.
	Sections []Section
	// Who is the user, where the text names one. The browser's Back button heeds
	// no Cache-Control, and after a sign-out somebody else may press it. So such a
	// page leaves when it comes back. Loading it anew could sign out: that would
	// be a request of our own.
	Who string
	// Link is where the page's link leads to; empty for none.
	Link string
	Form *Form
	// SupportID leads the administrator to the log; empty for good news.
	SupportID string
}

// Form is sent by POST.
type Form struct {
	Action string
	Fields []Field
	// Submit sends the form at once in a browser that runs scripts.
	Submit bool
	// Elsewhere: the form goes to another host, which may redirect further.
	Elsewhere bool
}

// Field is a hidden field of a Form.
type Field struct{ Name, Value string }

// NewSupportID returns an ID that is easy to read out.
func NewSupportID() string {
	text := rand.Text()
	return text[:5] + "-" + text[5:10]
}

// Write sends p as the whole response to r, in the language of r's browser.
// Nothing that it sends may be cached, framed, or run anything but itself.
func Write(w http.ResponseWriter, r *http.Request, p Page) {
	l := languageOf(r)
	said := in(p.Text, l, p.Who)
	for _, lead := range p.Lead {
		said.paragraphs = append(said.paragraphs, lead[l])
	}
	nonce := rand.Text()
	var b bytes.Buffer
	if err := layout.ExecuteTemplate(&b, "page", struct {
		Page
		Nonce, Language, Title string
		Paragraphs             []string
		Action, SupportLabel   string
		Parts                  []part
	}{p, nonce, languages[l].String(), said.title, said.paragraphs, said.action, supportID[l], partsOf(p.Sections, l)}); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	Secure(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", languages[l].String())
	h.Add("Vary", "Accept-Language")
	h.Set("Content-Security-Policy", policy(p, nonce))
	w.WriteHeader(p.Status)
	_, _ = w.Write(b.Bytes()) // the browser may be gone
}

// policy allows this page's own style and script, and only what its form needs. A form's
// target is held to https alone where it leads to an IdP: browsers apply the
// policy to the redirects that follow as well.
func policy(p Page, nonce string) string {
	policy := "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'nonce-" + nonce + "'"
	switch {
	case p.Form == nil:
		policy += "; form-action 'none'"
	case p.Form.Elsewhere:
		policy += "; form-action https:"
	default:
		policy += "; form-action 'self'"
	}
	if p.Who != "" || p.Form != nil && p.Form.Submit {
		policy += "; script-src 'nonce-" + nonce + "'"
	}
	return policy
}

// Secure sets the headers that every response of our own has.
func Secure(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	// Not no-referrer: with it, browsers send "Origin: null" with our own form.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}
