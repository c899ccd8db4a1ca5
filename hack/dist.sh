#!/usr/bin/env bash
# Writes what a release consists of beside its images: install.yaml, which is
# config/default with the images of that version, and the Helm chart. They are
# made for each release and not kept in the repository, since only then it is
# known where the images are. Called by `make dist`.
#   [IMAGE_PREFIX=registry.example.com/sso/] [KUBECTL=kubectl] hack/dist.sh VERSION [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: hack/dist.sh VERSION [FOLDER]}
out=${2:-dist}
prefix=${IMAGE_PREFIX:-}

# A chart has a semantic version, with or without a v.
chart=${version#v}
[[ $chart =~ ^[0-9]+\.[0-9]+\.[0-9]+ ]] || chart=0.0.0-$chart

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/chart"

# kustomize takes resources by relative paths only.
cp -r config "$work/config"
mkdir "$work/release"
cat >"$work/release/kustomization.yaml" <<EOF
resources:
- ../config/default
images:
- {name: saml-operator, newName: ${prefix}saml-operator, newTag: "$version"}
- {name: saml-gateway, newName: ${prefix}saml-gateway, newTag: "$version"}
EOF
"${KUBECTL:-kubectl}" kustomize "$work/release" >"$out/install.yaml"

cp -r charts/saml-operator "$work/chart/"
sed -i "s|^version: .*|version: $chart|; s|^appVersion: .*|appVersion: \"$version\"|" "$work/chart/saml-operator/Chart.yaml"
sed -i "s|repository: saml-|repository: ${prefix}saml-|" "$work/chart/saml-operator/values.yaml"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$work/chart" -c saml-operator | gzip -n >"$out/saml-operator-$chart.tgz"

echo "Wrote $out/install.yaml and $out/saml-operator-$chart.tgz"
