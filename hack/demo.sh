#!/usr/bin/env bash
# Demonstrates kubectl orb8 on the cluster of $KUBECONFIG: starts a small application, traces it and removes it.
# `make demo` builds the binaries and images and, where no cluster is up, starts one.
set -euo pipefail
cd "$(dirname "$0")/.."

namespace=orb8-demo
export PATH="$PWD/bin:$(echo "${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}"/kubernetes-v*/):$PATH"

heading() {
	if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
		printf '\n\033[1;36m== %s\033[0m\n' "$*"
	else
		printf '\n== %s\n' "$*"
	fi
}
run() {
	if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
		printf '\033[1m$ %s\033[0m\n' "$*"
	else
		printf '$ %s\n' "$*"
	fi >&2
	"$@"
}
# leftovers lists the objects that a session or this demo creates. Other users of the cluster trace in other namespaces.
leftovers() {
	kubectl get jobs,pods,secrets,configmaps,serviceaccounts,roles,rolebindings \
		-n "$namespace" -o name --ignore-not-found
	kubectl get namespace "$namespace" --ignore-not-found -o name
}
finish() {
	status=$?
	trap - EXIT
	kubectl delete namespace "$namespace" --ignore-not-found >/dev/null || status=1
	exit "$status"
}
trap finish EXIT

heading "images: the tracer and a test workload, packed without a daemon"
ls -lh dist/*-"$(hack/go env GOARCH)".tar
bin/cluster load "$PWD"/dist/*-"$(hack/go env GOARCH)".tar

heading "a small application"
run kubectl get nodes
run kubectl create namespace "$namespace"
run kubectl apply -n "$namespace" -f hack/demo.yaml
kubectl rollout status -n "$namespace" deployment/web deployment/shop --timeout 90s
run kubectl get pods -n "$namespace" -o wide

heading "who talks to whom: ten seconds of it, as a table"
events=$(mktemp)
run kubectl orb8 trace network -n "$namespace" --duration 10s | tee "$events"
if ! grep -q 'shop-.* web:8080->web-' "$events"; then
	echo "demo: the table does not name who talks to whom" >&2
	exit 1
fi

heading "the same as JSON: one object a line, here the first flow"
run kubectl orb8 trace network -n "$namespace" --duration 5s -o json >"$events"
grep -m 1 '"kind":"flow"' "$events" | jq -c .

heading "and summed by jq: payload from the shop to each backend of the service"
sums=$(jq -rs 'map(select(.kind == "flow" and .dst.service == "web"))
	| group_by(.id) | map(last) | group_by([.protocol, .dst.pod])[]
	| "\(.[0].src.workload) -> \(.[0].dst.service) -> \(.[0].dst.pod)  \(.[0].protocol)  \(length) flows  " +
		"\(map(.bytesSent) | add) bytes there  \(map(.bytesReceived) | add) back"' "$events")
echo "$sums"
rm -f "$events"
[ "$sums" ] || { echo "demo: no flow to the service" >&2; exit 1; }

heading "and nothing stays behind"
run kubectl delete namespace "$namespace"
deadline=$((SECONDS + 15))
while rest=$(leftovers) && [ "$rest" ]; do
	if ((SECONDS > deadline)); then
		echo "demo: left behind: $rest" >&2
		exit 1
	fi
	sleep 0.3
done
echo "nothing of it is left in the cluster"
