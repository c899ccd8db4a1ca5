package diagnosis

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/authorization"
	"cequence.cloud/saml-operator/internal/gateway/identity"
	"cequence.cloud/saml-operator/internal/gateway/pages"
	"cequence.cloud/saml-operator/internal/gateway/sp"
)

func texts[Code ~string](codes []Code) (all []string) {
	for _, code := range codes {
		all = append(all, string(code))
	}
	return all
}

// Each code that a sign-in can be refused with is explained, and no explanation
// is of a code that there is not.
func TestEveryCodeIsExplained(t *testing.T) {
	explained := map[string]bool{}
	for _, codes := range [][]string{texts(sp.Codes), texts(identity.Codes), texts(authorization.Codes), Codes} {
		for _, code := range codes {
			_, known := ExplanationOf(code)
			assert.True(t, known, "%s is not explained", code)
			explained[code] = true
		}
	}
	for code := range explanations {
		assert.Contains(t, explained, code)
	}
}

// The lists of codes are complete: they are read from the source as well.
func TestTheListsOfCodesAreComplete(t *testing.T) {
	for file, listed := range map[string][]string{
		"../sp/errors.go": texts(sp.Codes), "../identity/identity.go": texts(identity.Codes),
		"../authorization/authorization.go": texts(authorization.Codes), "explanations.go": Codes,
		"../sp/trace.go": texts(sp.Checks),
	} {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		var declared []string
		ast.Inspect(tree, func(n ast.Node) bool {
			constant, ok := n.(*ast.ValueSpec)
			if !ok || len(constant.Values) != 1 || !regexp.MustCompile(`^(Code|Check)[A-Z]`).MatchString(constant.Names[0].Name) {
				return true
			}
			if literal, ok := constant.Values[0].(*ast.BasicLit); ok {
				text, err := strconv.Unquote(literal.Value)
				require.NoError(t, err)
				declared = append(declared, text)
			}
			return true
		})
		assert.ElementsMatch(t, declared, listed, file)
	}
}

func TestEveryCheckHasAName(t *testing.T) {
	for _, check := range sp.Checks {
		assert.NotEmpty(t, checkNames[check][0], check)
	}
	assert.Len(t, checkNames, len(sp.Checks))
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// Each explanation is there in both languages, with the same values in it.
func TestEveryExplanationIsTranslated(t *testing.T) {
	check := func(name string, said pages.Said) {
		t.Helper()
		assert.NotEmpty(t, said[0], name)
		assert.NotEqual(t, said[0], said[1], name)
		assert.ElementsMatch(t, placeholder.FindAllString(said[0], -1), placeholder.FindAllString(said[1], -1), name)
		for _, found := range placeholder.FindAllString(said[0], -1) {
			assert.Contains(t, []string{"{tenant}", "{entityID}", "{acs}", "{metadata}", "{idp}"}, found, name)
		}
		for _, text := range said {
			assert.True(t, strings.HasSuffix(text, ".") || strings.HasSuffix(text, ")") || strings.HasSuffix(text, "“"), "%s: %s", name, text)
		}
	}
	for _, list := range []map[string]Explanation{explanations, entra, statuses} {
		for name, e := range list {
			check(name, e.What)
			check(name, e.Next)
		}
	}
	for name, said := range checkNames {
		assert.NotEqual(t, said[0], said[1], name)
	}
	for _, code := range entraCommon {
		assert.Contains(t, entra, code)
	}
}

func TestEntraCodes(t *testing.T) {
	for text, want := range map[string]string{
		"AADSTS50011: The redirect URI": "AADSTS50011", "Error AADSTS700016 was not found": "AADSTS700016",
		"AADSTS": "", "XAADSTS50011": "", "AADSTS50011x": "", "": "",
	} {
		code, _, known := entraOf(text)
		assert.Equal(t, want, code, text)
		assert.Equal(t, want != "", known, text)
	}
}
