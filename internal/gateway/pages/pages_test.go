package pages

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLanguages(t *testing.T) {
	for accept, want := range map[string]string{
		"": "en", "de": "de", "de-AT,de;q=0.9,en;q=0.8": "de", "en-US,en;q=0.9,de;q=0.8": "en",
		"fr,de;q=0.5": "de", "fr": "en", "de;q=0": "en", "*": "en", "<script>": "en", strings.Repeat("-", 5000): "en",
	} {
		t.Run(accept[:min(len(accept), 20)], func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Accept-Language", accept)
			w := httptest.NewRecorder()
			Write(w, r, Page{Status: http.StatusOK, Text: "sign_out", Who: "<b>", Form: &Form{Action: "/"}})
			assert.Equal(t, want, w.Header().Get("Content-Language"))
			assert.Equal(t, "Accept-Language", w.Header().Get("Vary"))
			assert.Contains(t, w.Body.String(), `<html lang="`+want+`">`)
			assert.Contains(t, w.Body.String(), "&lt;b&gt;")
		})
	}
}

// The policy allows scripts only where a page has one.
func TestScripts(t *testing.T) {
	for name, test := range map[string]struct {
		page   Page
		script string
	}{
		"none":            {page: Page{Text: "signed_out", Link: "/"}},
		"form that waits": {page: Page{Text: "signing_in", Form: &Form{Action: "/"}}},
		"form that goes":  {Page{Text: "signing_in", Form: &Form{Action: "/", Submit: true}}, "submit()"},
		"name of a user":  {Page{Text: "signed_in", Who: "alice"}, "pageshow"},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			test.page.Status = http.StatusOK
			Write(w, httptest.NewRequest(http.MethodGet, "/", nil), test.page)
			assert.Contains(t, w.Body.String(), test.script)
			assert.Equal(t, test.script != "", strings.Contains(w.Body.String(), "<script"))
			assert.Equal(t, test.script != "", strings.Contains(w.Header().Get("Content-Security-Policy"), "script-src"))
		})
	}
}

// TestEveryTextIsTranslated also finds a text that was copied and not changed.
func TestEveryTextIsTranslated(t *testing.T) {
	for name, entry := range catalogue {
		english, german := entry[0], entry[1]
		for _, said := range entry {
			assert.NotEmpty(t, said.title, name)
			assert.NotEmpty(t, said.paragraphs, name)
		}
		assert.NotEqual(t, english.title, german.title, name)
		require.Len(t, german.paragraphs, len(english.paragraphs), name)
		for i := range english.paragraphs {
			assert.NotEqual(t, english.paragraphs[i], german.paragraphs[i], name)
			assert.Equal(t, strings.Count(english.paragraphs[i], "{who}"), strings.Count(german.paragraphs[i], "{who}"), name)
			assert.Equal(t, strings.Contains(english.paragraphs[i], "support ID"), strings.Contains(german.paragraphs[i], "Support-ID"), name)
		}
		assert.Equal(t, english.action == "", german.action == "", name)
	}
}

// TestEveryPageHasAText reads the server's source: each text that a page or
// problem names is in the catalogue, and each text there is named.
func TestEveryPageHasAText(t *testing.T) {
	files, err := filepath.Glob("../server/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	literals, named := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil {
					literals[text] = true
				}
			case *ast.CompositeLit:
				noteText(n, named)
			}
			return true
		})
	}
	require.Contains(t, named, "tenant_unknown")
	for name := range named {
		assert.Contains(t, catalogue, name)
	}
	for name := range catalogue {
		if name != "internal_error" { // sp.CodeInternal
			assert.Contains(t, literals, name, "nothing shows this text")
		}
	}
}

// noteText notes which text a pages.Page or a problem names: its text, or its
// code if it has none.
func noteText(literal *ast.CompositeLit, named map[string]bool) {
	values := map[string]string{}
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, isName := pair.Key.(*ast.Ident)
		if !isName {
			continue
		}
		values[key.Name] = ""
		if value, ok := pair.Value.(*ast.BasicLit); ok {
			values[key.Name], _ = strconv.Unquote(value.Value)
		}
	}
	for _, key := range []string{"Text", "text", "code"} {
		if name, ok := values[key]; ok {
			if name != "" {
				named[name] = true
			}
			return
		}
	}
}
