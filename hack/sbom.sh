#!/usr/bin/env bash
# Writes the software bill of materials of a program, as CycloneDX: hack/sbom.sh PROGRAM VERSION FILE. It fails if that
# does not list the modules that the program itself does. The generator is built once into the cache.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1 release=$2 out=$3

version=v1.10.0
tools=${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}/cyclonedx-gomod-$version
if [ ! -x "$tools/cyclonedx-gomod" ]; then
	echo "sbom: building cyclonedx-gomod $version, once" >&2
	root=$PWD
	# Each file contains the generator's own hash: without cgo and paths it is the same everywhere.
	package=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
	(cd / && CGO_ENABLED=0 GOFLAGS=-trimpath GOBIN="$tools" "$root/hack/go" install "$package@$version")
fi
PATH="$(hack/install-go.sh):$PATH"
"$tools/cyclonedx-gomod" bin -json -noserial -notimestamp -version "$release" -output "$out" "$program" 2>/dev/null ||
	{ echo "sbom: cyclonedx-gomod failed for $program" >&2; exit 1; }
diff <(go version -m "$program" | awk '$1 == "dep" { print $2 "@" $3 }' | sort) \
	<(jq -r '.components[] | .name + "@" + .version' "$out" | sort) >&2 ||
	{ echo "sbom: $out does not list the modules of $program" >&2; exit 1; }
