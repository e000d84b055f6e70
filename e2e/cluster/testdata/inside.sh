#!/bin/sh
# Runs a command as if on a machine of its own: process 1 of a process namespace, with no network and an empty /run, and with
# what it writes to the system's directories kept apart.
#
#   unshare --mount --net --pid --fork --mount-proc --kill-child sh inside.sh DIR COMMAND [ARG ...]
set -eu
dir=$1
shift
# Copies of what others have mounted: they would come apart here whenever it goes there.
awk '$5 ~ "^/(run|tmp|var)/" { print $5 }' /proc/self/mountinfo | tac | while read -r m; do umount -l "$m" 2>/dev/null || true; done
mount -t tmpfs tmpfs "$dir"
for d in etc opt usr var; do
	mkdir -p "$dir/$d/written" "$dir/$d/work" "$dir/$d/before"
	mount --bind "/$d" "$dir/$d/before"
	mount -t overlay -o "lowerdir=/$d,upperdir=$dir/$d/written,workdir=$dir/$d/work" overlay "/$d"
done
mount -t tmpfs tmpfs /run
# What an earlier cluster or another kubelet has left, and mount's own notes.
rm -rf /run/mount /var/lib/kubelet /var/lib/cni /var/log/containers
ip link set lo up
# Not exec: process 1 has to wait for daemons that outlive their parents.
status=0
"$@" || status=$?
exit "$status"
