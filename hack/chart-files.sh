#!/usr/bin/env bash
# Copies into the Helm chart what it has in common with config/, whose templates
# read these files as they are: called by `make manifests`. Deployments, Service,
# claim and routes depend on values and are templates of the chart; test/chart
# holds all of it to what kustomize makes of config/.
set -euo pipefail
cd "$(dirname "$0")/.."

files=charts/saml-operator/files
rm -rf "$files"
mkdir -p "$files"/{crd,rbac,manager,network-policy,prometheus,grafana}
cp config/crd/bases/*.yaml "$files/crd/"
cp config/manager/*_service.yaml "$files/manager/"
cp config/grafana/*.json "$files/grafana/"
for folder in rbac network-policy prometheus; do
	for file in "config/$folder"/*.yaml; do
		[[ ${file##*/} == kustomization.yaml ]] || cp "$file" "$files/$folder/"
	done
done
