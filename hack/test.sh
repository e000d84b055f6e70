#!/usr/bin/env bash
# Runs go test and shortens its output: hack/test.sh -race ./event/...
#
# With --rerun as the first argument, a few tests that fail run once more, alone: a test with deadlines can be late on a
# busy machine. Both runs are printed, and the last lines name the tests that passed only in the second run. A test that
# fails twice fails the command. So does a test that needed the rerun the last time too: it is flaky. The names of the
# rerun tests are kept in the cache, in a file for each set of arguments, and appended to the file $ORB8_RERUNS.
set -euo pipefail
cd "$(dirname "$0")/.."
rerun=
if [ "${1-}" = --rerun ]; then
	rerun=yes
	shift
fi
failed=$(mktemp)
trap 'rm -f "$failed"' EXIT
if [ "$rerun" ]; then
	kept=${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}/reruns
	mkdir -p "$kept"
	kept+=/$(printf '%s\n' "$@" | sha256sum | cut -c 1-16)
	before=$(cat "$kept" 2>/dev/null || true)
	: >"$kept"
fi
if hack/go test -json "$@" | hack/go run ./hack/testlog -failed "$failed"; then
	exit
fi
[ "$rerun" ] && [ -s "$failed" ] || exit 1

flags=()
for arg; do
	[[ $arg == ./* ]] || flags+=("$arg")
done
while read -r package tests; do
	printf '\n== run again: %s of %s\n' "$tests" "$package"
	hack/go test -json "${flags[@]}" -count=1 -run "$tests" "$package" </dev/null | hack/go run ./hack/testlog
	tests=${tests#^(} tests=${tests%)$}
	tr '|' '\n' <<<"$tests" | sed "s|^|$package |" >>"$kept"
done <"$failed"
printf '\nfailed at first and passed when run again:\n'
cat "$kept"
[ -z "${ORB8_RERUNS-}" ] || cat "$kept" >>"$ORB8_RERUNS"
if twice=$(grep -Fx -f <(printf '%s\n' "$before") "$kept") && [ "$before" ]; then
	printf '\nneeded the second run the last time, too; look into:\n%s\n' "$twice" >&2
	exit 1
fi
