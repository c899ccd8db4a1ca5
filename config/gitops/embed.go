// Package gitops holds what is given to Argo CD and Flux, so that tests run
// the very same.
package gitops

import _ "embed"

// HealthLua is how Argo CD judges a SAMLTenant.
//
//go:embed argocd/health.lua
var HealthLua string

// Applications are of Argo CD, in YAML.
//
//go:embed argocd/applications.yaml
var Applications []byte

// Kustomizations are of Flux, in YAML.
//
//go:embed flux/kustomizations.yaml
var Kustomizations []byte
