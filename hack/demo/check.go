package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"cequence.cloud/saml-operator/internal/testbrowser"
)

// check plays the person: it signs in to both tenants, looks at what the
// application was told, and signs in right after the signing key was replaced,
// which nobody has announced.
func (d *demo) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, p := range d.providers {
		if err := d.checkSignIn(ctx, p, "first sign-in"); err != nil {
			return fmt.Errorf("check %s: %w", p.tenant, err)
		}
	}
	p := d.providers[0]
	fmt.Printf("\nThe identity provider of %s replaces its signing key without warning\n", p.tenant)
	if err := p.RotateAbruptly(); err != nil {
		return err
	}
	switched := time.Now()
	if err := d.checkSignIn(ctx, p, "first sign-in with the new key"); err != nil {
		return fmt.Errorf("check %s: %w", p.tenant, err)
	}
	fmt.Printf("  ok: accepted %.1f s after the switch, and nobody did anything for that\n", time.Since(switched).Seconds())
	fmt.Println("\nCHECK PASSED: the application saw the right users, tenants and groups.")
	return nil
}

func (d *demo) checkSignIn(ctx context.Context, p provider, what string) error {
	fmt.Printf("\n%s: %s as %s\n", p.tenant, what, p.user.Name)
	pool, err := d.trust()
	if err != nil {
		return err
	}
	browser := testbrowser.New(testbrowser.Options{
		RootCAs: pool, Dial: d.nodeAddresses(), OnStep: func(s testbrowser.Step) { fmt.Println("  " + s.String()) },
	})
	defer browser.CloseIdleConnections()
	origin := "https://" + p.tenant + "." + d.gateway
	const path = "/reports?year=2026"
	if _, err := browser.SignIn(ctx, origin+path, p.user.Name, p.user.Password); err != nil {
		return err
	}
	got := d.app.last()
	if got == nil {
		return fmt.Errorf("the application saw no request")
	}
	groups := p.user.Groups
	for name, values := range p.user.Attributes {
		if strings.HasSuffix(name, "/claims/groups") {
			groups = values
		}
	}
	var session struct {
		Tenant string
		User   struct {
			ID, Email string
			Groups    []string
		}
	}
	page, err := browser.Open(ctx, origin+"/saml/session")
	if err != nil {
		return err
	}
	if page.Status != http.StatusOK {
		return fmt.Errorf("/saml/session answered %d", page.Status)
	}
	if err := json.Unmarshal(page.Body, &session); err != nil {
		return fmt.Errorf("/saml/session: %w", err)
	}
	for _, expectation := range []struct {
		what      string
		got, want any
		ok        bool
	}{
		{"deep link", got.Path, path, got.Path == path},
		{"tenant", got.Tenant, p.tenant, got.Tenant == p.tenant},
		{"e-mail", got.Email, p.user.Email, got.Email == p.user.Email},
		{"groups", got.Groups, groups, slices.Equal(slices.Sorted(slices.Values(got.Groups)), slices.Sorted(slices.Values(groups)))},
		{"user created just in time", session.User.ID, got.User, session.User.ID != "" && session.User.ID == got.User},
	} {
		if !expectation.ok {
			return fmt.Errorf("%s: got %v, want %v", expectation.what, expectation.got, expectation.want)
		}
		fmt.Printf("  ok: %s %v\n", expectation.what, expectation.got)
	}
	return nil
}
