package proxies_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Row T14: nginx finds its own way by a path that it has decoded and cleaned, and
// passes on the one that was sent. The gateway judges that one.
func TestT14_NginxHoldsToPathRules(t *testing.T) {
	w := newWorld(t, setup{tenant: func(c *tenantconfig.Config) {
		c.Authorization.RoleMappings = []tenantconfig.RoleMapping{{Group: "staff", Role: "member"}}
		c.Application.Paths = []tenantconfig.PathRule{
			{Path: "/members", Roles: []string{"member"}}, {Path: "/admin", Roles: []string{"admin"}}, {Path: "/admin/help"},
		}
	}})
	address := w.startNginx()
	b := w.browser(address)
	_, err := b.SignIn(t.Context(), site(acme)+"/", alice, password)
	require.NoError(t, err)
	cookies, err := b.Cookies(site(acme))
	require.NoError(t, err)
	header := http.Header{"Accept": page["Accept"]}
	for _, cookie := range cookies {
		header.Add("Cookie", cookie.String())
	}
	w.app.take()
	for target, want := range map[string]int{
		"/": 200, "/members/a%20b": 200, "/admin/help": 200, "/administrator": 200,
		"/admin": 403, "/Admin": 403, "/%61dmin": 403, "/admin.json": 403, "/admin/Help": 403, "/admin/%68elp": 403,
		"/members/..%2fadmin": 403, "/members//admin": 403, "/members/;/admin": 403, "/members/%252e%252e/admin": 403, "/members%5cadmin": 403,
	} {
		response := w.send(address, http.MethodGet, site(acme)+target, header)
		assert.Equal(t, want, response.StatusCode, target)
		seen := w.app.take()
		if want != http.StatusOK {
			assert.Empty(t, seen, target)
			continue
		}
		require.Len(t, seen, 1, target)
		assertAlice(t, seen[0])
		assert.Equal(t, target, seen[0].RequestURI)
	}
}
