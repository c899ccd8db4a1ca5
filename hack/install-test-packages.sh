#!/usr/bin/env bash
# Installs what the tests need beside Go, on Debian by apt: SimpleSAMLphp as a
# real identity provider and for the schemas of SAML, PHP to run it, xmllint for
# those schemas, xmlsec1 as an independent judge of signatures, Prometheus for
# its promtool, PostgreSQL, nginx, Caddy and Apache, Chromium, npm for axe-core,
# which judges what Chromium shows, and a C compiler for the race detector.
# Elsewhere it says what is missing. It does nothing when all of it is there.
# SIMPLESAMLPHP_DIR names a SimpleSAMLphp 1.19 that is installed by other means.
set -euo pipefail

# axe installs axe-core as its lock file has it.
axe() {
	local dir
	dir=$(dirname "${BASH_SOURCE[0]}")/axe
	if [[ $dir/node_modules/.package-lock.json -nt $dir/package-lock.json ]]; then
		return
	fi
	npm ci --prefix "$dir" --ignore-scripts --no-audit --no-fund --loglevel=error
}

packages=(php-cli php-xml libxml2-utils xmlsec1 gcc libc6-dev prometheus postgresql nginx-light caddy apache2-bin chromium)
[[ -n ${SIMPLESAMLPHP_DIR:-} ]] || packages+=(simplesamlphp)
# Node.js from elsewhere has an npm of its own.
command -v npm >/dev/null || packages+=(npm)

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	missing=()
	for program in php xmllint xmlsec1 promtool initdb nginx caddy apache2 gcc chromium npm; do
		command -v "$program" >/dev/null || missing+=("$program")
	done
	[[ -d ${SIMPLESAMLPHP_DIR:-/usr/share/simplesamlphp} ]] || missing+=("SimpleSAMLphp 1.19, in the directory that SIMPLESAMLPHP_DIR names")
	if ((${#missing[@]} == 0)); then
		axe
		exit 0
	fi
	printf 'This is not a Debian system, so install by hand what the tests need here:\n' >&2
	printf '  %s\n' "${missing[@]}" >&2
	exit 1
fi

missing=()
for package in "${packages[@]}"; do
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
	axe
	exit 0
fi

sudo=()
if ((EUID != 0)); then
	command -v sudo >/dev/null || {
		echo "The tests need packages; as root, run: apt-get install ${missing[*]}" >&2
		exit 1
	}
	sudo=(sudo)
fi

echo "Installing the packages that the tests need: ${missing[*]}"
start=$SECONDS
log=$(mktemp)
# Neither Prometheus nor a web server must start on this machine: the tests run
# PHP's own and the proxies on loopback ports.
policy=/usr/sbin/policy-rc.d
cleanup=(rm -f "$log")
if [[ ! -e $policy ]]; then
	printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
	"${sudo[@]}" chmod +x "$policy"
	cleanup=("${sudo[@]}" rm -f "$policy" "$log")
fi
trap '"${cleanup[@]}"' EXIT
# PostgreSQL must not make a database of its own: the tests make theirs.
clusters=/etc/postgresql-common/createcluster.conf
if [[ ! -e $clusters ]]; then
	"${sudo[@]}" mkdir -p "${clusters%/*}"
	echo 'create_main_cluster = false' | "${sudo[@]}" tee "$clusters" >/dev/null
fi
apt() { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >>"$log" 2>&1; }
if ! { apt update && apt install --no-install-recommends "${missing[@]}"; }; then
	cat "$log" >&2
	echo "The packages could not be installed: ${missing[*]}" >&2
	exit 1
fi
echo "Installed in $((SECONDS - start)) s"
axe
