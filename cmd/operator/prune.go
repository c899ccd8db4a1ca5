package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"

	"cequence.cloud/saml-operator/api/v1alpha1"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// tenantFiles are all that a tenant's directory holds. The configuration is
// first: without it a gateway serves the tenant no more, and so never meets a
// directory that is half gone.
var tenantFiles = []string{
	tenantconfig.FileConfig, tenantconfig.FileIDPMetadata, tenantconfig.FileIDPSigning,
	tenantconfig.FileSPMetadata, tenantconfig.FileKey, tenantconfig.FileCertificate,
	tenantconfig.FileNextKey, tenantconfig.FileNextCertificate,
}

// sweep deals with the tenants in out that are not among named: it warns of
// them, or deletes them.
func sweep(out string, named []*v1alpha1.SAMLTenant, prune bool, stdout, stderr io.Writer) error {
	entries, err := os.ReadDir(out)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for tenants without a manifest: %w", err)
	}
	var wrong []error
	for _, e := range entries {
		name, directory := e.Name(), filepath.Join(out, e.Name())
		if slices.ContainsFunc(named, func(t *v1alpha1.SAMLTenant) bool { return t.Name == name }) || !served(out, name) {
			continue
		}
		if !prune {
			fmt.Fprintf(stderr, "operator: warning: no manifest names the tenant in %s, whose users a gateway on %s goes on signing in; delete the directory, or use --prune\n", directory, out)
			continue
		}
		if err := remove(directory, name); err != nil {
			wrong = append(wrong, fmt.Errorf("prune %s: %w", directory, err))
			continue
		}
		fmt.Fprintf(stdout, "SAMLTenant/%s pruned\n", name)
	}
	return errors.Join(wrong...)
}

// served tells whether a gateway takes out/name for a tenant.
func served(out, name string) bool {
	_, err := os.Stat(filepath.Join(out, name, tenantconfig.FileConfig))
	return err == nil && len(validation.IsDNS1123Subdomain(name)) == 0
}

// remove deletes the directory of a tenant if it holds what render wrote and
// nothing else.
func remove(directory, tenant string) error {
	if info, err := os.Lstat(directory); err != nil || !info.IsDir() {
		return errors.Join(errors.New("it is no directory; delete it yourself"), err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(tenantFiles, e.Name()) || !e.Type().IsRegular() {
			return fmt.Errorf("it holds %s, which render did not write; look at it and delete the directory yourself", e.Name())
		}
	}
	content, err := os.ReadFile(filepath.Join(directory, tenantconfig.FileConfig)) //nolint:gosec // below the directory that the user names
	if err != nil {
		return err
	}
	config, err := tenantconfig.Decode(content)
	if err == nil && config.Tenant != tenant {
		err = fmt.Errorf("it is of the tenant %q", config.Tenant)
	}
	if err != nil {
		return fmt.Errorf("%s is not what render wrote here: %w; look at it and delete the directory yourself", tenantconfig.FileConfig, err)
	}
	for _, name := range tenantFiles {
		if err := os.Remove(filepath.Join(directory, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Remove(directory)
}
