#!/usr/bin/env bash
# Measures what it costs to verify a Response as Entra ID sends it, beside what
# crewjam/saml takes for the same and what nobody can do without; called by
# `make bench-saml`. Of several runs the quickest counts: others stand for what
# else the machine was doing.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p out
go test -run='^$' -bench='^Benchmark(Verify|Crewjam|Floor)$' -benchmem -benchtime=500ms -count=6 ./internal/gateway/sp | awk '
	function ratio(a, b) { return sprintf("%.1f", a / b) }
	/^Benchmark/ {
		name = $1; sub(/^Benchmark/, "", name); sub(/-[0-9]+$/, "", name)
		delete value
		for (i = 3; i < NF; i += 2) value[$(i + 1)] = $i
		if (!(name in ns) || value["ns/op"] + 0 < ns[name]) {
			ns[name] = value["ns/op"] + 0; bytes[name] = value["B/op"]; allocs[name] = value["allocs/op"]
			size = value["MB/s"] * ns[name] / 1000
		}
	}
	END {
		if (!("Verify" in ns && "Crewjam" in ns && "Floor" in ns)) { print "the benchmarks failed" > "/dev/stderr"; exit 1 }
		printf "A Response of %.1f kB, RSA-2048 and SHA-256, two trusted keys:\n", size / 1000
		printf "%-28s %10s ns %10s B %8s allocations\n", "verified by the gateway", ns["Verify"], bytes["Verify"], allocs["Verify"]
		printf "%-28s %10s ns %10s B %8s allocations, %s times as long\n", "verified by crewjam/saml", ns["Crewjam"], bytes["Crewjam"], allocs["Crewjam"], ratio(ns["Crewjam"], ns["Verify"])
		printf "%-28s %10s ns: the gateway takes %s times the floor\n", "one RSA and one SHA-256", ns["Floor"], ratio(ns["Verify"], ns["Floor"])
		printf "{\"ns\": %d, \"bytes\": %d, \"allocs\": %d, \"crewjam_ns\": %d, \"floor_ns\": %d}\n", ns["Verify"], bytes["Verify"], allocs["Verify"], ns["Crewjam"], ns["Floor"] > "out/bench-saml.json"
	}'
