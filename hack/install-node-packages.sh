#!/usr/bin/env bash
# Installs what a node needs beside the Kubernetes binaries, on Debian by apt:
# containerd and runc, which run containers, the network plugins, nftables for
# kube-proxy, and iproute2. Elsewhere it says what is missing. It does nothing
# when all of it is there. `node up` says whether the machine has the rest.
set -euo pipefail

packages=(containerd containernetworking-plugins iproute2 nftables runc)

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	missing=()
	for program in containerd ctr ip nft runc; do
		command -v "$program" >/dev/null || missing+=("$program")
	done
	[[ -x /usr/lib/cni/ptp || -x /opt/cni/bin/ptp ]] || missing+=("the network plugins, in /opt/cni/bin")
	((${#missing[@]})) || exit 0
	printf 'This is not a Debian system, so install by hand what the node needs here:\n' >&2
	printf '  %s\n' "${missing[@]}" >&2
	exit 1
fi

missing=()
for package in "${packages[@]}"; do
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
	echo "The node needs packages; as root, run: apt-get install ${missing[*]}" >&2
	exit 1
fi

echo "Installing the packages that the node needs: ${missing[*]}"
start=$SECONDS
log=$(mktemp)
# No containerd must start on this machine: the node has its own.
policy=/usr/sbin/policy-rc.d
cleanup=(rm -f "$log")
if [[ ! -e $policy ]]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
	cleanup+=("$policy")
fi
trap '"${cleanup[@]}"' EXIT
apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >>"$log" 2>&1; }
if ! { apt update && apt install --no-install-recommends "${missing[@]}"; }; then
	cat "$log" >&2
	echo "The packages could not be installed: ${missing[*]}" >&2
	exit 1
fi
echo "Installed in $((SECONDS - start)) s"
