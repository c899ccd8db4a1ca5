package xmltree

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	xmlNamespace   = "http://www.w3.org/XML/1998/namespace"
	xmlnsNamespace = "http://www.w3.org/2000/xmlns/"
)

// Parse reads a document and returns its root.
func Parse(document []byte, limits Limits) (*Element, error) {
	return ParseWithin(nil, document, limits)
}

// ParseWithin reads a document as if it stood inside of context: its root has
// context as Parent and sees the namespaces in scope there, but context does
// not get a child. Decrypted XML is read so [XMLEnc 4.1].
func ParseWithin(context *Element, document []byte, limits Limits) (*Element, error) {
	if len(document) > limits.Bytes {
		return nil, ErrTooLarge
	}
	document = bytes.TrimPrefix(document, []byte("\xef\xbb\xbf"))
	if err := checkCharacters(document); err != nil {
		return nil, err
	}
	p := &parser{in: normalizeLineEnds(string(document)), limits: limits, ids: map[string]struct{}{}}
	depth := 0
	for e := context; e != nil; e = e.Parent {
		depth++
		for _, b := range e.bindings {
			// Inner declarations shadow outer ones, so they go last.
			p.scope = append([]binding{b}, p.scope...)
		}
	}
	return p.document(context, depth)
}

// parser walks the input once. Nodes and attributes are carved from slabs,
// and values are substrings of the input unless they hold references.
type parser struct {
	in     string
	pos    int
	limits Limits
	count  int // elements
	parts  int

	scope   []binding // in scope at pos, innermost last
	ids     map[string]struct{}
	pending []node      // children of the elements that are still open
	own     []attribute // of the start tag at pos

	elements   []Element
	nodes      []node
	attributes []attribute
	bindings   []binding
}

func (p *parser) document(context *Element, depth int) (*Element, error) {
	if err := p.declaration(); err != nil {
		return nil, err
	}
	var root *Element
	for {
		p.space()
		switch rest := p.in[p.pos:]; {
		case rest == "":
			if root == nil {
				return nil, p.malformed("no element")
			}
			return root, nil
		case strings.HasPrefix(rest, "<!--"):
			if err := p.comment(); err != nil {
				return nil, err
			}
		case strings.HasPrefix(rest, "<!"), strings.HasPrefix(rest, "<?"):
			return nil, p.forbiddenMarkup()
		case rest[0] == '<' && root == nil:
			var err error
			if root, err = p.element(context, depth+1); err != nil {
				return nil, err
			}
		default:
			return nil, p.malformed("content outside of the root element")
		}
	}
}

// xmlDeclaration is [XML 2.8], for the one version and encoding we take, with
// the other names that writers have for it and for its subset. What is read is
// UTF-8 whatever it says: checkCharacters has seen to that.
var xmlDeclaration = regexp.MustCompile(`^<\?xml` +
	`\s+version\s*=\s*("1\.0"|'1\.0')` +
	`(\s+encoding\s*=\s*("(?i:utf-?8|us-ascii)"|'(?i:utf-?8|us-ascii)'))?` +
	`(\s+standalone\s*=\s*("yes"|"no"|'yes'|'no'))?` +
	`\s*\?>`)

// declaration skips the XML declaration, if there is one.
func (p *parser) declaration() error {
	const open = "<?xml"
	if !strings.HasPrefix(p.in, open) || len(p.in) == len(open) || !isSpace(p.in[len(open)]) {
		return nil
	}
	if p.pos = len(xmlDeclaration.FindString(p.in)); p.pos == 0 {
		return fmt.Errorf("%w: XML declaration other than of version 1.0 in UTF-8", ErrForbidden)
	}
	return nil
}

// element reads one element; pos is at its '<'.
func (p *parser) element(parent *Element, depth int) (*Element, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("%w: deeper than %d elements", ErrLimit, MaxDepth)
	}
	if p.count++; p.count > p.limits.Elements {
		return nil, fmt.Errorf("%w: more than %d elements", ErrLimit, p.limits.Elements)
	}
	outer := len(p.scope)
	defer func() { p.scope = p.scope[:outer] }()

	e := p.newElement()
	e.Parent = parent
	start := p.pos + 1
	empty, err := p.startTag(e)
	if err != nil || empty {
		return e, err
	}
	name := p.in[start:][:qualifiedLength(e.prefix, e.Local)]

	first := len(p.pending)
	commented := false
	for {
		next := strings.IndexByte(p.in[p.pos:], '<')
		if next < 0 {
			return nil, p.malformed("unterminated element")
		}
		if next > 0 {
			text, err := p.text(p.in[p.pos : p.pos+next])
			if err != nil {
				return nil, err
			}
			if err := p.piece(text); err != nil {
				return nil, err
			}
			p.pos += next
		}
		switch rest := p.in[p.pos:]; {
		case strings.HasPrefix(rest, "</"):
			if !strings.HasPrefix(rest[2:], name) {
				return nil, p.malformed("end tag does not match")
			}
			p.pos += 2 + len(name)
			p.space()
			if !p.take('>') {
				return nil, p.malformed("end tag does not match")
			}
			e.content = carve(&p.nodes, p.pending[first:])
			p.pending = p.pending[:first]
			if commented && !e.blank() {
				// [VU#475445] Readers disagree about such a value.
				return nil, fmt.Errorf("%w: comment inside a value", ErrForbidden)
			}
			return e, nil
		case strings.HasPrefix(rest, "<!--"):
			commented = true
			if err := p.comment(); err != nil {
				return nil, err
			}
		case strings.HasPrefix(rest, "<![CDATA["):
			end := strings.Index(rest, "]]>")
			if end < 0 {
				return nil, p.malformed("unterminated CDATA section")
			}
			if err := p.piece(rest[len("<![CDATA["):end]); err != nil {
				return nil, err
			}
			p.pos += end + len("]]>")
		case strings.HasPrefix(rest, "<!"), strings.HasPrefix(rest, "<?"):
			return nil, p.forbiddenMarkup()
		default:
			child, err := p.element(e, depth+1)
			if err != nil {
				return nil, err
			}
			p.pending = append(p.pending, node{element: child})
		}
	}
}

// piece adds text to the content of the innermost open element.
func (p *parser) piece(text string) error {
	p.pending = append(p.pending, node{text: text})
	return p.part(1)
}

// part counts what takes room beside the elements.
func (p *parser) part(weight int) error {
	if p.parts += weight; p.parts > p.limits.Parts {
		return fmt.Errorf("%w: more than %d attributes and pieces of text", ErrLimit, p.limits.Parts)
	}
	return nil
}

// startTag reads a start tag or an empty-element tag into e; pos is at '<'.
func (p *parser) startTag(e *Element) (empty bool, err error) {
	p.pos++
	if e.prefix, e.Local, err = p.qualifiedName(); err != nil {
		return false, err
	}
	p.own = p.own[:0]
	declared := len(p.scope)
	for {
		spaced := p.space()
		if p.take('>') {
			break
		}
		if strings.HasPrefix(p.in[p.pos:], "/>") {
			p.pos += 2
			empty = true
			break
		}
		if !spaced {
			return false, p.malformed("attributes need white space between them")
		}
		if len(p.own)+len(p.scope)-declared == MaxAttributes {
			return false, fmt.Errorf("%w: more than %d attributes", ErrLimit, MaxAttributes)
		}
		if err := p.part(1); err != nil {
			return false, err
		}
		var a attribute
		if a.prefix, a.local, err = p.qualifiedName(); err != nil {
			return false, err
		}
		if a.value, err = p.value(); err != nil {
			return false, err
		}
		switch {
		case a.prefix == "" && a.local == "xmlns":
			err = p.bind("", a.value, declared)
		case a.prefix == "xmlns":
			err = p.bind(a.local, a.value, declared)
		default:
			p.own = append(p.own, a)
		}
		if err != nil {
			return false, err
		}
	}

	e.bindings = carve(&p.bindings, p.scope[declared:])
	if e.Space, err = p.resolve(e.prefix); err != nil {
		return false, err
	}
	if err = p.part(len(e.Space) / namespaceBytesOfAPart); err != nil {
		return false, err
	}
	e.attributes = carve(&p.attributes, p.own)
	for i := range e.attributes {
		a := &e.attributes[i]
		if a.prefix != "" {
			if a.space, err = p.resolve(a.prefix); err != nil {
				return false, err
			}
			if err = p.part(len(a.space) / namespaceBytesOfAPart); err != nil {
				return false, err
			}
		}
		for j := range i {
			if b := &e.attributes[j]; a.local == b.local && a.space == b.space {
				return false, p.malformed("duplicate attribute")
			}
		}
		if err := p.identify(a); err != nil {
			return false, err
		}
	}
	return empty, nil
}

// identify refuses an ID that the document has already, in any of the
// spellings that some reader may take for an ID.
func (p *parser) identify(a *attribute) error {
	isID := a.space == "" && (a.local == "ID" || a.local == "Id" || a.local == "id") ||
		a.space == xmlNamespace && a.local == "id"
	if !isID {
		return nil
	}
	if _, taken := p.ids[a.value]; taken {
		return fmt.Errorf("%w: duplicate ID", ErrForbidden)
	}
	p.ids[a.value] = struct{}{}
	return nil
}

// bind adds a namespace declaration of the element whose own ones start at
// declared [XMLNames 3, 5, 6].
func (p *parser) bind(prefix, uri string, declared int) error {
	for _, b := range p.scope[declared:] {
		if b.prefix == prefix {
			return p.malformed("duplicate namespace declaration")
		}
	}
	switch {
	case prefix == "xml" && uri == xmlNamespace:
		// It is so anyway, and canonicalization omits it [C14N 2.3].
	case prefix == "xmlns" || prefix == "xml" || uri == xmlNamespace || uri == xmlnsNamespace:
		return fmt.Errorf("%w: declaration of a reserved namespace", ErrForbidden)
	case uri == "" && prefix != "":
		return p.malformed("empty namespace declaration")
	case uri != "" && !isAbsolute(uri):
		// Canonicalization has no answer for them [C14N 1.3].
		return fmt.Errorf("%w: relative namespace URI", ErrForbidden)
	case len(uri) > MaxNamespaceBytes:
		return fmt.Errorf("%w: namespace URI of more than %d bytes", ErrLimit, MaxNamespaceBytes)
	case len(p.scope) == MaxNamespaces:
		return fmt.Errorf("%w: more than %d namespaces in scope", ErrLimit, MaxNamespaces)
	}
	p.scope = append(p.scope, binding{prefix, uri})
	return nil
}

func (p *parser) resolve(prefix string) (string, error) {
	for i := len(p.scope) - 1; i >= 0; i-- {
		if p.scope[i].prefix == prefix {
			return p.scope[i].uri, nil
		}
	}
	switch prefix {
	case "":
		return "", nil
	case "xml":
		return xmlNamespace, nil
	}
	return "", p.malformed("undeclared namespace prefix")
}

// value reads ="value", the latter in single or double quotes.
func (p *parser) value() (string, error) {
	p.space()
	if !p.take('=') {
		return "", p.malformed("attribute without a value")
	}
	p.space()
	if p.pos == len(p.in) || p.in[p.pos] != '"' && p.in[p.pos] != '\'' {
		return "", p.malformed("attribute value without quotes")
	}
	end := strings.IndexByte(p.in[p.pos+1:], p.in[p.pos])
	if end < 0 {
		return "", p.malformed("unterminated attribute value")
	}
	raw := p.in[p.pos+1:][:end]
	p.pos += end + 2
	if strings.IndexByte(raw, '<') >= 0 {
		return "", p.malformed("'<' in an attribute value")
	}
	if strings.ContainsAny(raw, "\t\n") {
		raw = strings.NewReplacer("\t", " ", "\n", " ").Replace(raw) // [XML 3.3.3]
	}
	return p.expand(raw)
}

func (p *parser) text(raw string) (string, error) {
	if strings.Contains(raw, "]]>") {
		return "", p.malformed("']]>' in text")
	}
	return p.expand(raw)
}

// expand replaces character references and the five predefined entities.
func (p *parser) expand(raw string) (string, error) {
	at := strings.IndexByte(raw, '&')
	if at < 0 {
		return raw, nil
	}
	var b strings.Builder
	b.Grow(len(raw))
	for ; at >= 0; at = strings.IndexByte(raw, '&') {
		b.WriteString(raw[:at])
		raw = raw[at+1:]
		end := strings.IndexByte(raw, ';')
		if end < 0 {
			return "", p.malformed("unterminated reference")
		}
		r, ok := reference(raw[:end])
		if !ok {
			return "", p.malformed("unknown reference")
		}
		b.WriteRune(r)
		raw = raw[end+1:]
	}
	b.WriteString(raw)
	return b.String(), nil
}

// reference returns the character that "&name;" stands for.
func reference(name string) (rune, bool) {
	switch name {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "apos":
		return '\'', true
	case "quot":
		return '"', true
	}
	digits, ok := strings.CutPrefix(name, "#")
	if !ok {
		return 0, false
	}
	base := 10
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = hex, 16
	}
	// ParseUint takes neither signs nor, with a base, underscores.
	n, err := strconv.ParseUint(digits, base, 21)
	if err != nil || !isCharacter(rune(n)) {
		return 0, false
	}
	return rune(n), true
}

// comment skips a comment; pos is at its "<!--".
func (p *parser) comment() error {
	p.pos += len("<!--")
	end := strings.Index(p.in[p.pos:], "--")
	if end < 0 {
		return p.malformed("unterminated comment")
	}
	p.pos += end + 2
	if !p.take('>') {
		return p.malformed("'--' in a comment")
	}
	return nil
}

func (p *parser) forbiddenMarkup() error {
	kind := "processing instruction"
	if p.in[p.pos+1] == '!' {
		kind = "DOCTYPE or other markup declaration"
	}
	return fmt.Errorf("%w: %s", ErrForbidden, kind)
}

func (p *parser) qualifiedName() (prefix, local string, err error) {
	if local, err = p.name(); err != nil {
		return "", "", err
	}
	if p.take(':') {
		prefix = local
		local, err = p.name()
	}
	return prefix, local, err
}

// name reads an NCName.
func (p *parser) name() (string, error) {
	start := p.pos
	for p.pos < len(p.in) && isNameByte(p.in[p.pos], p.pos == start) {
		p.pos++
	}
	if p.pos == start {
		return "", p.malformed("name expected")
	}
	return p.in[start:p.pos], nil
}

// space skips white space and tells whether there was any.
func (p *parser) space() bool {
	start := p.pos
	for p.pos < len(p.in) && isSpace(p.in[p.pos]) {
		p.pos++
	}
	return p.pos > start
}

func (p *parser) take(b byte) bool {
	if p.pos < len(p.in) && p.in[p.pos] == b {
		p.pos++
		return true
	}
	return false
}

func (p *parser) malformed(what string) error {
	return fmt.Errorf("%w: %s near byte %d", ErrMalformed, what, p.pos)
}

// slab is how many elements, nodes and so on are allocated at once.
const slab = 64

func (p *parser) newElement() *Element {
	if len(p.elements) == cap(p.elements) {
		p.elements = make([]Element, 0, slab)
	}
	p.elements = append(p.elements, Element{})
	return &p.elements[len(p.elements)-1]
}

// carve copies items into the free part of the slab.
func carve[T any](free *[]T, items []T) []T {
	if len(items) == 0 {
		return nil
	}
	if cap(*free)-len(*free) < len(items) {
		*free = make([]T, 0, max(slab, len(items)))
	}
	start := len(*free)
	*free = append(*free, items...)
	return (*free)[start:len(*free):len(*free)]
}

// checkCharacters refuses what is not UTF-8 or not a character of XML.
func checkCharacters(document []byte) error {
	for i := 0; i < len(document); {
		r, size := rune(document[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(document[i:])
			if r == utf8.RuneError && size == 1 {
				return fmt.Errorf("%w: not UTF-8 at byte %d", ErrForbidden, i)
			}
		}
		if !isCharacter(r) {
			return fmt.Errorf("%w: character %U at byte %d", ErrMalformed, r, i)
		}
		i += size
	}
	return nil
}

// isCharacter is the production Char [XML 2.2].
func isCharacter(r rune) bool {
	return r >= 0x20 && r <= 0xD7FF || r == '\t' || r == '\n' || r == '\r' ||
		r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

// normalizeLineEnds is [XML 2.11].
func normalizeLineEnds(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
}

func isSpace(b byte) bool {
	return b == ' ' || b == '\n' || b == '\t' || b == '\r'
}

func isNameByte(b byte, first bool) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_' ||
		!first && (b >= '0' && b <= '9' || b == '-' || b == '.')
}

// isAbsolute tells whether uri starts with a scheme [RFC 3986 3.1].
func isAbsolute(uri string) bool {
	scheme, _, ok := strings.Cut(uri, ":")
	if !ok || scheme == "" {
		return false
	}
	for i := range len(scheme) {
		b := scheme[i]
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
		if !letter && (i == 0 || (b < '0' || b > '9') && b != '+' && b != '-' && b != '.') {
			return false
		}
	}
	return true
}

func qualifiedLength(prefix, local string) int {
	if prefix == "" {
		return len(local)
	}
	return len(prefix) + 1 + len(local)
}
