#!/usr/bin/env bash
# Proves that the images depend on the commit alone: builds those of HEAD twice,
# in directories of different depth, the second time without a build cache, and
# compares the archives byte by byte. Takes minutes. Called by `make image-verify`.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# The time of the commit, and no other, is that of everything in the image.
unset SOURCE_DATE_EPOCH

build() { # REPOSITORY DIRECTORY
	git clone -q "$1" "$scratch/$2"
	make -C "$scratch/$2" image
}

build . first
mkdir "$scratch/cache"
GOCACHE=$scratch/cache build "$scratch/first" second/and/deeper
status=0
for file in "$scratch"/first/out/images/*; do
	cmp "$file" "$scratch/second/and/deeper/out/images/${file##*/}" || status=1
done
((status)) || echo "image-verify: both builds are the same, byte by byte"
exit "$status"
