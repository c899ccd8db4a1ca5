package server

import (
	"encoding/base64"
	"log/slog"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"cequence.cloud/saml-operator/internal/gateway/session"
	"cequence.cloud/saml-operator/internal/gateway/sp"
	"cequence.cloud/saml-operator/internal/gateway/tenant"
)

// Whatever it cost to find out that an encrypted assertion is of no use, the
// answer comes at the beat; others are not delayed.
func TestA12_RefusalsKeepTheBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		registry := tenant.NewRegistry(log)
		registry.Apply(map[string]tenant.Set{"acme": set(t, "acme", "Acme", 0)})
		x := &exchange{
			Server: New(Options{Tenants: registry, Log: log, Now: time.Now}),
			r:      httptest.NewRequest("POST", "https://acme.s.example/saml/acs", nil), tenant: registry.ByHost("acme.s.example"),
		}
		response := func(content string) []byte {
			return []byte(`<Response xmlns="urn:oasis:names:tc:SAML:2.0:protocol" ID="_r" Version="2.0" InResponseTo="id-1" IssueInstant="` +
				time.Now().UTC().Format(time.RFC3339) + `" Destination="https://acme.s.example/saml/acs"><Status><StatusCode Value="` +
				sp.StatusSuccess + `"/></Status>` + content + `</Response>`)
		}
		for _, c := range []struct {
			content string
			code    sp.Code
			want    time.Duration
		}{
			{`<EncryptedAssertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion">` + base64.StdEncoding.EncodeToString([]byte("x")) + `</EncryptedAssertion>`, sp.CodeDecryptionFailed, beat},
			{`<EncryptedAssertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion"/>`, sp.CodeDecryptionFailed, beat},
			{``, sp.CodeAssertionCount, 0},
		} {
			came := time.Now()
			_, err := x.verify(response(c.content), []session.Pending{{RequestID: "id-1"}}, came)
			assert.Equal(t, c.code, sp.CodeOf(err), "%v", err)
			assert.Equal(t, c.want, time.Since(came))
		}
	})
}
