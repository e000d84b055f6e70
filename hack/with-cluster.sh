#!/usr/bin/env bash
# Runs a command with a cluster: hack/with-cluster.sh COMMAND [ARG ...]
# It uses the cluster that is up or that ORB8_E2E_KUBECONFIG names. If there is none, it starts one and stops it after
# the command, also if the command fails. The command finds the cluster in KUBECONFIG.
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
# A signal goes to the whole process group and so ends the command, too; finish does the rest.
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if ! bin/cluster status >/dev/null 2>&1; then
	started=yes
fi
kubeconfig=$(bin/cluster up | tail -n 1)
KUBECONFIG=$kubeconfig ORB8_E2E=1 "$@"
