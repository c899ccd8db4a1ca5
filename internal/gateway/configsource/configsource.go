// Package configsource delivers tenants' files to a tenant.Registry: from the
// labelled Secrets of a Kubernetes namespace, or from a directory.
package configsource

import (
	"context"
	"regexp"

	"cequence.cloud/saml-operator/internal/gateway/tenant"
	"cequence.cloud/saml-operator/internal/tenantconfig"
)

// Source keeps a registry up to date.
type Source interface {
	// Run applies all tenants to the registry, first when the initial list is
	// complete, then at each change, until ctx ends. It returns an error only
	// if it cannot begin.
	Run(ctx context.Context, registry *tenant.Registry) error
}

// files that the gateway reads; others in a directory or Secret are not its
// business.
var (
	configFiles = []string{
		tenantconfig.FileConfig, tenantconfig.FileSPMetadata,
		tenantconfig.FileIDPMetadata, tenantconfig.FileIDPSigning,
	}
	keyFiles = []string{tenantconfig.FileKey, tenantconfig.FileCertificate, tenantconfig.FileNextKey, tenantconfig.FileNextCertificate}
)

// A tenant is named as a Kubernetes object is.
var tenantName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

func validName(name string) bool {
	return len(name) <= tenantconfig.MaxTenantName && tenantName.MatchString(name)
}
