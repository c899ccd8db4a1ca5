package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cequence.cloud/saml-operator/test/traffic"
)

// findings are what was collected.
type findings struct {
	Attempts             []traffic.Attempt
	Outages              []traffic.Outage
	Replays, CrossTenant traffic.Attacks
	Edits                int
	LostEdits            []string
	// Converged is nil if all was well in the end.
	Converged error
}

// account is out/chaos.json.
type account struct {
	Seed    uint64  `json:"seed"`
	Seconds float64 `json:"seconds"`
	// Events are what happened, and how often.
	Events map[string]int `json:"events"`
	traffic.Account
	Replays     traffic.Attacks `json:"replays"`
	CrossTenant traffic.Attacks `json:"cross_tenant"`
	Edits       int             `json:"edits"`
	LostEdits   int             `json:"lost_edits"`
	// ConvergedSeconds is from the last event until all was well.
	ConvergedSeconds float64 `json:"converged_seconds"`
	// Problems are empty if nothing was lost, nothing failed that could have
	// worked, and nobody came in without the right.
	Problems []string `json:"problems"`
}

// draw judges the findings.
func draw(f findings) *account {
	a := &account{
		Account: traffic.Judge(f.Attempts, f.Outages), Replays: f.Replays, CrossTenant: f.CrossTenant,
		Edits: f.Edits, LostEdits: len(f.LostEdits), Problems: []string{},
	}
	a.Problems = append(a.Problems, a.Account.Problems()...)
	for _, problem := range []string{f.Replays.Problem("replays"), f.CrossTenant.Problem("cross-tenant attempts")} {
		if problem != "" {
			a.Problems = append(a.Problems, problem)
		}
	}
	for _, lost := range f.LostEdits {
		a.Problems = append(a.Problems, "an edit was lost: "+lost)
	}
	if f.Converged != nil {
		a.Problems = append(a.Problems, "not all is well in the end: "+f.Converged.Error())
	}
	if a.SignIns.Tried == a.SignIns.Failed || a.Requests.Tried == a.Requests.Failed {
		a.Problems = append(a.Problems, "nobody signed in or worked, so that nothing is proved")
	}
	return a
}

// String is for people.
func (a *account) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nChaos for %.0f s, again with -seed=%d\n", a.Seconds, a.Seed)
	for _, what := range slices.Sorted(maps.Keys(a.Events)) {
		fmt.Fprintf(&b, "  %4d × %s\n", a.Events[what], what)
	}
	for _, of := range []struct {
		what string
		traffic.Count
	}{{"sign-ins", a.SignIns}, {"requests", a.Requests}} {
		fmt.Fprintf(&b, "%-22s %s\n", of.what, of.Count)
		for _, why := range slices.Sorted(maps.Keys(of.Expected)) {
			fmt.Fprintf(&b, "  %4d × %s\n", of.Expected[why], why)
		}
		for _, why := range slices.Sorted(maps.Keys(of.Why)) {
			fmt.Fprintf(&b, "  %4d × NOT EXPECTED: %s\n", of.Why[why], why)
		}
	}
	for _, of := range []struct {
		what string
		traffic.Attacks
	}{{"replays", a.Replays}, {"cross-tenant sign-ins", a.CrossTenant}} {
		fmt.Fprintf(&b, "%-22s %d tried, %d answered, %d accepted\n", of.what, of.Tried, of.Answered, of.Accepted)
	}
	fmt.Fprintf(&b, "%-22s %d\n%-22s %d of %d\n", "lost sessions", a.LostSessions, "lost edits", a.LostEdits, a.Edits)
	fmt.Fprintf(&b, "%-22s %.1f s after the last of it\n", "converged", a.ConvergedSeconds)
	if len(a.Problems) > 0 {
		fmt.Fprintf(&b, "FAILED: %s\n", strings.Join(a.Problems, "\n        "))
		return b.String()
	}
	return b.String() + "PASSED: nothing was lost, and nobody came in without the right\n"
}
