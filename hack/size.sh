#!/usr/bin/env bash
# Checks the size of the plugin that `make build` has built, for linux/amd64, and names the modules that grew. It links
# the plugin once more, with symbols. `hack/size.sh -update` keeps the sizes of now in hack/size/modules.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

program=bin/kubectl-orb8
[ -x "$program" ] || { echo "size: no $program: run make build first" >&2; exit 1; }
if [ "$(hack/go env GOHOSTARCH)" != amd64 ]; then
	echo "size: the limits are those of linux/amd64" >&2
	exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# With the flags of make build, except -s and -w.
CGO_ENABLED=0 hack/go build -trimpath -buildvcs=false -tags grpcnotrace -ldflags -dumpdep -o "$work/symbols" \
	./cmd/kubectl-orb8 2>"$work/deps"
hack/go run ./hack/size "$@" "$program" "$work/symbols" "$work/deps"
