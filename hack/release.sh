#!/usr/bin/env bash
# Builds the files of a release into dist/release: hack/release.sh VERSION. It publishes nothing.
#
# The images come first, since the plugin names them by their digests. Two builds of one commit with one compiler are
# the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?version, as v1.2.3}
make=${MAKE:-make}

out=dist/release
rm -rf "$out"
mkdir -p "$out"
pack() { hack/go run ./hack/release "$@"; }

for arch in amd64 arm64; do
	"$make" agent GOARCH="$arch" VERSION="$version"
done
# image NAME ROOT ENTRYPOINT writes the images of both platforms and prints their digest.
image() {
	pack image -ref "ghcr.io/orb8-dev/$1:$version" -o "$out/$1_images.tar" \
		"amd64=bin/linux-amd64/$2/$3" "arm64=bin/linux-arm64/$2/$3"
}
tracer=$(image orb8-tracer root orb8-tracer)
agent=$(image orb8 agent-root orb8-agent)

binaries=()
for platform in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do
	dir=dist/build/${platform/\//-}
	"$make" build GOOS="${platform%/*}" GOARCH="${platform#*/}" BIN="$dir" VERSION="$version" \
		TRACER_DIGEST="$tracer" IMAGE_DIGEST="$agent"
	binary=$dir/kubectl-orb8
	case $platform in windows/*) binary=$binary.exe ;; esac
	binaries+=("$platform=$binary")
	hack/sbom.sh "$binary" "$version" "$out/kubectl-orb8_${platform/\//_}.cdx.json"
done
for arch in amd64 arm64; do
	for program in orb8-tracer orb8-agent orb8-server orb8-nvml; do
		hack/sbom.sh "bin/linux-$arch/$program" "$version" "$out/${program}_linux_$arch.cdx.json"
	done
done
# The date is that of the commit: two builds have the same pages.
man=dist/build/man
rm -rf "$man"
hack/go run ./hack/manpages -version "$version" -date "$(git log -1 --format=%cs)" -o "$man"
pack archives -o "$out" -man "$man" "${binaries[@]}"
pack krew -version "$version" -template krew/orb8.yaml.tmpl -o "$out/orb8.yaml" "$out"
pack checksums "$out"
cat "$out/checksums.txt"
