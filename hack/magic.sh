#!/bin/sh
# Builds, tests and installs orb8: hack/magic.sh [local]
#
# On Linux, or with `local`, everything happens on this machine. On macOS, the images are built and the tests run in a
# virtual machine (hack/vm.sh), and the plugin for macOS is built here. The plugin is installed into /usr/local/bin, or
# where that is not writable into ~/.local/bin; ORB8_PREFIX names another directory.
set -eu
cd "$(dirname "$0")/.."
make=${MAKE:-make}

case ${1-}$(uname -s) in
Linux | localLinux)
	"$make" install-deps build images test-unit
	;;
local*)
	echo "magic: orb8's images are built on Linux, and this is $(uname -s): use make magic" >&2
	exit 1
	;;
Darwin)
	hack/vm.sh run make install-deps images test-unit
	"$make" build GOOS=darwin
	;;
*)
	echo "magic: this is $(uname -s): build with make build GOOS=windows, and test in WSL 2" >&2
	exit 1
	;;
esac

prefix=${ORB8_PREFIX:-/usr/local/bin}
[ -n "${ORB8_PREFIX-}" ] || [ -w "$prefix" ] || prefix=$HOME/.local/bin
mkdir -p "$prefix"
install -m 755 bin/kubectl-orb8 "$prefix/kubectl-orb8"
install -m 755 plugin/complete/scripts/kubectl_complete-orb8 "$prefix/kubectl_complete-orb8"
echo "installed $prefix/kubectl-orb8, and kubectl_complete-orb8 for the completion by kubectl"
case :$PATH: in
*:"$prefix":*) ;;
*) echo "put $prefix on your PATH" ;;
esac
cat <<END
load the images where your nodes find them, for example:
  kind load image-archive dist/orb8-tracer-$(uname -m | sed -e s/x86_64/amd64/ -e s/aarch64/arm64/).tar
then try:
  kubectl orb8 doctor
END
