#!/usr/bin/env bash
# Checks the tree's Go code; called by `make lint`, which builds the tools.
# All checks run; the status is that of the worst.
set -uo pipefail
cd "$(dirname "$0")/.."
status=0

# report NAME OUTPUT fails the run and shows the output.
report() {
	status=1
	printf '%s:\n%s\n' "$1" "$2"
}

unformatted=$(git ls-files -co --exclude-standard -- '*.go' | xargs -r gofmt -l)
[[ -z $unformatted ]] || report "not formatted by gofmt" "$unformatted"

for module in . test/chart; do
	out=$(cd "$module" && GOWORK=off go vet -tags=node ./... 2>&1) || report "go vet in $module" "$out"
	out=$(cd "$module" && GOWORK=off "$OLDPWD/bin/tools/golangci-lint" run ./... 2>&1) || report "golangci-lint in $module" "$out"
done

# Exit status 3 means vulnerabilities; anything else that is not 0 means that
# the check could not be made, mostly for want of the database.
out=$(bin/tools/govulncheck ./... 2>&1)
case $? in
0) ;;
3) report "govulncheck" "$out" ;;
*)
	if grep -q 'fetching vulnerabilities' <<<"$out"; then
		echo "govulncheck: NOT CHECKED, the vulnerability database cannot be reached (GOVULNDB names another)"
	else
		report "govulncheck" "$out"
	fi
	;;
esac

((status)) || echo "lint: clean"
exit "$status"
