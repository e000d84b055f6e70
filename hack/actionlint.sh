#!/bin/sh
# Checks the workflows with an actionlint of one version, which is built once into the cache.
set -eu
cd "$(dirname "$0")/.."

version=v1.7.12
tools=${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}/actionlint-$version
if [ ! -x "$tools/actionlint" ]; then
	echo "actionlint: building $version, once" >&2
	root=$PWD
	(cd / && GOFLAGS='' GOBIN="$tools" "$root/hack/go" install "github.com/rhysd/actionlint/cmd/actionlint@$version")
fi
"$tools/actionlint" -color
