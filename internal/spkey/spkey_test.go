package spkey_test

import (
	"strings"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/spkey"
)

func TestGenerateMakesAPairThatReads(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	key, certificate, err := spkey.Generate("acme.s.cequence.cloud", now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := spkey.Certificate(key, certificate)
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject.CommonName != "acme.s.cequence.cloud" || !got.NotBefore.Before(now) || !got.NotAfter.After(now.AddDate(9, 0, 0)) {
		t.Errorf("certificate: %s, %s to %s", got.Subject, got.NotBefore, got.NotAfter)
	}
}

func TestCertificateRefusesWhatDoesNotBelongTogether(t *testing.T) {
	key1, certificate1, err := spkey.Generate("a.example.test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, certificate2, err := spkey.Generate("b.example.test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ key, certificate []byte }{
		"another pair's certificate": {key1, certificate2},
		"no key":                     {nil, certificate1},
		"no certificate":             {key1, nil},
		"not PEM":                    {[]byte("x"), []byte("y")},
	} {
		if _, err := spkey.Certificate(test.key, test.certificate); err == nil || !strings.Contains(err.Error(), "SP key") {
			t.Errorf("%s: got %v, want an error about the SP key pair", name, err)
		}
	}
}
