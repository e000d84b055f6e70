#!/bin/sh
# Installs the Debian or Ubuntu packages that tests, the test cluster and code generation need. Quiet where all of it is
# there. A package counts as there when its file is: containerd may be Docker's, jq somebody's own.
set -eu

# package  file or command
wanted='
ca-certificates             /etc/ssl/certs/ca-certificates.crt
curl                        curl
unzip                       unzip
openssl                     openssl
git                         git
gcc                         gcc
libc6-dev                   /usr/include/stdlib.h
clang-19                    clang-19
llvm-19                     llvm-strip-19
libbpf-dev                  /usr/include/bpf/bpf_helpers.h
protobuf-compiler           protoc
etcd-server                 etcd
containerd                  containerd
runc                        runc
containernetworking-plugins /usr/lib/cni/ptp
iptables                    iptables
nftables                    nft
iproute2                    ip
procps                      sysctl
util-linux                  nsenter
jq                          jq
tcpdump                     tcpdump
tshark                      tshark
tmux                        tmux
bash-completion             /usr/share/bash-completion/bash_completion
zsh                         zsh
fish                        fish
qemu-system-x86             qemu-system-x86_64
qemu-system-arm             qemu-system-aarch64
cpio                        cpio
debian-archive-keyring      /usr/share/keyrings/debian-archive-keyring.gpg
'

# Programs for the virtual machines of the other architecture.
case $(uname -m) in
aarch64) wanted="$wanted
gcc-x86-64-linux-gnu        x86_64-linux-gnu-gcc
libc6-dev-amd64-cross       /usr/x86_64-linux-gnu/include/stdlib.h" ;;
*) wanted="$wanted
gcc-aarch64-linux-gnu       aarch64-linux-gnu-gcc
libc6-dev-arm64-cross       /usr/aarch64-linux-gnu/include/stdlib.h" ;;
esac

# Some distributions leave these out of an ordinary user's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

there() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

missing=
while read -r package file; do
	[ -z "$package" ] || there "$file" || missing="$missing $package"
done <<END
$wanted
END
[ "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "install-deps: this is neither Debian nor Ubuntu: install what provides these yourself:$missing" >&2
	exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "install-deps: want root or sudo to install:$missing" >&2; exit 1; }
	sudo=sudo
fi

echo "install-deps: installing$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # a list of words
if ! {
	$sudo apt-get update -q &&
		$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
} >"$log" 2>&1; then
	tail -30 "$log" >&2
	echo "install-deps: apt-get failed" >&2
	exit 1
fi

# Debian starts a service as soon as it is installed. The test cluster runs daemons of its own: leave no others behind.
if [ -d /run/systemd/system ]; then
	for service in etcd:etcd-server containerd:containerd; do
		case " $missing " in
		*" ${service#*:} "*) $sudo systemctl disable --now --quiet "${service%:*}" || true ;;
		esac
	done
fi
