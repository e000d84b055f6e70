#!/bin/sh
# Runs a command as if on its own machine: process 1 of a PID namespace, without network, with an empty /run, and with
# overlays on the system's directories that keep its writes apart.
#
#   unshare --mount --net --pid --fork --mount-proc --kill-child sh inside.sh DIR COMMAND [ARG ...]
set -eu
dir=$1
shift
# Unmount this namespace's copies of others' mounts: they would vanish here whenever their owners unmount them.
awk '$5 ~ "^/(run|tmp|var)/" { print $5 }' /proc/self/mountinfo | tac |
	while read -r m; do umount -l "$m" 2>/dev/null || true; done
mount -t tmpfs tmpfs "$dir"
for d in etc opt usr var; do
	mkdir -p "$dir/$d/written" "$dir/$d/work" "$dir/$d/before"
	mount --bind "/$d" "$dir/$d/before"
	mount -t overlay -o "lowerdir=/$d,upperdir=$dir/$d/written,workdir=$dir/$d/work" overlay "/$d"
done
mount -t tmpfs tmpfs /run
# Remove the files of an earlier cluster or another kubelet, and mount's own.
rm -rf /run/mount /var/lib/kubelet /var/lib/cni /var/log/containers /usr/libexec/kubernetes
ip link set lo up
# No exec: process 1 has to reap daemons that outlive their parents.
status=0
"$@" || status=$?
exit "$status"
