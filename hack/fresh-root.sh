#!/bin/sh
# Runs a command on a clean clone of HEAD in a fresh Debian or Ubuntu root, with nothing installed and cold caches, like
# on a new contributor's machine. Needs root and debootstrap.
#
#   hack/fresh-root.sh make demo
#   SUITE=trixie hack/fresh-root.sh make test
#   SUITE=noble hack/fresh-root.sh make demo
#
# The root is removed at the end; KEEP=1 keeps it and prints its path.
set -eu

[ "$#" -gt 0 ] || { echo "usage: $0 COMMAND [ARG ...]" >&2; exit 2; }
suite=${SUITE:-bookworm}
script=
case $suite in
jammy | noble | plucky | questing)
	mirror=${MIRROR:-http://archive.ubuntu.com/ubuntu}
	components=main,universe
	# One script of debootstrap serves all of Ubuntu. An old debootstrap does not know the names of new suites.
	script=gutsy
	;;
*)
	mirror=${MIRROR:-http://deb.debian.org/debian}
	components=main
	;;
esac
repo=$(git -C "$(dirname "$0")/.." rev-parse --show-toplevel)
root=$(mktemp -d "${TMPDIR:-/var/tmp}/orb8-fresh.XXXXXX")
chmod 755 "$root" # it becomes /, which other users have to get through

# The machine's first process stays the host's. Nodes look for a GPU's driver in its root, so tests put their drivers
# where they are at the same path in both roots: not below /var, on which test-cluster puts an overlay, and at a short
# path, since that of a socket has at most 107 bytes.
tmp=$(mktemp -d /mnt/XXXXXX)
chmod 1777 "$tmp"

cleanup() {
	rm -rf --one-file-system "$tmp"
	if [ "${KEEP:-}" ]; then
		echo "fresh-root: kept in $root" >&2
	else
		rm -rf --one-file-system "$root"
	fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

echo "fresh-root: debootstrap $suite into $root" >&2
# shellcheck disable=SC2086 # script is one word or none
debootstrap --variant=minbase --components="$components" --include=ca-certificates,make,git "$suite" "$root" "$mirror" \
	$script >"$root.log" 2>&1 ||
	{ tail -20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
# An installed Ubuntu has its updates, where newer compilers are.
[ -z "$script" ] || echo "deb $mirror $suite-updates main universe" >>"$root/etc/apt/sources.list"

cp /etc/resolv.conf /etc/hosts "$root/etc/"
# Copy the machine's trust roots and apt configuration: it may need a certain mirror or proxy.
cp -a /etc/ssl/certs "$root/etc/ssl/" 2>/dev/null || true
[ ! -d /usr/local/share/ca-certificates ] || cp -a /usr/local/share/ca-certificates "$root/usr/local/share/"
[ ! -d /etc/apt/apt.conf.d ] || cp -an /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"

git clone -q --no-local "$repo" "$root/src/kubectl-orb8"

# The environment is that of a login shell on a new machine, and the proxy settings that downloads may need.
set -- env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 TMPDIR="$tmp" \
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
	${no_proxy:+no_proxy="$no_proxy"} ${GOPROXY:+GOPROXY="$GOPROXY"} "$@"
# The root becomes that of a mount namespace, as on a machine: runc enters a container's namespace to execute a program
# in it, and would find the host's root there from within a chroot. All mounts end with the namespace.
# shellcheck disable=SC2016 # the inner shell expands them
unshare --mount --propagation private sh -euc '
	root=$1 tmp=$2
	shift 2
	mount --bind "$root" "$root"
	mount -t proc proc "$root/proc"
	mount --rbind /sys "$root/sys"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs tmpfs "$root/run"
	mkdir -p "$root$tmp" "$root/host"
	mount --bind "$tmp" "$root$tmp"
	cd "$root"
	pivot_root . host
	exec chroot . sh -euc "umount -l /host; rmdir /host; cd /src/kubectl-orb8; exec \"\$@\"" sh "$@"
' sh "$root" "$tmp" "$@"
