#!/bin/sh
# Prints the directory of krew and its validator, of one version, which are built once into the cache.
set -eu
cd "$(dirname "$0")/.."

version=v0.4.3
tools=${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}/krew-$version
if [ ! -x "$tools/krew" ] || [ ! -x "$tools/validate-krew-manifest" ]; then
	echo "krew: building $version, once" >&2
	root=$PWD module=sigs.k8s.io/krew/cmd
	(cd / && CGO_ENABLED=0 GOFLAGS='' GOBIN="$tools" "$root/hack/go" install "$module/krew@$version" \
		"$module/validate-krew-manifest@$version")
fi
echo "$tools"
