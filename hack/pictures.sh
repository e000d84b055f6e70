#!/usr/bin/env bash
# Makes the pictures of docs/top.md and docs/GPU.md: hack/pictures.sh [traffic] [gpus]
# It runs the real program in a real terminal (tmux), on the cluster of $KUBECONFIG. `make pictures` builds the
# binaries and images first.
set -euo pipefail
cd "$(dirname "$0")/.."

namespace=orb8-pictures
export PATH="$PWD/bin:$(echo "${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}"/kubernetes-v*/):$PATH"
export LANG=C.UTF-8 LC_ALL=C.UTF-8
socket=$(mktemp -u)
driver=$(mktemp -d)
screen() { tmux -S "$socket" -f /dev/null "$@"; }
fed=()
finish() {
	status=$?
	[ ${#fed[@]} = 0 ] || kill "${fed[@]}" 2>/dev/null || true
	screen kill-server 2>/dev/null || true
	rm -rf "$driver"
	kubectl delete namespace "$namespace" --ignore-not-found >/dev/null || status=1
	exit "$status"
}
trap finish EXIT

# await TEXT waits until the screen shows the text.
await() {
	for _ in $(seq 300); do
		if screen capture-pane -p | grep -qF -- "$1"; then return; fi
		sleep 0.2
	done
	echo "pictures: no \"$1\" on the screen:" >&2
	screen capture-pane -p >&2
	return 1
}
# picture NAME TITLE draws the screen into docs/pictures/NAME.svg.
picture() { screen capture-pane -e -p | hack/go run ./hack/ansisvg "$2" >"docs/pictures/$1.svg"; }

# quit ends the program and waits for it.
quit() {
	screen send-keys q
	for _ in $(seq 100); do screen has-session 2>/dev/null || return 0; sleep 0.2; done
}

traffic() {
	kubectl apply -n "$namespace" -f hack/demo.yaml -f hack/pictures.yaml
	for d in web shop cart payments checkout worker; do
		kubectl rollout status -n "$namespace" "deployment/$d" --timeout 90s
	done

	screen new-session -d -x 120 -y 32 "kubectl orb8 top network -n $namespace"
	await "2/2 nodes"
	await shop-
	screen send-keys t
	await "last 1 min"
	sleep 25 # fill the charts
	picture top-network-table "kubectl orb8 top network -n $namespace"
	screen send-keys 1 && await "── rates" && picture top-network-overview "overview"
	screen send-keys 4 && await "▶" && picture top-network-graph "who calls whom"
	screen send-keys 2 && await SENT/S && screen send-keys 3 && await "a second" && picture top-network-detail "detail"
	quit
	for topic in dns syscalls; do
		screen new-session -d -x 120 -y 24 "kubectl orb8 top $topic -n $namespace"
		await "nodes"
		await "█"
		sleep 8
		picture "top-$topic-table" "kubectl orb8 top $topic -n $namespace"
		quit
	done
}

# callers builds and loads the image of a program that calls a fake CUDA library (e2e/fakes).
callers() {
	local root=$driver/root
	mkdir -p "$root"
	gcc -std=gnu11 -O1 -Wno-strict-prototypes -shared -fPIC -o "$root/libcuda.so.1" e2e/fakes/libraries/cuda.c
	gcc -std=gnu11 -O1 -Wno-strict-prototypes -o "$root/cuda" e2e/fakes/programs/cuda.c -ldl -lpthread
	hack/c-library.sh "$root" "$root/cuda"
	hack/go run ./e2e/image -ref orb8.dev/pictures/cuda:dev -root "$root" -o "$driver/cuda.tar" cuda
	bin/cluster load "$driver/cuda.tar"
}

# feed DEPLOYMENT LAUNCHES COPIES makes the program of a deployment call the library every 200 ms. Each launch is made
# through each of four functions.
feed() {
	while sleep 0.2; do printf 'launch %d\ncopy %d\n' "$2" "$3"; done |
		kubectl attach -n "$namespace" -i "deployment/$1" >/dev/null 2>&1 &
	fed+=($!)
}

# gpus shows pods on fake GPUs: the NVML library is that of e2e/fakes, which reads its values from a file. Pods,
# processes, names and calls are real.
gpus() {
	local app uid pid i nvml
	callers
	kubectl apply -n "$namespace" -f hack/pictures-gpu.yaml
	nvml=$(hack/go list -m -f '{{.Dir}}' github.com/NVIDIA/go-nvml)/pkg/nvml
	gcc -O1 -shared -fPIC -fno-strict-aliasing -Wno-deprecated-declarations "-I$nvml" \
		-o "$driver/libnvidia-ml.so.1" e2e/fakes/libraries/nvml.c -ldl -lpthread
	chmod 755 "$driver"
	mapfile -t nodes < <(kubectl get nodes -o name | sed 's|node/||' | sort)
	declare -A pids
	for app in train serve notebook; do
		kubectl rollout status -n "$namespace" "deployment/$app" --timeout 90s
		uid=$(kubectl get pod -n "$namespace" -l "app=$app" -o 'jsonpath={.items[0].metadata.uid}')
		for pid in $(grep -l "pod${uid}" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3); do
			case $(cat "/proc/$pid/comm") in workload | cuda) pids[$app]=$pid ;; esac
		done
	done
	feed train 60 4
	feed serve 15 1
	# A training with a step of some seconds on one node, a service and a forgotten notebook on the other.
	# device INDEX UTIL TENSOR DRAM WATTS CELSIUS USED-GIB PIDS
	device() {
		printf '%s\n' "$1.uuid GPU-$1" "$1.name NVIDIA H100 80GB HBM3" \
			"$1.memory 85899345920 $(($7 << 30)) 536870912" "$1.util $2 $4" "$1.gpm 1" "$1.gpm.2 $(($2 * 9 / 10))" \
			"$1.gpm.3 $(($2 / 3))" "$1.gpm.5 $3" "$1.gpm.10 $4" "$1.power $(($5 * 1000))" "$1.limit 700000" \
			"$1.temperature $6" "$1.clock.sm 1980" "$1.clock.memory 2619" "$1.throttle 0" "$1.compute $8"
	}
	script() {
		local wave=(10 35 70 92 97 99 98 99 97 95 60 20) w=${wave[$(($1 % 12))]} v=${wave[$(($1 * 5 % 12))]}
		{
			printf 'devices 2\ndriver 580.95.05\n'
			device 0 "$w" $((w * 6 / 10)) $((w / 2)) $((110 + w * 5)) 61 67 "${pids[train]}:71940702208"
			device 1 0 0 0 71 33 0 ""
		} >"$driver/.new"
		mv "$driver/.new" "$driver/${nodes[0]}"
		{
			printf 'devices 2\ndriver 580.95.05\n'
			device 0 $((v / 3)) $((v / 8)) $((v / 5)) $((100 + v)) 47 42 "${pids[serve]}:45097156608"
			device 1 0 0 0 118 36 23 "${pids[notebook]}:24696061952"
		} >"$driver/.new"
		mv "$driver/.new" "$driver/${nodes[1]}"
	}
	script 0
	screen new-session -d -x 120 -y 24 "kubectl orb8 top gpu -n $namespace --nvml-library $driver/libnvidia-ml.so.1"
	await "2/2 nodes"
	await "notebook-"
	for i in $(seq 45); do
		script "$i"
		sleep 1
	done
	picture top-gpu-table "kubectl orb8 top gpu -n $namespace"
	screen send-keys 1 && await "── rates" && picture top-gpu-overview "overview"
	screen send-keys 2 && await "UTIL%" && screen send-keys 3 && await "GPUs" && picture top-gpu-detail "detail"
	screen send-keys 4 && await "are held and do nothing" && picture top-gpu-waste "waste"
	quit
	screen new-session -d -x 120 -y 16 \
		"kubectl orb8 top gpu -n $namespace --group process --nvml-library $driver/libnvidia-ml.so.1"
	await "cuda("
	for i in $(seq 15); do
		script "$i"
		sleep 1
	done
	picture top-gpu-processes "kubectl orb8 top gpu -n $namespace --group process"
	quit
}

bin/cluster load "$PWD"/dist/*-"$(hack/go env GOARCH)".tar
kubectl create namespace "$namespace"
[ $# -gt 0 ] || set -- traffic gpus
for part; do "$part"; done
ls -l docs/pictures
