#!/usr/bin/env bash
# go test with its output made short: hack/test.sh -race ./event/...
set -euo pipefail
cd "$(dirname "$0")/.."
hack/go test -json "$@" | hack/go run ./hack/testlog
