package xmltree_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/xmltree"
)

var limits = xmltree.Limits{Bytes: 256 << 10, Elements: 5000, Parts: 20_000}

func TestCanonicalizeAgreesWithLibxml2(t *testing.T) {
	file, err := os.Open("testdata/exc-c14n.jsonl")
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	count := 0
	for decoder := json.NewDecoder(file); decoder.More(); count++ {
		var c struct {
			Document   string   `json:"document"`
			Element    int      `json:"element"`
			PrefixList []string `json:"prefixList"`
			Canonical  string   `json:"canonical"`
		}
		require.NoError(t, decoder.Decode(&c))
		root, err := xmltree.Parse([]byte(c.Document), limits)
		require.NoError(t, err, c.Document)
		element := slices.Collect(root.All())[c.Element]
		assert.Equal(t, c.Canonical, string(element.Canonicalize(nil, nil, c.PrefixList)), c.Document)
	}
	assert.Equal(t, 80, count)
}

func TestCanonicalizeOmitsOneElement(t *testing.T) {
	root, err := xmltree.Parse([]byte(`<a><s>1</s>x<s>2</s></a>`), limits)
	require.NoError(t, err)
	second := slices.Collect(root.Children())[1]
	assert.Equal(t, `dst:<a><s>1</s>x</a>`, string(root.Canonicalize([]byte("dst:"), second, nil)))
}

// Both forms are libxml2's for <a xml:lang="en"></a>.
func TestCanonicalizeOmitsTheBindingOfXML(t *testing.T) {
	root, err := xmltree.Parse([]byte(`<a xmlns:xml="http://www.w3.org/XML/1998/namespace" xml:lang="en"/>`), limits)
	require.NoError(t, err)
	for _, inclusive := range [][]string{nil, {"xml"}} {
		assert.Equal(t, `<a xml:lang="en"></a>`, string(root.Canonicalize(nil, nil, inclusive)))
	}
}

func TestParseReads(t *testing.T) {
	tests := map[string]struct{ document, text string }{
		"references":                {`<a>&lt;&gt;&amp;&apos;&quot;&#65;&#x42;&#x1F600;</a>`, `<>&'"AB😀`},
		"CDATA joins the text":      {`<a>x<![CDATA[<&]]>y<![CDATA[]]]]></a>`, `x<&y]]`},
		"line ends":                 {"<a>1\r\n2\r3\n4&#13;5</a>", "1\n2\n3\n4\r5"},
		"byte order mark":           {"\xef\xbb\xbf<a>x</a>", "x"},
		"declaration":               {"<?xml version='1.0' encoding=\"utf-8\" standalone='yes' ?>\n<a>x</a>\n", "x"},
		"UTF8 without the hyphen":   {"<?xml version='1.0' encoding='UTF8'?><a>ä</a>", "ä"},
		"US-ASCII":                  {"<?xml version=\"1.0\" encoding=\"us-ascii\"?><a>x</a>", "x"},
		"xml bound to itself":       {"<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='en'>x</a>", "x"},
		"comments outside of it":    {"<!-- 1 --><a>x</a><!-- 2 -->", "x"},
		"white space in tags":       {"<a\n b = '1'\t>x</a\n>", "x"},
		"empty element":             {"<a/>", ""},
		"comment in an empty value": {"<a><!-- - --></a>", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root, err := xmltree.Parse([]byte(test.document), limits)
			require.NoError(t, err)
			text, ok := root.Text()
			assert.True(t, ok)
			assert.Equal(t, test.text, text)
		})
	}
}

func TestAttributeIsOfNoNamespace(t *testing.T) {
	root, err := xmltree.Parse([]byte("<a xmlns:p='urn:p' p:ID='twin' ID='\tx\r\n&#9;y'/>"), limits)
	require.NoError(t, err)
	value, ok := root.Attribute("ID")
	assert.True(t, ok)
	assert.Equal(t, " x \ty", value)
	_, ok = root.Attribute("Id")
	assert.False(t, ok)
}

func TestTextIsOfALeaf(t *testing.T) {
	root, err := xmltree.Parse([]byte("<a>1<b>2<c>3</c></b>4</a>"), limits)
	require.NoError(t, err)
	_, ok := root.Text()
	assert.False(t, ok)
	assert.ElementsMatch(t, []rune("1234"), []rune(root.DeepText()))
}

func TestParseRefuses(t *testing.T) {
	nested := func(depth int) string { return strings.Repeat("<a>", depth) + strings.Repeat("</a>", depth) }
	numbered := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	tests := map[string]struct {
		document string
		want     error
	}{
		"too large":                    {"<a>" + strings.Repeat("x", limits.Bytes) + "</a>", xmltree.ErrTooLarge},
		"too deep":                     {nested(xmltree.MaxDepth + 1), xmltree.ErrLimit},
		"too many elements":            {"<a>" + strings.Repeat("<b/>", limits.Elements) + "</a>", xmltree.ErrLimit},
		"too many attributes in all":   {"<a>" + strings.Repeat("<b c='' d='' e='' xmlns:f='urn:f'>g</b>", limits.Parts/5+1) + "</a>", xmltree.ErrLimit},
		"too many pieces of text":      {"<a>" + strings.Repeat(" <!---->", limits.Parts+1) + "</a>", xmltree.ErrLimit},
		"too many CDATA sections":      {"<a>" + strings.Repeat("<![CDATA[]]>", limits.Parts+1) + "</a>", xmltree.ErrLimit},
		"too many attributes":          {"<a" + numbered(xmltree.MaxAttributes+1, " b%d=''") + "/>", xmltree.ErrLimit},
		"attributes and namespaces":    {"<a" + numbered(40, " b%d=''") + numbered(40, " xmlns:n%d='urn:n'") + "/>", xmltree.ErrLimit},
		"too many namespaces in scope": {"<a" + numbered(40, " xmlns:n%d='urn:n'") + "><b" + numbered(40, " xmlns:m%d='urn:n'") + "/></a>", xmltree.ErrLimit},

		"long namespace": {"<a xmlns='urn:" + strings.Repeat("x", xmltree.MaxNamespaceBytes) + "'/>", xmltree.ErrLimit},

		"DOCTYPE":                {"<!DOCTYPE a><a/>", xmltree.ErrForbidden},
		"DOCTYPE in lower case":  {"<!doctype a><a/>", xmltree.ErrForbidden},
		"DOCTYPE inside":         {"<a><!DOCTYPE a></a>", xmltree.ErrForbidden},
		"DOCTYPE after":          {"<a/><!DOCTYPE a>", xmltree.ErrForbidden},
		"processing instruction": {"<a><?php x?></a>", xmltree.ErrForbidden},
		"stylesheet":             {"<?xml-stylesheet href='x'?><a/>", xmltree.ErrForbidden},
		"late declaration":       {" <?xml version='1.0'?><a/>", xmltree.ErrForbidden},
		"second declaration":     {"<?xml version='1.0'?><?xml version='1.0'?><a/>", xmltree.ErrForbidden},
		"XML 1.1":                {"<?xml version='1.1'?><a/>", xmltree.ErrForbidden},
		"Latin-1 in disguise":    {"<?xml version='1.0' encoding='US-ASCII'?><a>\xe4</a>", xmltree.ErrForbidden},
		"other encoding":         {"<?xml version='1.0' encoding='ISO-8859-1'?><a/>", xmltree.ErrForbidden},
		"UTF-7":                  {"<?xml version='1.0' encoding='UTF-7'?>+ADw-a/+AD4-", xmltree.ErrForbidden},
		"UTF-16":                 {"\xff\xfe<\x00a\x00/\x00>\x00", xmltree.ErrForbidden},
		"broken UTF-8":           {"<a>\xc3</a>", xmltree.ErrForbidden},
		"overlong UTF-8":         {"<a>\xc0\xbc</a>", xmltree.ErrForbidden},
		"surrogate":              {"<a>\xed\xa0\x80</a>", xmltree.ErrForbidden},
		"comment in a value":     {"<a>x<!-- -->y</a>", xmltree.ErrForbidden},
		"comment before a value": {"<a><!-- -->y</a>", xmltree.ErrForbidden},
		"comment beside CDATA":   {"<a><![CDATA[x]]><!-- --></a>", xmltree.ErrForbidden},
		"duplicate ID":           {"<a ID='x'><b ID='x'/></a>", xmltree.ErrForbidden},
		"ID in two spellings":    {"<a ID='x'><b Id='x'/></a>", xmltree.ErrForbidden},
		"ID and xml:id":          {"<a ID='x'><b xml:id='x'/></a>", xmltree.ErrForbidden},
		"relative namespace":     {"<a xmlns='relative'/>", xmltree.ErrForbidden},
		"relative namespace 2":   {"<a xmlns:b='../x:y'/>", xmltree.ErrForbidden},
		"xml bound again":        {"<a xmlns:xml='urn:x'/>", xmltree.ErrForbidden},
		"xml namespace bound":    {"<a xmlns:x='http://www.w3.org/XML/1998/namespace'/>", xmltree.ErrForbidden},
		"xml bound twice":        {"<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xmlns:xml='http://www.w3.org/XML/1998/namespace'/>", xmltree.ErrMalformed},
		"xml namespace default":  {"<a xmlns='http://www.w3.org/XML/1998/namespace'/>", xmltree.ErrForbidden},
		"xmlns bound":            {"<a xmlns:xmlns='urn:x'/>", xmltree.ErrForbidden},

		"nothing":                     {"", xmltree.ErrMalformed},
		"no element":                  {"<!-- -->", xmltree.ErrMalformed},
		"text only":                   {"x", xmltree.ErrMalformed},
		"text before":                 {"x<a/>", xmltree.ErrMalformed},
		"text after":                  {"<a/>x", xmltree.ErrMalformed},
		"two roots":                   {"<a/><a/>", xmltree.ErrMalformed},
		"open end":                    {"<a><b></b>", xmltree.ErrMalformed},
		"crossed tags":                {"<a><b></a></b>", xmltree.ErrMalformed},
		"longer end tag":              {"<a></ab>", xmltree.ErrMalformed},
		"other prefix in the end tag": {"<p:a xmlns:p='urn:x' xmlns:q='urn:x'></q:a>", xmltree.ErrMalformed},
		"NUL":                         {"<a>\x00</a>", xmltree.ErrMalformed},
		"control character":           {"<a>\x1b</a>", xmltree.ErrMalformed},
		"noncharacter":                {"<a>\uffff</a>", xmltree.ErrMalformed},
		"reference to NUL":            {"<a>&#0;</a>", xmltree.ErrMalformed},
		"reference to a surrogate":    {"<a>&#xD800;</a>", xmltree.ErrMalformed},
		"reference beyond Unicode":    {"<a>&#x110000;</a>", xmltree.ErrMalformed},
		"reference with a sign":       {"<a>&#+65;</a>", xmltree.ErrMalformed},
		"empty reference":             {"<a>&#;</a>", xmltree.ErrMalformed},
		"entity":                      {"<a>&nbsp;</a>", xmltree.ErrMalformed},
		"bare ampersand":              {"<a>x & y</a>", xmltree.ErrMalformed},
		"]]> in text":                 {"<a>]]></a>", xmltree.ErrMalformed},
		"open CDATA":                  {"<a><![CDATA[x</a>", xmltree.ErrMalformed},
		"-- in a comment":             {"<a><!-- -- --></a>", xmltree.ErrMalformed},
		"< in an attribute":           {"<a b='<'/>", xmltree.ErrMalformed},
		"attribute without quotes":    {"<a b=c/>", xmltree.ErrMalformed},
		"attribute without value":     {"<a b/>", xmltree.ErrMalformed},
		"attributes without space":    {"<a b='1'c='2'/>", xmltree.ErrMalformed},
		"duplicate attribute":         {"<a b='1' b='1'/>", xmltree.ErrMalformed},
		"duplicate by namespace":      {"<a xmlns:p='urn:x' xmlns:q='urn:x' p:b='1' q:b='2'/>", xmltree.ErrMalformed},
		"duplicate declaration":       {"<a xmlns:p='urn:x' xmlns:p='urn:x'/>", xmltree.ErrMalformed},
		"undeclared prefix":           {"<p:a/>", xmltree.ErrMalformed},
		"undeclared attribute prefix": {"<a p:b=''/>", xmltree.ErrMalformed},
		"prefix out of scope":         {"<a><b xmlns:p='urn:x'/><p:c/></a>", xmltree.ErrMalformed},
		"prefix undeclared":           {"<a xmlns:p=''/>", xmltree.ErrMalformed},
		"two colons":                  {"<a:b:c xmlns:a='urn:x'/>", xmltree.ErrMalformed},
		"name beyond ASCII":           {"<ä/>", xmltree.ErrMalformed},
		"name with a digit first":     {"<1a/>", xmltree.ErrMalformed},
		"cut":                         {"<a b", xmltree.ErrMalformed},
		"cut at the bracket":          {"<", xmltree.ErrMalformed},
		"cut at the reference":        {"<a>&#", xmltree.ErrMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root, err := xmltree.Parse([]byte(test.document), limits)
			require.ErrorIs(t, err, test.want)
			assert.Nil(t, root)
		})
	}
}

func TestParseTakesTheLimits(t *testing.T) {
	depth := strings.Repeat("<a>", xmltree.MaxDepth) + strings.Repeat("</a>", xmltree.MaxDepth)
	width := "<a>" + strings.Repeat("<b/>", limits.Elements-1) + "</a>"
	size := "<a>" + strings.Repeat("x", limits.Bytes-len("<a></a>")) + "</a>"
	for _, document := range []string{depth, width, size} {
		_, err := xmltree.Parse([]byte(document), limits)
		assert.NoError(t, err)
	}
}

// A short name may have the canonical form declare a long namespace, which is
// work for the hash: no document gets more than a few times its size.
func TestCanonicalFormIsBounded(t *testing.T) {
	const prefixes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	limits := limits
	limits.Parts = 40_000
	for _, length := range []int{63, xmltree.MaxNamespaceBytes} {
		uri := "urn:" + strings.Repeat("x", length-len("urn:p"))
		declarations, attributes := "", ""
		for _, prefix := range prefixes {
			declarations += fmt.Sprintf(" xmlns:%c='%s%c'", prefix, uri, prefix)
			attributes += fmt.Sprintf(" %c:b=''", prefix)
		}
		largest := 0
		for n := 20; ; n += 20 {
			root, err := xmltree.Parse([]byte("<a"+declarations+">"+strings.Repeat("<b"+attributes+"/>", n)+"</a>"), limits)
			if err != nil {
				break
			}
			largest = len(root.Canonicalize(nil, nil, nil))
		}
		assert.Greater(t, largest, 5*limits.Bytes, "%d", length)
		assert.Less(t, largest, 12*limits.Bytes, "%d", length)
	}
}

func TestParseWithinSeesTheNamespacesOfItsContext(t *testing.T) {
	outer, err := xmltree.Parse([]byte(`<a xmlns="urn:outer" xmlns:p="urn:p"><b xmlns="urn:inner"/></a>`), limits)
	require.NoError(t, err)
	context := slices.Collect(outer.Children())[0]
	inner, err := xmltree.ParseWithin(context, []byte(`<p:c><d/></p:c>`), limits)
	require.NoError(t, err)
	assert.True(t, inner.Is("urn:p", "c"))
	assert.Equal(t, `<p:c xmlns:p="urn:p"><d xmlns="urn:inner"></d></p:c>`, string(inner.Canonicalize(nil, nil, nil)))
	assert.Len(t, slices.Collect(outer.All()), 2)

	_, err = xmltree.ParseWithin(context, []byte(strings.Repeat("<a>", xmltree.MaxDepth-1)+strings.Repeat("</a>", xmltree.MaxDepth-1)), limits)
	assert.ErrorIs(t, err, xmltree.ErrLimit, "the depth goes on where the context is")
}

// FuzzParse looks for panics, and for documents that change when they are
// written and read again.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`<?xml version="1.0"?><a xmlns="urn:x" b='1'>t&#13;<!-- c --><c/></a>`,
		`<p:a xmlns:p="urn:p" xmlns:q='urn:q' q:b="&quot;"><![CDATA[<]]>&lt;</p:a>`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		root, err := xmltree.Parse(document, limits)
		if err != nil {
			return
		}
		canonical := root.Canonicalize(nil, nil, nil)
		// The canonical form may be the longer one, and declare more.
		again, err := xmltree.Parse(canonical, xmltree.Limits{Bytes: 1 << 30, Elements: 1 << 30, Parts: 1 << 30})
		require.NoError(t, err)
		assert.Equal(t, string(canonical), string(again.Canonicalize(nil, nil, nil)))
	})
}
