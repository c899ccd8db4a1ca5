package xmltree

import (
	"cmp"
	"slices"
	"strings"
)

// DefaultNamespace stands for the default namespace in a list of inclusive
// prefixes.
const DefaultNamespace = "#default"

// Canonicalize appends to dst the subtree of e, without the subtree of omit,
// in Exclusive XML Canonicalization without comments [XML-exc-C14N]. The
// inclusive prefixes are those of an InclusiveNamespaces PrefixList.
func (e *Element) Canonicalize(dst []byte, omit *Element, inclusive []string) []byte {
	c := canonicalizer{out: dst, omit: omit, inclusive: inclusive}
	c.element(e)
	return c.out
}

type canonicalizer struct {
	out       []byte
	omit      *Element
	inclusive []string
	// rendered are the namespaces that the output has in scope, innermost
	// last; their number is bounded by depth and by MaxNamespaces.
	rendered []binding
	sorted   []*attribute
}

func (c *canonicalizer) element(e *Element) {
	outer := len(c.rendered)
	c.namespaces(e)

	c.out = append(c.out, '<')
	c.name(e.prefix, e.Local)
	for _, b := range c.rendered[outer:] {
		c.out = append(c.out, " xmlns"...)
		if b.prefix != "" {
			c.out = append(c.out, ':')
			c.out = append(c.out, b.prefix...)
		}
		c.attributeValue(b.uri)
	}
	c.attributes(e)
	c.out = append(c.out, '>')

	for i := range e.content {
		switch child := e.content[i].element; {
		case child == nil:
			c.text(e.content[i].text)
		case child != c.omit:
			c.element(child)
		}
	}

	c.out = append(c.out, '<', '/')
	c.name(e.prefix, e.Local)
	c.out = append(c.out, '>')
	c.rendered = c.rendered[:outer]
}

// namespaces adds to rendered, in canonical order, what the start tag of e
// has to declare.
func (c *canonicalizer) namespaces(e *Element) {
	outer := len(c.rendered)
	c.use(outer, e.prefix, e.Space)
	for i := range e.attributes {
		if a := &e.attributes[i]; a.prefix != "" {
			c.use(outer, a.prefix, a.space)
		}
	}
	for _, prefix := range c.inclusive {
		if prefix == DefaultNamespace {
			prefix = ""
		}
		if uri, ok := e.lookup(prefix); ok {
			c.use(outer, prefix, uri)
		}
	}
	if own := c.rendered[outer:]; len(own) > 1 {
		slices.SortFunc(own, func(a, b binding) int { return cmp.Compare(a.prefix, b.prefix) })
	}
}

// use declares prefix, unless the output has it in scope with that very URI.
// No default namespace at all is the same as an empty one. The element that
// asks has its own declarations from outer on.
func (c *canonicalizer) use(outer int, prefix, uri string) {
	if prefix == "xml" {
		return
	}
	for i := len(c.rendered) - 1; i >= 0; i-- {
		if b := c.rendered[i]; b.prefix == prefix {
			if i < outer && b.uri != uri {
				break
			}
			return
		}
	}
	if uri == "" && !c.hasDefault() {
		return
	}
	c.rendered = append(c.rendered, binding{prefix, uri})
}

func (c *canonicalizer) hasDefault() bool {
	for i := len(c.rendered) - 1; i >= 0; i-- {
		if c.rendered[i].prefix == "" {
			return c.rendered[i].uri != ""
		}
	}
	return false
}

// attributes writes the attributes of e, sorted by namespace URI and then by
// local name.
func (c *canonicalizer) attributes(e *Element) {
	c.sorted = c.sorted[:0]
	for i := range e.attributes {
		c.sorted = append(c.sorted, &e.attributes[i])
	}
	slices.SortFunc(c.sorted, func(a, b *attribute) int {
		return cmp.Or(cmp.Compare(a.space, b.space), cmp.Compare(a.local, b.local))
	})
	for _, a := range c.sorted {
		c.out = append(c.out, ' ')
		c.name(a.prefix, a.local)
		c.attributeValue(a.value)
	}
}

func (c *canonicalizer) name(prefix, local string) {
	if prefix != "" {
		c.out = append(c.out, prefix...)
		c.out = append(c.out, ':')
	}
	c.out = append(c.out, local...)
}

func (c *canonicalizer) attributeValue(s string) {
	c.out = append(c.out, '=', '"')
	c.escape(s, "&<\"\t\n\r")
	c.out = append(c.out, '"')
}

func (c *canonicalizer) text(s string) {
	c.escape(s, "&<>\r")
}

func (c *canonicalizer) escape(s, special string) {
	for {
		at := strings.IndexAny(s, special)
		if at < 0 {
			c.out = append(c.out, s...)
			return
		}
		c.out = append(c.out, s[:at]...)
		switch s[at] {
		case '&':
			c.out = append(c.out, "&amp;"...)
		case '<':
			c.out = append(c.out, "&lt;"...)
		case '>':
			c.out = append(c.out, "&gt;"...)
		case '"':
			c.out = append(c.out, "&quot;"...)
		case '\t':
			c.out = append(c.out, "&#x9;"...)
		case '\n':
			c.out = append(c.out, "&#xA;"...)
		case '\r':
			c.out = append(c.out, "&#xD;"...)
		}
		s = s[at+1:]
	}
}
