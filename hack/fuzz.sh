#!/usr/bin/env bash
# Runs every fuzz target in the module for the time given, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
# Inputs that add coverage are minimized for a minute each by default, which leaves slow targets no time to find any.
grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | while read -r file; do
	sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$file" | while read -r target; do
		echo "== $target in $(dirname "$file") for $time"
		hack/go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$(dirname "$file")" </dev/null
	done
done
