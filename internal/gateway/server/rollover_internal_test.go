package server

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/refresh"
	"cequence.cloud/saml-operator/internal/tenantconfig"
	"cequence.cloud/saml-operator/internal/testidp"
)

// idpKeys are one that is trusted at first and one that follows.
var idpKeys = sync.OnceValue(func() (keys [2]*testidp.Key) {
	for i := range keys {
		var err error
		if keys[i], err = testidp.NewKey(testidp.KeyOptions{}); err != nil {
			panic(err)
		}
	}
	return keys
})

// set is a tenant's configuration with one of these keys.
func set(t *testing.T, name, displayName string, key int) tenant.Set {
	t.Helper()
	host := name + ".s.example"
	data, err := tenantconfig.Encode(tenantconfig.Config{
		Tenant: name, CustomerName: name, DisplayName: displayName, Host: host,
		ServiceProvider: tenantconfig.ServiceProvider{EntityID: "https://" + host + ":443/saml/metadata",
			SignOnURL: "https://" + host, ACSURL: "https://" + host + "/saml/acs", MetadataURL: "https://" + host + "/saml/metadata"},
		IdentityProvider: tenantconfig.IdentityProvider{EntityID: "https://idp.example",
			SSO:                 []tenantconfig.Endpoint{{Binding: tenantconfig.BindingRedirect, Location: "https://idp.example/sso"}},
			SigningCertificates: []string{base64.StdEncoding.EncodeToString(idpKeys()[key].Certificate.Raw)}},
		Session: tenantconfig.Session{MaxDuration: 3600, IdleTimeout: 600},
	})
	require.NoError(t, err)
	return tenant.Set{Revision: string(data), Files: tenantconfig.Files{
		tenantconfig.FileConfig: data, tenantconfig.FileSPMetadata: []byte("<EntityDescriptor/>"),
	}}
}

// rolloverWorld has the tenants acme and globex, served with their first key.
type rolloverWorld struct {
	*rollovers
	t     *testing.T
	sets  map[string]tenant.Set
	acme  *tenant.Tenant
	asked int
}

func newRolloverWorld(t *testing.T, ask func(context.Context) error) *rolloverWorld {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	w := &rolloverWorld{t: t, sets: map[string]tenant.Set{}}
	var mu sync.Mutex
	w.rollovers = newRollovers(tenant.NewRegistry(log), func(ctx context.Context, _ string) error {
		mu.Lock()
		w.asked++
		mu.Unlock()
		return ask(ctx)
	}, log)
	w.apply("acme", "Acme", 0)
	w.apply("globex", "Globex", 0)
	w.acme = w.tenants.ByHost("acme.s.example")
	return w
}

func (w *rolloverWorld) apply(name, displayName string, key int) {
	w.t.Helper()
	w.sets[name] = set(w.t, name, displayName, key)
	w.tenants.Apply(w.sets)
}

func takenUp(context.Context) error { return nil }

func TestAllThatWaitShareOneRefresh(t *testing.T) {
	idpKeys()
	synctest.Test(t, func(t *testing.T) {
		w := newRolloverWorld(t, takenUp)
		newer := make(chan *tenant.Tenant, maxWaiting)
		for range maxWaiting {
			go func() { newer <- w.newer(t.Context(), w.acme) }()
		}
		synctest.Wait()
		assert.Nil(t, w.newer(t.Context(), w.acme), "one more does not wait")

		w.apply("globex", "Globex", 1)
		w.apply("acme", "Acme Incorporated", 0)
		synctest.Wait()
		assert.Empty(t, newer, "what brings no new key for this tenant ends no wait")

		w.apply("acme", "Acme Incorporated", 1)
		for range maxWaiting {
			got := <-newer
			require.NotNil(t, got)
			assert.Equal(t, idpKeys()[1].Certificate, got.SigningCertificates[0])
		}
		assert.Equal(t, 1, w.asked)
		assert.NotNil(t, w.newer(t.Context(), w.acme), "who comes late gets it at once")
		assert.Equal(t, 1, w.asked)
	})
}

func TestAWaitEndsWithoutANewKey(t *testing.T) {
	idpKeys()
	synctest.Test(t, func(t *testing.T) {
		w := newRolloverWorld(t, takenUp)
		start := time.Now()
		assert.Nil(t, w.newer(t.Context(), w.acme))
		assert.Equal(t, rolloverWait, time.Since(start))

		// The operator may take its time to answer, but no more than that.
		w = newRolloverWorld(t, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		start = time.Now()
		assert.Nil(t, w.newer(t.Context(), w.acme))
		assert.Equal(t, rolloverWait, time.Since(start))
	})
}

func TestNobodyWaitsForWhatIsNotRefreshed(t *testing.T) {
	idpKeys()
	synctest.Test(t, func(t *testing.T) {
		for _, err := range []error{refresh.ErrLimited, errors.New("the operator is away")} {
			w := newRolloverWorld(t, func(context.Context) error { return err })
			start := time.Now()
			assert.Nil(t, w.newer(t.Context(), w.acme))
			assert.Nil(t, w.newer(t.Context(), w.acme))
			assert.Zero(t, time.Since(start))
			assert.Equal(t, 2, w.asked, "whether to ask again is for the limits")
		}
		w := newRolloverWorld(t, nil)
		w.rollovers.refresh = nil
		assert.Nil(t, w.newer(t.Context(), w.acme), "no operator")
		w.apply("acme", "Acme", 1)
		assert.NotNil(t, w.newer(t.Context(), w.acme), "what is there already needs no operator")
	})
}

func TestABrowserThatLeavesTakesNothingFromOthers(t *testing.T) {
	idpKeys()
	synctest.Test(t, func(t *testing.T) {
		w := newRolloverWorld(t, takenUp)
		leaving, leave := context.WithCancel(t.Context())
		newer := make(chan *tenant.Tenant, 1)
		left := make(chan *tenant.Tenant, 1)
		go func() { left <- w.newer(leaving, w.acme) }()
		synctest.Wait()
		go func() { newer <- w.newer(t.Context(), w.acme) }()
		synctest.Wait()
		leave()
		assert.Nil(t, <-left)
		w.apply("acme", "Acme", 1)
		assert.NotNil(t, <-newer)
		synctest.Wait()
		assert.Zero(t, w.waiting)
		assert.Empty(t, w.underWay)
	})
}
