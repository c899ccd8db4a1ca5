package spkey_test

import (
	"crypto/x509"
	"testing"
	"time"

	"cequence.cloud/saml-operator/internal/spkey"
)

const day = 24 * time.Hour

func pair(t *testing.T, at time.Time) *x509.Certificate {
	t.Helper()
	key, certificate, err := spkey.Generate("acme.example.test", at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := spkey.Certificate(key, certificate)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	old, other := pair(t, now.Add(-100*day)), pair(t, now)
	renewed := *old
	renewed.Raw = append([]byte{}, other.Raw...) // another certificate of the same key
	var never time.Time
	for name, test := range map[string]struct {
		state  spkey.State
		action spkey.Action
		again  time.Time
	}{
		"nothing yet":                   {spkey.State{}, spkey.Adopt, never},
		"nothing yet, referred":         {spkey.State{Wanted: other}, spkey.Adopt, never},
		"young enough":                  {spkey.State{Current: old, Overlap: 14 * day}, spkey.Keep, old.NotAfter.Add(-44 * day)},
		"younger than its interval":     {spkey.State{Current: old, Interval: 365 * day}, spkey.Keep, old.NotBefore.Add(365 * day)},
		"as old as its interval":        {spkey.State{Current: old, Interval: 90 * day}, spkey.Publish, never},
		"requested":                     {spkey.State{Current: old, Requested: true}, spkey.Publish, never},
		"amid the overlap":              {spkey.State{Current: old, Next: other, SignsFrom: now.Add(day), Overlap: 14 * day}, spkey.Keep, now.Add(day)},
		"amid the overlap, requested":   {spkey.State{Current: old, Next: other, SignsFrom: now.Add(day), Overlap: 14 * day, Requested: true}, spkey.Keep, now.Add(day)},
		"the overlap is over":           {spkey.State{Current: old, Next: other, SignsFrom: now, Overlap: 14 * day}, spkey.Promote, never},
		"the overlap was made shorter":  {spkey.State{Current: old, Next: other, SignsFrom: now.Add(10 * day), Overlap: day}, spkey.Keep, now.Add(day)},
		"the overlap was taken away":    {spkey.State{Current: old, Next: other, SignsFrom: now.Add(10 * day)}, spkey.Promote, never},
		"referred, the same":            {spkey.State{Current: old, Wanted: old}, spkey.Keep, never},
		"referred, a new certificate":   {spkey.State{Current: old, Wanted: &renewed}, spkey.Adopt, never},
		"referred, another key":         {spkey.State{Current: old, Wanted: other}, spkey.Publish, never},
		"referred, amid the overlap":    {spkey.State{Current: old, Wanted: other, Next: other, SignsFrom: now.Add(day), Overlap: 14 * day}, spkey.Keep, now.Add(day)},
		"referred, overlap over":        {spkey.State{Current: old, Wanted: other, Next: other, SignsFrom: now, Overlap: 14 * day}, spkey.Promote, never},
		"referred, taken back":          {spkey.State{Current: old, Wanted: old, Next: other, SignsFrom: now.Add(day), Overlap: 14 * day}, spkey.Adopt, never},
		"referred, requests are others": {spkey.State{Current: old, Wanted: old, Requested: true, Interval: day}, spkey.Keep, never},
	} {
		action, again := spkey.Decide(test.state, now)
		if action != test.action || !again.Equal(test.again) {
			t.Errorf("%s: action %d, again at %s; want %d, %s", name, action, again, test.action, test.again)
		}
	}
	expiring := spkey.State{Current: old, Overlap: 14 * day}
	if action, _ := spkey.Decide(expiring, old.NotAfter.Add(-44*day)); action != spkey.Publish {
		t.Error("a certificate near its end gets no successor")
	}
}
