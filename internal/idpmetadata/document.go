package idpmetadata

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/transform"
)

// Limits of a document. The largest real one known nests 16 levels deep; the
// others leave room for an aggregate of some ten thousand entities, and for
// logos that are written into it.
const (
	maxDocumentBytes = 64 << 20
	maxDepth         = 64
	maxElements      = 500_000
	maxAttributes    = 64

	// In UTF-8. A tag has room for two attributes of the greatest length even
	// if each character is escaped, so that what was marshalled can be read.
	maxTokenBytes     = 256 << 10       // text or a comment
	maxTagBytes       = 64 << 10        // makes a dozen times of it in attributes
	maxAttributeBytes = 2 * maxLocation // no real one known has 150
	maxTextBytes      = 64 << 10        // of an element whose text is of interest
)

const xmlSpace = " \t\r\n"

var (
	encodingDeclaration = regexp.MustCompile(`^<\?xml\s[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']`)
	htmlStart           = regexp.MustCompile(`(?i)^(<!doctype\s+html|<html)[\s>]`)
)

// decode returns the document without a byte order mark, either in UTF-8 or in
// an 8-bit charset in which ASCII is what it is in UTF-8. The latter is turned
// into UTF-8 while it is read, without a copy of the whole.
func decode(document []byte) (text []byte, charset *charmap.Charmap, err error) {
	switch {
	case bytes.HasPrefix(document, []byte("\xEF\xBB\xBF")):
		text, err = validUTF8(document[3:])
	case bytes.HasPrefix(document, []byte("\xFF\xFE")):
		text, err = fromUTF16(document[2:], binary.LittleEndian)
	case bytes.HasPrefix(document, []byte("\xFE\xFF")):
		text, err = fromUTF16(document[2:], binary.BigEndian)
	case bytes.HasPrefix(document, []byte("<\x00")):
		text, err = fromUTF16(document, binary.LittleEndian)
	case bytes.HasPrefix(document, []byte("\x00<")):
		text, err = fromUTF16(document, binary.BigEndian)
	default:
		return decodeDeclared(document)
	}
	return text, nil, err
}

// decodeDeclared goes by the XML declaration.
func decodeDeclared(document []byte) (text []byte, charset *charmap.Charmap, err error) {
	declared := "utf-8"
	if m := encodingDeclaration.FindSubmatch(document[:min(len(document), 512)]); m != nil {
		declared = strings.ToLower(string(m[1]))
	}
	switch declared {
	case "utf-8", "utf8", "us-ascii", "ascii":
		text, err = validUTF8(document)
		return text, nil, err
	case "iso-8859-1", "latin1":
		return document, charmap.ISO8859_1, nil
	case "iso-8859-15":
		return document, charmap.ISO8859_15, nil
	case "windows-1252", "cp1252":
		return document, charmap.Windows1252, nil
	}
	return nil, nil, fail(ParseFailed, nil, "the metadata declares the unsupported encoding %s; publish it in UTF-8", quote(declared))
}

func validUTF8(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, fail(ParseFailed, nil, "the metadata is not well-formed XML because it holds bytes that are not UTF-8; correct its encoding or declare the one it has")
	}
	return text, nil
}

func fromUTF16(document []byte, order binary.ByteOrder) ([]byte, error) {
	damaged := fail(ParseFailed, nil, "the metadata is not well-formed XML because its UTF-16 text is damaged; publish it in UTF-8")
	if len(document)%2 != 0 {
		return nil, damaged
	}
	// Two bytes become three at most, so it never grows by copying.
	text := make([]byte, 0, len(document)/2*3)
	for i := 0; i < len(document); i += 2 {
		r := rune(order.Uint16(document[i:]))
		if utf16.IsSurrogate(r) {
			if i += 2; i == len(document) {
				return nil, damaged
			}
			if r = utf16.DecodeRune(r, rune(order.Uint16(document[i:]))); r == utf8.RuneError {
				return nil, damaged
			}
		}
		text = utf8.AppendRune(text, r)
	}
	return text, nil
}

// reader walks over the elements of an XML document. It is stricter than
// encoding/xml, which accepts doubled attributes, a document type, several
// document elements, text around them, and any depth.
type reader struct {
	decoder  *xml.Decoder
	input    *tokenInput
	depth    int
	elements int
}

// newReader refuses what must not even be tokenised.
func newReader(document []byte) (*reader, error) {
	if len(document) > maxDocumentBytes {
		return nil, fail(ParseFailed, nil, "the metadata is larger than %d MiB; use a URL that serves the IdP's own metadata instead of an aggregate", maxDocumentBytes>>20)
	}
	text, charset, err := decode(document)
	if err != nil {
		return nil, err
	}
	start := bytes.TrimLeft(text, xmlSpace)
	switch {
	case len(start) == 0:
		return nil, fail(ParseFailed, nil, "the metadata document is empty; check that the source serves the IdP's SAML metadata")
	case htmlStart.Match(start):
		return nil, htmlPage()
	case start[0] != '<':
		return nil, fail(ParseFailed, nil, "the document is not XML; check that the source serves the IdP's SAML metadata")
	case bytes.Contains(text, []byte("<!DOCTYPE")):
		return nil, doctypeFound()
	}
	var utf8Text io.Reader = bytes.NewReader(text)
	if charset != nil {
		utf8Text = transform.NewReader(utf8Text, charset.NewDecoder())
	}
	input := &tokenInput{Reader: bufio.NewReader(utf8Text)}
	decoder := xml.NewDecoder(input)
	decoder.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	return &reader{decoder: decoder, input: input}, nil
}

// tokenInput gives the decoder a limited number of bytes for each token. The
// decoder builds a token as a whole before anybody can look at it, with
// several copies of it on the way.
type tokenInput struct {
	*bufio.Reader
	left int  // negative when the limit was met
	last byte // read before
}

// startToken is called before each token.
func (i *tokenInput) startToken() { i.left = maxTokenBytes }

var errLongToken = errors.New("token is too long")

// ReadByte is what the decoder reads with.
func (i *tokenInput) ReadByte() (byte, error) {
	if i.left--; i.left < 0 {
		return 0, errLongToken
	}
	b, err := i.Reader.ReadByte()
	if i.last == '<' && b != '!' && b != '?' {
		// A tag, or what looks like one in a comment. It may be the next
		// token's, whose first byte ended the text before.
		i.left = min(i.left, maxTagBytes)
	}
	i.last = b
	return b, err
}

func htmlPage() *Error {
	return fail(ParseFailed, nil, "the metadata source returned an HTML page, not SAML metadata; use the IdP's federation metadata URL, which answers without signing in")
}

func doctypeFound() *Error {
	return fail(ParseFailed, nil, "the document holds a DOCTYPE, which SAML metadata never needs and which is refused for security; publish it without one")
}

func tooComplex(what string) *Error {
	return fail(ParseFailed, nil, "the metadata is too complex (%s); use a URL that serves the IdP's own plain SAML metadata", what)
}

// malformed reports a violation of the XML rules. The decoder's own words
// quote the document, so only the line is kept.
func (r *reader) malformed(rule string) *Error {
	line, column := r.decoder.InputPos()
	return fail(ParseFailed, fmt.Errorf("line %d, column %d", line, column),
		"the metadata is not well-formed XML (%s); check the document at its source", rule)
}

// token returns the next token that matters, io.EOF at the end.
func (r *reader) token() (xml.Token, error) {
	for {
		offset := r.decoder.InputOffset()
		r.input.startToken()
		token, err := r.decoder.Token()
		if r.input.left < 0 {
			// Not by the error, which may be about the torn end.
			return nil, tooComplex("a single tag, comment or text is too long")
		}
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if err != nil {
			return nil, r.malformed("broken or cut off mark-up")
		}
		switch t := token.(type) {
		case xml.StartElement:
			return t, r.enter(t)
		case xml.EndElement:
			r.depth--
			return t, nil
		case xml.CharData:
			return t, nil
		case xml.Directive:
			return nil, doctypeFound()
		case xml.ProcInst:
			if strings.EqualFold(t.Target, "xml") && offset != 0 {
				return nil, r.malformed("the XML declaration is not at the very start, remove what stands before it")
			}
		}
	}
}

func (r *reader) enter(start xml.StartElement) error {
	r.depth++
	r.elements++
	switch {
	case r.depth > maxDepth:
		return tooComplex("elements nested too deeply")
	case r.elements > maxElements:
		return tooComplex("too many elements")
	case len(start.Attr) > maxAttributes:
		return tooComplex("too many attributes on one element")
	}
	for i, a := range start.Attr {
		if len(a.Value) > maxAttributeBytes {
			return tooComplex("an attribute is too long")
		}
		for _, b := range start.Attr[:i] {
			if a.Name == b.Name {
				return r.malformed("an attribute stands twice on one element")
			}
		}
	}
	return nil
}

// document calls visit with the one document element, which visit must
// consume.
func (r *reader) document(visit func(xml.StartElement) error) error {
	seen := false
	for {
		token, err := r.token()
		if errors.Is(err, io.EOF) {
			if !seen {
				return r.malformed("no document element")
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if seen {
				return r.malformed("more than one document element")
			}
			seen = true
			if err := visit(t); err != nil {
				return err
			}
		case xml.CharData:
			if len(bytes.Trim(t, xmlSpace)) > 0 {
				return r.malformed("text outside of the document element")
			}
		}
	}
}

// children calls visit with each child of the element that was just entered.
// visit must consume the child.
func (r *reader) children(visit func(xml.StartElement) error) error {
	return r.content(visit, func([]byte) error { return nil })
}

// text returns the text of the element that was just entered, without that
// of elements inside and without comments.
func (r *reader) text() (string, error) {
	var text strings.Builder
	err := r.content(
		func(xml.StartElement) error { return r.skip() },
		func(data []byte) error {
			if text.Len()+len(data) > maxTextBytes {
				return tooComplex("a certificate or name ID format is too long")
			}
			text.Write(data)
			return nil
		})
	return strings.Trim(text.String(), xmlSpace), err
}

// skip consumes the element that was just entered.
func (r *reader) skip() error {
	for outside := r.depth - 1; r.depth > outside; {
		if _, err := r.token(); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) content(visit func(xml.StartElement) error, data func([]byte) error) error {
	for {
		token, err := r.token()
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if err := visit(t); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		case xml.CharData:
			if err := data(t); err != nil {
				return err
			}
		}
	}
}

// attribute returns the value of an attribute without a namespace, trimmed.
func attribute(element xml.StartElement, name string) string {
	for _, a := range element.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return strings.Trim(a.Value, xmlSpace)
		}
	}
	return ""
}
