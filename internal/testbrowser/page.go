package testbrowser

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// maxTitle bounds what is shown of a title, in characters.
const maxTitle = 120

// Page is what a visit ended at.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   []byte
	// Title and Forms are empty unless the page is HTML.
	Title string
	Forms []*Form

	// submits is true if a script of the page submits a form.
	submits bool
}

// Form of a page.
type Form struct {
	Action *url.URL
	Method string
	Fields []Field

	enctype string
	page    *url.URL
}

// Field of a form that is not disabled.
type Field struct {
	Name string
	// Type is that of an input, or "select", "textarea" or "submit".
	Type  string
	Value string
	// ID and Autocomplete are the attributes of these names.
	ID, Autocomplete string
	// Checked is for checkboxes and radio buttons.
	Checked bool
}

// scriptSubmits finds the scripts which pages use to post a form at once.
var scriptSubmits = regexp.MustCompile(`\.submit\s*\(|submit\(\)`)

func newPage(u *url.URL, got answer) *Page {
	page := &Page{URL: u, Status: got.status, Header: got.header, Body: got.body}
	media, _, _ := mime.ParseMediaType(page.Header.Get("Content-Type"))
	if media != "text/html" && media != "application/xhtml+xml" {
		return page
	}
	document, err := html.Parse(bytes.NewReader(page.Body))
	if err != nil {
		return page
	}
	forms := map[*html.Node]*Form{}
	byID := map[string]*Form{}
	for node := range document.Descendants() {
		if node.Type != html.ElementNode {
			continue
		}
		if scriptSubmits.MatchString(attr(node, "onload")) {
			page.submits = true
		}
		switch node.DataAtom {
		case atom.Title:
			if page.Title == "" {
				page.Title = shorten(text(node))
			}
		case atom.Script:
			page.submits = page.submits || scriptSubmits.MatchString(text(node))
		case atom.Form:
			form := newForm(u, node)
			forms[node], byID[attr(node, "id")] = form, form
			page.Forms = append(page.Forms, form)
		case atom.Input, atom.Select, atom.Textarea, atom.Button:
			if form := owner(node, forms, byID); form != nil {
				form.add(node)
			}
		}
	}
	return page
}

// owner of a control: the form that it names, or the one around it.
func owner(control *html.Node, forms map[*html.Node]*Form, byID map[string]*Form) *Form {
	if id := attr(control, "form"); id != "" {
		return byID[id]
	}
	for node := range control.Ancestors() {
		if form := forms[node]; form != nil {
			return form
		}
	}
	return nil
}

func newForm(page *url.URL, node *html.Node) *Form {
	form := &Form{Action: page, page: page, Method: http.MethodGet, enctype: strings.ToLower(attr(node, "enctype"))}
	if strings.EqualFold(attr(node, "method"), http.MethodPost) {
		form.Method = http.MethodPost
	}
	if action := strings.TrimSpace(attr(node, "action")); action != "" {
		form.Action, _ = page.Parse(action) // nil cannot be submitted
	}
	return form
}

func (f *Form) add(node *html.Node) {
	if hasAttr(node, "disabled") {
		return
	}
	field := Field{
		Name: attr(node, "name"), Value: attr(node, "value"), ID: attr(node, "id"),
		Autocomplete: strings.ToLower(attr(node, "autocomplete")), Checked: hasAttr(node, "checked"),
	}
	switch node.DataAtom {
	case atom.Input:
		field.Type = strings.ToLower(attr(node, "type"))
		if field.Type == "" {
			field.Type = "text"
		}
		if field.Value == "" && (field.Type == "checkbox" || field.Type == "radio") {
			field.Value = "on"
		}
	case atom.Button:
		field.Type = strings.ToLower(attr(node, "type"))
		if field.Type == "" {
			field.Type = "submit"
		}
	case atom.Textarea:
		field.Type, field.Value = "textarea", text(node)
	case atom.Select:
		field.Type, field.Value = "select", selected(node)
	}
	f.Fields = append(f.Fields, field)
}

func selected(node *html.Node) string {
	value, found := "", false
	for option := range node.Descendants() {
		if option.DataAtom != atom.Option {
			continue
		}
		if chosen := hasAttr(option, "selected"); chosen || !found {
			value, found = attr(option, "value"), true
			if !hasAttr(option, "value") {
				value = strings.TrimSpace(text(option))
			}
			if chosen {
				return value
			}
		}
	}
	return value
}

// defaults are the values which the form sends if nobody fills it, with its
// first button.
func (f *Form) defaults() url.Values {
	values, pressed := url.Values{}, false
	for _, field := range f.Fields {
		switch field.Type {
		case "checkbox", "radio":
			if !field.Checked {
				continue
			}
		case "submit", "image":
			if pressed {
				continue
			}
			pressed = true
		case "button", "reset", "file":
			continue
		}
		if field.Name != "" {
			values.Add(field.Name, field.Value)
		}
	}
	return values
}

func (f *Form) navigation(values url.Values) (navigation, error) {
	if f.Action == nil {
		return navigation{}, errors.New("the form has no valid action")
	}
	if f.enctype == "multipart/form-data" && f.Method == http.MethodPost {
		return navigation{}, errors.New("the form is multipart, which this browser does not send")
	}
	n := navigation{method: f.Method, url: f.Action, initiator: f.page}
	if f.Method == http.MethodPost {
		n.form = values
		return n, nil
	}
	target := *f.Action
	target.RawQuery = values.Encode()
	n.url = &target
	return n, nil
}

func (f *Form) count(kind string) int {
	n := 0
	for _, field := range f.Fields {
		if field.Type == kind {
			n++
		}
	}
	return n
}

func (f *Form) has(name string) bool {
	return slices.ContainsFunc(f.Fields, func(field Field) bool { return field.Name == name })
}

// scriptedForm is the form that a browser with JavaScript would have submitted
// by now: a SAML message, or hidden fields that a script of the page submits.
func (p *Page) scriptedForm() *Form {
	for _, form := range p.Forms {
		if form.count("password") > 0 {
			return nil
		}
	}
	for _, form := range p.Forms {
		if form.Method == http.MethodPost && (form.has("SAMLResponse") || form.has("SAMLRequest")) {
			return form
		}
	}
	if !p.submits || len(p.Forms) != 1 {
		return nil
	}
	for _, field := range p.Forms[0].Fields {
		if !slices.Contains([]string{"hidden", "submit", "button"}, field.Type) {
			return nil
		}
	}
	return p.Forms[0]
}

// passwordForm is where to sign in. A form with two passwords is for
// registration.
func (p *Page) passwordForm() *Form {
	for _, form := range p.Forms {
		if form.count("password") == 1 {
			return form
		}
	}
	return nil
}

// fill finds the form for the fields and returns the values to send.
func (p *Page) fill(fields map[string]string) (url.Values, *Form, error) {
	candidates := p.Forms
	if form := p.passwordForm(); form != nil {
		candidates = []*Form{form}
	}
	err := errors.New("the page has no form")
	for _, form := range candidates {
		var values url.Values
		if values, err = form.fill(fields); err == nil {
			return values, form, nil
		}
	}
	return nil, nil, err
}

func (f *Form) fill(fields map[string]string) (url.Values, error) {
	values := f.defaults()
	for key, value := range fields {
		name, err := f.fieldName(key)
		if err != nil {
			return nil, err
		}
		values.Set(name, value)
	}
	return values, nil
}

func (f *Form) fieldName(key string) (string, error) {
	if f.has(key) {
		return key, nil
	}
	pattern, err := regexp.Compile("(?i)^(?:" + key + ")$")
	if err != nil {
		return "", fmt.Errorf("field %q: %w", key, err)
	}
	for _, field := range f.Fields {
		if field.Type != "hidden" && field.Name != "" && pattern.MatchString(field.Name) {
			return field.Name, nil
		}
	}
	return "", fmt.Errorf("the form has no field %q", key)
}

// filling of a sign-in form.
type filling struct {
	values      url.Values
	hasPassword bool
}

// signInForm finds the form that asks who the person is, and fills it. IdPs ask
// for the user name and password together or one after the other.
func (p *Page) signInForm(user, password string) (*Form, filling) {
	if form := p.passwordForm(); form != nil {
		values := form.defaults()
		if name := form.userNameField(true); name != "" {
			values.Set(name, user)
		}
		for _, field := range form.Fields {
			if field.Type == "password" {
				values.Set(field.Name, password)
			}
		}
		return form, filling{values: values, hasPassword: true}
	}
	for _, form := range p.Forms {
		if name := form.userNameField(false); name != "" {
			values := form.defaults()
			values.Set(name, user)
			return form, filling{values: values}
		}
	}
	return nil, filling{}
}

// userNames are the names and IDs that products give to the field.
var userNames = regexp.MustCompile(`(?i)user|login|e-?mail|identifier|account|upn|\buid\b`)

// userNameField recognises the field for the user name: by what it says of
// itself, by its name, and beside a password by its place.
func (f *Form) userNameField(besidePassword bool) string {
	var byType, byName, beforePassword string
	passed := false
	for _, field := range f.Fields {
		switch field.Type {
		case "password":
			passed = true
			continue
		case "text", "email", "tel":
		default:
			continue
		}
		switch {
		case field.Name == "":
		case strings.Contains(field.Autocomplete, "username"):
			return field.Name
		case byName == "" && (userNames.MatchString(field.Name) || userNames.MatchString(field.ID)):
			byName = field.Name
		case byType == "" && field.Type == "email":
			byType = field.Name
		}
		if !passed {
			beforePassword = field.Name
		}
	}
	for _, name := range []string{byName, byType} {
		if name != "" {
			return name
		}
	}
	if besidePassword {
		return beforePassword
	}
	return ""
}

func attr(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(node *html.Node, name string) bool {
	return slices.ContainsFunc(node.Attr, func(a html.Attribute) bool { return a.Key == name })
}

func text(node *html.Node) string {
	var b strings.Builder
	for child := range node.Descendants() {
		if child.Type == html.TextNode {
			b.WriteString(child.Data)
		}
	}
	return b.String()
}

func shorten(title string) string {
	runes := []rune(strings.Join(strings.Fields(title), " "))
	if len(runes) > maxTitle {
		runes = append(runes[:maxTitle-1], '…')
	}
	return string(runes)
}
