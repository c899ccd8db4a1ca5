#!/usr/bin/env bash
# Runs every fuzz target of the tree for the given time, one on each processor;
# called by `make fuzz`. A finding is left in testdata/fuzz beside its test, and
# is to be committed there together with the fix.
set -uo pipefail
cd "$(dirname "$0")/.."

fuzz() {
	local time=$1 package=$2 target=$3 log status=0
	log=$(mktemp)
	if go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" -fuzzminimizetime=1s -parallel=1 "$package" >"$log" 2>&1; then
		echo "Fuzzed $package $target: $(grep -E 'execs:' "$log" | tail -1)"
	elif grep -q '^ *context deadline exceeded$' "$log" && ! grep -qE 'Failing input|panic|hung or terminated' "$log"; then
		# On a busy machine go test takes its own time limit for an error when
		# a worker is in the middle of an input at that moment.
		echo "Fuzzed $package $target: ended at its time limit, without a finding"
	else
		status=1
		echo "Fuzzed $package $target:" && cat "$log"
	fi
	rm -f "$log"
	return "$status"
}
export -f fuzz

git grep -E '^func Fuzz' -- '*_test.go' |
	sed -E 's#^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*#./\1 \2#' |
	xargs -P "$(nproc)" -L 1 bash -c 'fuzz "$@"' fuzz "$1"
