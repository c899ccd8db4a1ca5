package server

import (
	"strconv"
	"time"

	"cequence.cloud/saml-operator/internal/gateway/identityjwt"
	"cequence.cloud/saml-operator/internal/gateway/session"
)

// Identity is what tells the application who is signed in under a signature.
type Identity struct {
	// Issuer is nil if nothing does.
	Issuer *identityjwt.Issuer
	// Audience is the tenant's sign-on URL if empty.
	Audience string
}

// jwksMaxAge is how long others keep the keys. A new key is published for
// longer than that before it signs.
const jwksMaxAge = 5 * time.Minute

// jwks publishes the keys. Unlike all else of ours caches may keep the answer:
// it is the same for everybody, and sets no cookie.
func (x *exchange) jwks() {
	if x.Identity.Issuer == nil {
		x.notFound()
		return
	}
	document := x.Identity.Issuer.JWKS()
	h := x.w.Header()
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(jwksMaxAge/time.Second)))
	h.Set("Content-Type", "application/jwk-set+json") // [RFC 7517 8.5.1]
	h.Set("Content-Length", strconv.Itoa(len(document)))
	_, _ = x.w.Write(document) // the client may be gone
}

// identityJWT is the token for the application, or empty if there is none.
func (x *exchange) identityJWT(s session.Session) string {
	if x.Identity.Issuer == nil {
		return ""
	}
	site := x.tenant.Config.ServiceProvider.SignOnURL
	claims := identityjwt.Claims{
		Issuer: site, Audience: x.Identity.Audience, Subject: s.StableID, Tenant: x.tenant.Name(),
		Email: s.Email, Name: s.DisplayName, Groups: s.Groups, GroupsIncomplete: s.GroupsIncomplete, Roles: x.roles(s),
	}
	if claims.Audience == "" {
		claims.Audience = site
	}
	s.SeenAt = s.ExpiresAt // it is in use: only its age ends it
	token, err := x.Identity.Issuer.Token(s.ID, claims, x.policy().Deadline(s))
	if err != nil {
		// Without it the application lets nobody in who needs it.
		x.Log.Error("identity token", "tenant", x.tenant.Name(), "error", err.Error())
		return ""
	}
	return token
}
