// Package xmltree reads the small, strict part of XML 1.0 that SAML messages
// and metadata need, and writes it back in Exclusive XML Canonicalization.
//
// One tree serves both: what a signature's digest is computed over and what
// is read from it afterwards are the same nodes, so that no second parser can
// see another document. Whatever canonicalization would drop (comments, the
// XML declaration) never enters the tree; whatever could be read in two ways
// (DOCTYPE, processing instructions, entities, other encodings, duplicate IDs,
// relative namespace URIs, names beyond ASCII) is refused.
package xmltree

import (
	"errors"
	"iter"
	"strings"
)

// Limits bound what a document costs to parse and to keep, whatever it says.
type Limits struct {
	Bytes    int
	Elements int
	// Parts are attributes, namespace declarations and pieces of text together,
	// and each 64 bytes of the namespace of an element or attribute: the
	// canonical form may declare that anew for every one of them.
	Parts int
}

const namespaceBytesOfAPart = 64

// The limits of any document. They keep the cost of parsing and of
// canonicalizing in proportion to its size.
const (
	MaxDepth      = 64
	MaxAttributes = 64 // of one element, namespace declarations included
	MaxNamespaces = 64 // declarations in scope at one place
	// MaxNamespaceBytes is the length of a namespace URI: canonicalization
	// repeats it at each element that is the first to use it.
	MaxNamespaceBytes = 256
)

// The kinds of error that Parse returns, wrapped with details.
var (
	ErrTooLarge  = errors.New("document too large")
	ErrLimit     = errors.New("document exceeds a limit")
	ErrForbidden = errors.New("forbidden construct")
	ErrMalformed = errors.New("malformed document")
)

// Element is one element. It is read-only once parsed, and safe for
// concurrent use.
type Element struct {
	Space  string // namespace URI, empty for none
	Local  string
	Parent *Element

	prefix     string
	attributes []attribute
	bindings   []binding // the namespace declarations of this element
	content    []node
}

// attribute is an attribute that is not a namespace declaration.
type attribute struct {
	prefix, local string
	space         string
	value         string
}

// binding declares a namespace prefix, the empty one for the default.
type binding struct {
	prefix, uri string
}

// node is an element, or text when element is nil.
type node struct {
	element *Element
	text    string
}

// Is tells whether e has the expanded name {space}local.
func (e *Element) Is(space, local string) bool {
	return e.Local == local && e.Space == space
}

// Attribute returns the value of the attribute of that name in no namespace.
func (e *Element) Attribute(local string) (value string, ok bool) {
	for i := range e.attributes {
		if a := &e.attributes[i]; a.prefix == "" && a.local == local {
			return a.value, true
		}
	}
	return "", false
}

// Children yields the child elements in document order.
func (e *Element) Children() iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		for i := range e.content {
			if child := e.content[i].element; child != nil && !yield(child) {
				return
			}
		}
	}
}

// Named yields the child elements of the expanded name {space}local.
func (e *Element) Named(space, local string) iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		for child := range e.Children() {
			if child.Is(space, local) && !yield(child) {
				return
			}
		}
	}
}

// All yields e and its descendants in document order.
func (e *Element) All() iter.Seq[*Element] {
	return func(yield func(*Element) bool) { e.walk(yield) }
}

func (e *Element) walk(yield func(*Element) bool) bool {
	if !yield(e) {
		return false
	}
	for child := range e.Children() {
		if !child.walk(yield) {
			return false
		}
	}
	return true
}

// Text returns the text of an element that holds only text, exactly as
// written; ok is false when it has child elements.
func (e *Element) Text() (text string, ok bool) {
	switch {
	case len(e.content) == 0:
		return "", true
	case len(e.content) == 1 && e.content[0].element == nil:
		return e.content[0].text, true
	}
	var b strings.Builder
	for i := range e.content {
		if e.content[i].element != nil {
			return "", false
		}
		b.WriteString(e.content[i].text)
	}
	return b.String(), true
}

// DeepText returns the text of e and of all its descendants.
func (e *Element) DeepText() string {
	if text, ok := e.Text(); ok {
		return text
	}
	var b strings.Builder
	for d := range e.All() {
		for i := range d.content {
			b.WriteString(d.content[i].text)
		}
	}
	return b.String()
}

// blank tells whether e holds no text but white space of its own.
func (e *Element) blank() bool {
	for i := range e.content {
		if !isBlank(e.content[i].text) {
			return false
		}
	}
	return true
}

// lookup returns what prefix is bound to at e.
func (e *Element) lookup(prefix string) (uri string, ok bool) {
	for ; e != nil; e = e.Parent {
		for i := range e.bindings {
			if e.bindings[i].prefix == prefix {
				return e.bindings[i].uri, true
			}
		}
	}
	return "", false
}

func isBlank(s string) bool {
	return strings.Trim(s, " \t\n\r") == ""
}
