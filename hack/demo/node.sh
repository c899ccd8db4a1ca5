#!/usr/bin/env bash
# Runs the demo in a Kubernetes node; called by `make demo CLUSTER=node`, which
# has built everything. A node that was up stays up, and one that was not goes
# again at the end. The arguments are the demo's.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! bin/node status >/dev/null 2>&1; then
	# Ctrl-C is for the demo, after which its node goes.
	trap : INT
	trap 'bin/node down' EXIT
fi
bin/node up -images out/images
# The gateway's port and those of the two identity providers.
bin/node exec -publish 30443,30444,30445 bin/demo -node "$@"
