#!/usr/bin/env bash
# go test with its output made short: hack/test.sh -race ./event/...
#
# With --again first, a few tests that fail are run once more, alone, for what is timed against other processes of a busy machine may
# be late; both runs are shown, and the last line names what passed only then. One that fails again fails all.
set -euo pipefail
cd "$(dirname "$0")/.."
again=
if [ "${1-}" = --again ]; then
	again=yes
	shift
fi
failed=$(mktemp)
trap 'rm -f "$failed"' EXIT
if hack/go test -json "$@" | hack/go run ./hack/testlog -failed "$failed"; then
	exit
fi
[ "$again" ] && [ -s "$failed" ] || exit 1

flags=()
for arg; do
	[[ $arg == ./* ]] || flags+=("$arg")
done
names=
while read -r package tests; do
	printf '\n== run again: %s of %s\n' "$tests" "$package"
	hack/go test -json "${flags[@]}" -run "$tests" "$package" </dev/null | hack/go run ./hack/testlog
	names+=" $package $tests"
done <"$failed"
printf 'failed at first and passed when run again:%s\n' "$names"
