package identity_test

import (
	"testing"

	"cequence.cloud/saml-operator/internal/gateway/identity"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

var (
	byDefault = tenantconfig.AttributeMapping{UserID: []string{"oid"}, UserIDWithoutNameID: []string{"uid", "a}b"}}
	named     = tenantconfig.AttributeMapping{UserID: []string{"employee"}, UserIDRequired: true}
	nothing   = tenantconfig.AttributeMapping{}
)

const someGUID = "7d0c8a51-94a3-4c55-9e0e-1b8f3c2b6a40"

func TestName(t *testing.T) {
	for _, test := range []struct {
		mapping          tenantconfig.AttributeMapping
		source, id, want string
	}{
		{byDefault, "oid", someGUID, someGUID},
		{byDefault, identity.SourceNameID, "alice@acme.example", "alice@acme.example"},
		{byDefault, "oid", "alice@acme.example", "{oid}alice@acme.example"},
		{byDefault, identity.SourceNameID, someGUID, "{NameID}" + someGUID},
		{byDefault, "uid", "alice@acme.example", "{uid}alice@acme.example"},
		{byDefault, "uid", someGUID, "{uid}" + someGUID},
		{byDefault, "a}b", "c", "{a%7Db}c"},
		{byDefault, identity.SourceNameID, "{uid}alice", "{NameID}{uid}alice"},
		{named, "employee", "1001", "1001"},
		{named, "employee", someGUID, someGUID},
		{named, "employee", "{1001}", "{employee}{1001}"},
		{nothing, identity.SourceNameID, someGUID, someGUID},
	} {
		who := identity.Identity{UserID: test.id, UserIDSource: test.source}
		if got := who.Name(test.mapping); got != test.want {
			t.Errorf("%s of %s: %q, want %q", test.id, test.source, got, test.want)
		}
	}
}

// FuzzName: two users have two names.
func FuzzName(f *testing.F) {
	f.Add(uint8(0), "alice", uint8(1), "{oid}alice")
	f.Add(uint8(1), someGUID, uint8(0), someGUID)
	f.Add(uint8(2), "b}x", uint8(3), "x")
	sources := []string{"oid", identity.SourceNameID, "uid", "a}b", "a"}
	f.Fuzz(func(t *testing.T, source uint8, id string, otherSource uint8, otherID string) {
		one := identity.Identity{UserIDSource: sources[int(source)%len(sources)], UserID: id}
		other := identity.Identity{UserIDSource: sources[int(otherSource)%len(sources)], UserID: otherID}
		if one.UserIDSource == other.UserIDSource && id == otherID {
			return
		}
		if name := one.Name(byDefault); name == other.Name(byDefault) {
			t.Errorf("%+v and %+v are both %q", one, other, name)
		}
	})
}
