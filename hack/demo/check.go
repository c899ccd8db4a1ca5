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
// application was told, and goes through a change of the signing key.
func (d *demo) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, p := range d.providers {
		if err := d.checkSignIn(ctx, p, "first sign-in"); err != nil {
			return fmt.Errorf("check %s: %w", p.tenant, err)
		}
	}
	p := d.providers[0]
	fmt.Printf("\nThe identity provider of %s replaces its signing key\n", p.tenant)
	if err := p.RotateAbruptly(); err != nil {
		return err
	}
	if err := d.refresh(ctx, p.tenant); err != nil {
		return fmt.Errorf("check %s: %w", p.tenant, err)
	}
	if err := d.checkSignIn(ctx, p, "sign-in with the new key"); err != nil {
		return fmt.Errorf("check %s: %w", p.tenant, err)
	}
	fmt.Println("\nCHECK PASSED: the application saw the right users, tenants and groups.")
	return nil
}

func (d *demo) checkSignIn(ctx context.Context, p provider, what string) error {
	fmt.Printf("\n%s: %s as %s\n", p.tenant, what, p.user.Name)
	pool, err := d.trust()
	if err != nil {
		return err
	}
	browser := testbrowser.New(testbrowser.Options{RootCAs: pool, OnStep: func(s testbrowser.Step) { fmt.Println("  " + s.String()) }})
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

// refresh asks the operator for a fetch, and waits until the gateway has what
// was fetched: the sign-in after it must work at the first try.
func (d *demo) refresh(ctx context.Context, tenant string) error {
	at := time.Now().UTC().Format(time.RFC3339Nano)
	if _, err := d.kubectl(ctx, "annotate", "--overwrite", "samltenant", tenant, "sso.cequence.cloud/reconcile-requested-at="+at); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "wait", "samltenant", tenant, "--for=jsonpath={.status.lastHandledReconcileAt}="+at, "--timeout=30s"); err != nil {
		return err
	}
	hash, err := d.kubectl(ctx, "get", "samltenant", tenant, "--output=jsonpath={.status.configHash}")
	if err != nil {
		return err
	}
	if err := d.served(ctx, tenant, hash); err != nil {
		return err
	}
	events, err := d.kubectl(ctx, "get", "events", "--field-selector=involvedObject.name="+tenant+",reason=MetadataChanged", "--output=jsonpath={.items[*].message}")
	if err != nil {
		return err
	}
	fmt.Println("  operator: " + events)
	return nil
}

// served waits until the gateway serves the tenant's configuration of that
// hash.
func (d *demo) served(ctx context.Context, tenant, hash string) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.internal+"/tenants", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		var list []struct{ Tenant, ConfigHash string }
		err = json.NewDecoder(response.Body).Decode(&list)
		_ = response.Body.Close()
		if err != nil {
			return fmt.Errorf("list the gateway's tenants: %w", err)
		}
		for _, t := range list {
			if t.Tenant == tenant && t.ConfigHash == hash {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the gateway does not serve the configuration %s of %s: %w", hash, tenant, ctx.Err())
		case <-ticker.C:
		}
	}
}
