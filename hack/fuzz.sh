#!/usr/bin/env bash
# Runs every fuzz target of the module for TIME (20s), one after the other: hack/fuzz.sh [TIME]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
# By default, Go minimizes each input that adds coverage for up to a minute, so a slow target would find nothing.
grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | while read -r file; do
	sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$file" | while read -r target; do
		echo "== $target in $(dirname "$file") for $time"
		hack/go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x \
			"$(dirname "$file")" </dev/null
	done
done
