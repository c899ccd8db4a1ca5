package admin_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"cequence.cloud/saml-operator/internal/administration"
	"cequence.cloud/saml-operator/internal/gateway/admin"
)

// description is the part of the OpenAPI document that the code could
// contradict.
type description struct {
	Paths      map[string]map[string]any
	Components struct {
		Schemas map[string]struct {
			Required   []string
			Properties map[string]any
		}
	}
}

// The document names what is served, and the verbs that RBAC is asked for.
func TestTheDocumentIsWhatIsServed(t *testing.T) {
	text, err := os.ReadFile("../../../docs/reference/administration-api.yaml")
	require.NoError(t, err)
	var document description
	require.NoError(t, yaml.Unmarshal(text, &document))

	var asked admin.Access
	h := admin.New(admin.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now, Authorize: func(_ context.Context, _ string, access admin.Access) (string, error) {
		asked = access
		return "somebody", admin.ErrForbidden
	}})
	operations := 0
	for path, methods := range document.Paths {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			asked = admin.Access{}
			r := httptest.NewRequest(method, strings.NewReplacer("{tenant}", "acme", "{user}", "u", "{session}", "s").Replace(path), nil)
			r.Header.Set("Authorization", "Bearer x")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			operation, described := methods[strings.ToLower(method)].(map[string]any)
			if !described {
				assert.Equal(t, http.StatusMethodNotAllowed, w.Code, "%s %s is served and not described", method, path)
				continue
			}
			operations++
			assert.Equal(t, http.StatusForbidden, w.Code, "%s %s is described and not served", method, path)
			assert.Equal(t, "acme", asked.Tenant)
			assert.True(t, strings.HasSuffix(operation["summary"].(string), ": samltenants/"+asked.Resource+", "+asked.Verb), "%s %s asks for %s of %s", method, path, asked.Verb, asked.Resource)
		}
	}
	assert.Equal(t, 8, operations)

	for name, value := range map[string]any{
		"User": administration.User{}, "UserPatch": administration.UserPatch{}, "Session": administration.Session{}, "Ended": administration.Ended{},
		"TestLink": administration.TestLink{}, "Problem": administration.Problem{}, "AuditEntry": administration.AuditEntry{}, "AuditList": administration.List[administration.AuditEntry]{}, "UserList": administration.List[administration.User]{}, "SessionList": administration.List[administration.Session]{},
	} {
		schema := document.Components.Schemas[name]
		var fields, required []string
		for i := range reflect.TypeOf(value).NumField() {
			field, option, _ := strings.Cut(reflect.TypeOf(value).Field(i).Tag.Get("json"), ",")
			fields = append(fields, field)
			if option == "" {
				required = append(required, field)
			}
		}
		var described []string
		for property := range schema.Properties {
			described = append(described, property)
		}
		assert.ElementsMatch(t, fields, described, name)
		assert.ElementsMatch(t, required, slices.Clone(schema.Required), name)
	}
}
