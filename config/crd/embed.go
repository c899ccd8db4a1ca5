// Package crd holds the CustomResourceDefinition, so that manifests can be
// checked without an API server by the very rules that it enforces.
package crd

import _ "embed"

// SAMLTenant is the CustomResourceDefinition in YAML.
//
//go:embed bases/sso.cequence.cloud_samltenants.yaml
var SAMLTenant []byte
