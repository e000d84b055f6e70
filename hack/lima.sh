#!/bin/sh
# Validates the template of the virtual machine of `make dev` with Lima's own code.
set -eu
cd "$(dirname "$0")/lima"
CGO_ENABLED=0 GOFLAGS='-mod=readonly' ../go run . orb8.yaml
