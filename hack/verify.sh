#!/usr/bin/env bash
# Regenerates everything that is generated and fails when the working tree then
# differs from what is committed; lints afterwards. Called by `make verify`.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0

echo "Regenerating"
make generate manifests
git ls-files -- '*.go' | xargs -r gofmt -w
for module in . hack/coredns hack/kubernetes hack/tools test/chart; do
	GOWORK=off go -C "$module" mod tidy
done

dirty=$(git status --porcelain)
if [[ -n $dirty ]]; then
	status=1
	echo "These files differ from what is committed; commit them if the change is meant:"
	echo "$dirty"
	git --no-pager diff --stat
fi

make lint || status=1
exit "$status"
