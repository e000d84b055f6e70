#!/usr/bin/env bash
# Runs a command with a cluster: the one that is up (or that ORB8_E2E_KUBECONFIG names), else one that is started for the
# command and taken down after it, whatever becomes of the command. KUBECONFIG tells the command which.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p bin
hack/go build -o bin/cluster ./e2e/cluster

started=
finish() {
	status=$?
	trap - EXIT
	if [ "$started" ]; then
		bin/cluster down || status=1
	fi
	exit "$status"
}
trap finish EXIT
# A signal ends the command too, since it goes to the whole group; what is left to do is done in finish.
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if ! bin/cluster status >/dev/null 2>&1; then
	started=yes
fi
kubeconfig=$(bin/cluster up | tail -n 1)
KUBECONFIG=$kubeconfig ORB8_E2E=1 "$@"
