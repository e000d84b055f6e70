#!/usr/bin/env bash
# go test with its output made short: hack/test.sh -race ./event/...
#
# With --again first, a few tests that fail are run once more, alone, for what is timed against other processes of a
# busy machine may be late; both runs are shown, and the last lines name what passed only then. One that fails again
# fails all, and so does one that needed the second run the last time, too: it is flaky. What needed it is kept in the
# cache, in a file for each set of arguments, and is added to the file that ORB8_RERUNS names.
set -euo pipefail
cd "$(dirname "$0")/.."
again=
if [ "${1-}" = --again ]; then
	again=yes
	shift
fi
failed=$(mktemp)
trap 'rm -f "$failed"' EXIT
if [ "$again" ]; then
	kept=${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}/reruns
	mkdir -p "$kept"
	kept+=/$(printf '%s\n' "$@" | sha256sum | cut -c 1-16)
	before=$(cat "$kept" 2>/dev/null || true)
	: >"$kept"
fi
if hack/go test -json "$@" | hack/go run ./hack/testlog -failed "$failed"; then
	exit
fi
[ "$again" ] && [ -s "$failed" ] || exit 1

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
