package main

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"cequence.cloud/saml-operator/test/traffic"
)

// good is what was found when all went well, with a sign-in that could not be.
func good() findings {
	now := time.Now()
	return findings{
		Attempts: []traffic.Attempt{
			{Kind: traffic.SignIn, From: now, To: now},
			{Kind: traffic.SignIn, From: now, To: now, Failure: &traffic.Failure{Status: 503, Reason: "POST /saml/acs: 503"}},
			{Kind: traffic.Request, From: now, To: now},
		},
		Outages: []traffic.Outage{{Part: traffic.Database, From: now, To: now}},
		Replays: traffic.Attacks{Tried: 2, Answered: 2}, CrossTenant: traffic.Attacks{Tried: 2, Answered: 1},
		Edits: 3,
	}
}

func TestAccountOfChaos(t *testing.T) {
	assert.Empty(t, draw(good()).Problems)
	for name, spoil := range map[string]func(*findings){
		"a failure that nothing explains": func(f *findings) { f.Outages = nil },
		"a session that was lost": func(f *findings) {
			f.Attempts[1].Kind, f.Attempts[1].Failure = traffic.Request, &traffic.Failure{Lost: true}
		},
		"a replay that was accepted":                func(f *findings) { f.Replays.Accepted = 1 },
		"replays that nobody answered":              func(f *findings) { f.Replays.Answered = 0 },
		"a cross-tenant sign-in that was accepted":  func(f *findings) { f.CrossTenant.Accepted = 1 },
		"cross-tenant sign-ins that were not tried": func(f *findings) { f.CrossTenant = traffic.Attacks{} },
		"an edit that was lost":                     func(f *findings) { f.LostEdits = []string{"acme"} },
		"no convergence":                            func(f *findings) { f.Converged = errors.New("no") },
		"nobody who works":                          func(f *findings) { f.Attempts = f.Attempts[:2] },
	} {
		f := good()
		spoil(&f)
		a := draw(f)
		assert.NotEmpty(t, a.Problems, name)
		assert.Contains(t, a.String(), "FAILED", name)
	}
}

// One seed is one story.
func TestPlanIsReproducible(t *testing.T) {
	first, again, other := plan(7, true), plan(7, true), plan(8, true)
	var differs bool
	for range 50 {
		a, b, c := first(), again(), other()
		assert.Equal(t, a.what, b.what)
		assert.Equal(t, a.pause, b.pause)
		differs = differs || a.what != c.what
	}
	assert.True(t, differs)
}
