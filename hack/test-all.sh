#!/usr/bin/env bash
# Runs every test: hack/test-all.sh MAKE. A suite that fails does not keep the others from running.
#
# On two CPUs a suite alone leaves up to half of the time unused. Unit tests run beside test-bpf and test-cluster, and
# the virtual machines beside these with the CPU time that is left (SCHED_IDLE). test-bpf, test-cluster and both parts
# of test-e2e check what is left in the kernel and run one after another. test-persistent waits most of its time, and
# runs beside the virtual machines; test-sessions runs alone, since its tests measure.
set -euo pipefail
cd "$(dirname "$0")/.."
make=${1:-make}

logs=$(mktemp -d)
declare -A pids=()
finish() {
	status=$?
	trap - EXIT
	for suite in "${!pids[@]}"; do
		kill -TERM -- "-${pids[$suite]}" 2>/dev/null || true
		wait "${pids[$suite]}" 2>/dev/null || true
		cat "$logs/$suite"
	done
	rm -rf "$logs"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

failed=()
# run prints a suite's output and how long it took.
run() {
	local began=$SECONDS
	printf '\n== %s\n' "$1"
	"$make" "$1" || failed+=("$1")
	printf '%s took %d s\n' "$1" $((SECONDS - began))
}
# start runs a suite in a process group of its own; collect waits for it and prints its output.
start() {
	local suite=$1
	shift
	set -m
	"$@" "$make" "$suite" >"$logs/$suite" 2>&1 </dev/null &
	pids[$suite]=$!
	set +m
}
collect() {
	local began=$SECONDS
	printf '\n== %s\n' "$1"
	wait "${pids[$1]}" || failed+=("$1")
	unset "pids[$1]"
	cat "$logs/$1"
	printf '%s ended %d s later\n' "$1" $((SECONDS - began))
}

start test-kernels chrt --idle 0
start test-unit env
run test-bpf
run test-cluster
collect test-unit
run test-persistent
collect test-kernels
run test-sessions
if [ ${#failed[@]} -gt 0 ]; then
	printf '\nfailed: %s\n' "${failed[*]}" >&2
	exit 1
fi
