#!/usr/bin/env bash
# Makes the pictures of docs/top.md: the real program in a real terminal (tmux), on the cluster of $KUBECONFIG. `make pictures` brings what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

namespace=orb8-pictures
export PATH="$PWD/bin:$(echo "${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}"/kubernetes-*/):$PATH" LANG=C.UTF-8 LC_ALL=C.UTF-8
socket=$(mktemp -u)
screen() { tmux -S "$socket" -f /dev/null "$@"; }
finish() {
	status=$?
	screen kill-server 2>/dev/null || true
	kubectl delete namespace "$namespace" --ignore-not-found >/dev/null || status=1
	exit "$status"
}
trap finish EXIT

# await TEXT: until it stands on the screen.
await() {
	for _ in $(seq 300); do
		if screen capture-pane -p | grep -qF -- "$1"; then return; fi
		sleep 0.2
	done
	echo "pictures: no \"$1\" on the screen:" >&2
	screen capture-pane -p >&2
	return 1
}
# picture NAME TITLE: of what is on the screen.
picture() { screen capture-pane -e -p | hack/go run ./hack/ansisvg "$2" >"docs/pictures/$1.svg"; }

bin/cluster load "$PWD"/dist/*.tar
kubectl create namespace "$namespace"
kubectl apply -n "$namespace" -f hack/demo.yaml -f hack/pictures.yaml
for d in web shop cart payments checkout worker; do kubectl rollout status -n "$namespace" "deployment/$d" --timeout 90s; done

screen new-session -d -x 120 -y 32 "kubectl orb8 top network -n $namespace"
await "2/2 nodes"
await shop-
screen send-keys t
await "last 1 min"
sleep 25 # for charts that show something
picture top-network-table "kubectl orb8 top network -n $namespace"
screen send-keys 1 && await "── rates" && picture top-network-overview "overview"
screen send-keys 4 && await "▶" && picture top-network-graph "who calls whom"
screen send-keys 2 && await SENT/S && screen send-keys 3 && await "a second" && picture top-network-detail "detail"
screen send-keys q
for _ in $(seq 100); do screen has-session 2>/dev/null || break; sleep 0.2; done
for topic in dns syscalls; do
	screen new-session -d -x 120 -y 24 "kubectl orb8 top $topic -n $namespace"
	await "nodes"
	await "█"
	sleep 8
	picture "top-$topic-table" "kubectl orb8 top $topic -n $namespace"
	screen send-keys q
	for _ in $(seq 100); do screen has-session 2>/dev/null || break; sleep 0.2; done
done
ls -l docs/pictures
