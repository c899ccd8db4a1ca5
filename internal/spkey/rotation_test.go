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
	old, other, third := pair(t, now.Add(-100*day)), pair(t, now), pair(t, now)
	renewed := *old
	renewed.Raw = append([]byte{}, other.Raw...) // another certificate of the same key
	var never time.Time
	for name, test := range map[string]struct {
		state  spkey.State
		action spkey.Action
		again  time.Time
	}{
		"nothing yet":                   {spkey.State{}, spkey.Adopt, never},
		"nothing yet, referred":         {spkey.State{Theirs: true, Wanted: other}, spkey.Adopt, never},
		"young enough":                  {spkey.State{Current: old, Overlap: 14 * day}, spkey.Keep, old.NotAfter.Add(-44 * day)},
		"younger than its interval":     {spkey.State{Current: old, Interval: 365 * day}, spkey.Keep, old.NotBefore.Add(365 * day)},
		"as old as its interval":        {spkey.State{Current: old, Interval: 90 * day}, spkey.Publish, never},
		"requested":                     {spkey.State{Current: old, Requested: true}, spkey.Publish, never},
		"not published yet":             {spkey.State{Current: old, Next: other}, spkey.Keep, never},
		"amid the overlap":              {spkey.State{Current: old, Next: other, Published: now.Add(-13 * day), Overlap: 14 * day}, spkey.Keep, now.Add(day)},
		"amid the overlap, requested":   {spkey.State{Current: old, Next: other, Published: now.Add(-13 * day), Overlap: 14 * day, Requested: true}, spkey.Keep, now.Add(day)},
		"the overlap is over":           {spkey.State{Current: old, Next: other, Published: now.Add(-14 * day), Overlap: 14 * day}, spkey.Promote, never},
		"overlap over, not on record":   {spkey.State{Current: old, Next: other, Published: now.Add(-14 * day), Overlap: 14 * day, Requested: true}, spkey.Keep, now},
		"the overlap was made shorter":  {spkey.State{Current: old, Next: other, Published: now.Add(-3 * day), Overlap: 4 * day}, spkey.Keep, now.Add(day)},
		"the overlap was taken away":    {spkey.State{Current: old, Next: other, Published: now}, spkey.Promote, never},
		"referred, the same":            {spkey.State{Theirs: true, Current: old, Wanted: old}, spkey.Keep, never},
		"referred, a new certificate":   {spkey.State{Theirs: true, Current: old, Wanted: &renewed}, spkey.Adopt, never},
		"referred, another key":         {spkey.State{Theirs: true, Current: old, Wanted: other}, spkey.Publish, never},
		"referred, amid the overlap":    {spkey.State{Theirs: true, Current: old, Wanted: other, Next: other, Published: now.Add(-13 * day), Overlap: 14 * day}, spkey.Keep, now.Add(day)},
		"referred, overlap over":        {spkey.State{Theirs: true, Current: old, Wanted: other, Next: other, Published: now.Add(-14 * day), Overlap: 14 * day}, spkey.Promote, never},
		"referred, taken back":          {spkey.State{Theirs: true, Current: old, Wanted: old, Next: other, Published: now, Overlap: 14 * day}, spkey.Adopt, never},
		"referred, replaced meanwhile":  {spkey.State{Theirs: true, Current: old, Wanted: third, Next: other, Published: now.Add(-14 * day), Overlap: 14 * day}, spkey.Publish, never},
		"referred, requests are others": {spkey.State{Theirs: true, Current: old, Wanted: old, Requested: true, Interval: day}, spkey.Keep, never},
		"referred, gone, old":           {spkey.State{Theirs: true, Current: old, Requested: true, Interval: day}, spkey.Keep, never},
		"referred, gone, overlap over":  {spkey.State{Theirs: true, Current: old, Next: other, Published: now.Add(-14 * day), Overlap: 14 * day}, spkey.Promote, never},
		"referred no longer":            {spkey.State{Current: old, Disowned: true}, spkey.Publish, never},
		"referred no longer, overlap":   {spkey.State{Current: old, Next: other, Published: now.Add(-14 * day), Overlap: 14 * day, Disowned: true}, spkey.Publish, never},
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
