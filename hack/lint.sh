#!/usr/bin/env bash
# Lints the module with a golangci-lint of one version, which is built once into the cache, checks words and line
# widths, and type-checks the plugin for the systems that no test runs on.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v2.15.0
tools=${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}/golangci-lint-$version
if [ ! -x "$tools/golangci-lint" ]; then
	echo "lint: building golangci-lint $version, once" >&2
	root=$PWD
	# Outside the module: its dependencies are none of ours.
	package=github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	(cd / && GOFLAGS='' GOBIN="$tools" "$root/hack/go" install "$package@$version")
fi
# With the flag of hack/go, it finds the packages that tests have compiled. The module is linted as Linux compiles it,
# on any system.
export GOFLAGS=-trimpath
GOOS=linux PATH="$(hack/install-go.sh):$PATH" "$tools/golangci-lint" run --timeout 0 --allow-parallel-runners ./...
hack/go run ./hack/words
hack/go run ./hack/typecheck -os darwin/arm64,windows/amd64 ./cmd/kubectl-orb8
