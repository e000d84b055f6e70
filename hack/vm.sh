#!/bin/sh
# Runs the virtual machine in which macOS builds and tests orb8, with Lima (brew install lima):
#
#   hack/vm.sh start | run COMMAND [ARG ...] | shell | status | stop | delete
#
# The repository is mounted at its own path, and commands run in it as root: tests load BPF programs. ORB8_VM names
# another machine than orb8.
set -eu
repo=$(cd "$(dirname "$0")/.." && pwd)
vm=${ORB8_VM:-orb8}

command -v limactl >/dev/null || {
	case ${1-} in delete) exit 0 ;; esac
	echo "vm: limactl is missing: install Lima (brew install lima); on Linux you need no virtual machine" >&2
	exit 1
}

# state prints Running, Stopped or another of Lima's words; nothing if there is no such machine.
state() { limactl list --format '{{if eq .Name "'"$vm"'"}}{{.Status}}{{end}}' | tr -d '\n'; }

start() {
	case $(state) in
	Running) ;;
	'') limactl start --tty=false --name "$vm" \
		--set '.mounts = [{"location": "'"$repo"'", "writable": true}]' "$repo/hack/lima/orb8.yaml" ;;
	*) limactl start --tty=false "$vm" ;;
	esac
}

# guest runs a command as root in the repository. Caches are the guest's own; bin and dist are shared with the host.
guest() {
	limactl shell --workdir "$repo" "$vm" sudo env HOME=/root "$@"
}

case ${1-} in
start) start ;;
run)
	shift
	start
	guest "$@"
	;;
shell)
	start
	limactl shell --workdir "$repo" "$vm"
	;;
status) limactl list "$vm" ;;
stop) [ "$(state)" != Running ] || limactl stop "$vm" ;;
delete) [ -z "$(state)" ] || limactl delete --force "$vm" ;;
*)
	sed -n 's/^#   //p' "$0" >&2
	exit 2
	;;
esac
