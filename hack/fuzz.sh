#!/usr/bin/env bash
# Runs every fuzz target of the tree for the given time; called by `make fuzz`.
# A finding is left in testdata/fuzz beside its test, and is to be committed
# there together with the fix.
set -uo pipefail
cd "$(dirname "$0")/.."
time=$1
status=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

while IFS=: read -r file target; do
	package=./$(dirname "$file")
	echo "Fuzzing $package $target for $time"
	if go test -run='^$' -fuzz="^$target\$" -fuzztime="$time" -fuzzminimizetime=1s "$package" >"$log" 2>&1; then
		grep -E 'execs:' "$log" | tail -1
	elif grep -q '^ *context deadline exceeded$' "$log" && ! grep -qE 'Failing input|panic|hung or terminated' "$log"; then
		# On a busy machine go test takes its own time limit for an error when
		# a worker is in the middle of an input at that moment.
		echo "ended at its time limit, without a finding"
	else
		status=1
		cat "$log"
	fi
done < <(git grep -E '^func Fuzz' -- '*_test.go' | sed -E 's/^([^:]*):func (Fuzz[A-Za-z0-9_]*).*/\1:\2/')
exit "$status"
