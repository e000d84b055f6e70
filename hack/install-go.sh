#!/bin/sh
# Prints the directory of a go command that can build this module; installs one if there is none.
#
# Go 1.21 or newer fetches the toolchain that go.mod names, so any such Go on PATH is enough. Where there is none
# (Debian 12 has 1.19), this script fetches the toolchain from the same place as the go command does: the module
# golang.org/toolchain on the Go module proxy. It compares its hash with that of the public checksum database
# (sum.golang.org).
set -eu

version=1.26.8

usable() {
	[ -x "$1" ] || return 1
	# Run outside the module: inside, an old go fails on go.mod, and a new one fetches a toolchain first.
	minor=$(cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
	[ "${minor:-0}" -ge 21 ]
}

if found=$(command -v go) && usable "$found"; then
	dirname "$found"
	exit 0
fi

case $(uname -s)-$(uname -m) in
Linux-x86_64) arch=amd64 want=h1:ZOmGe1OnfREDMIdb1Qi4G9JSuDPBLGExZMQ4nis1RXM= ;;
Linux-aarch64) arch=arm64 want=h1:sYL/O6MqS68ML0kjsQ36WoYIpJqkw60TxizWUYUKQMc= ;;
*) echo "install-go: no Go for $(uname -sm) here: install Go 1.21 or newer, and put it on PATH" >&2; exit 1 ;;
esac

cache=${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}
dir=$cache/go-$version
if usable "$dir/bin/go"; then
	echo "$dir/bin"
	exit 0
fi

for tool in curl unzip openssl; do
	command -v "$tool" >/dev/null || { echo "install-go: $tool is missing: run e2e/install-deps.sh first" >&2; exit 1; }
done

proxy=${GOPROXY:-https://proxy.golang.org}
proxy=${proxy%%[,|]*}
module=golang.org/toolchain@v0.0.1-go$version.linux-$arch
mkdir -p "$cache"
work=$(mktemp -d "$cache/go.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "install-go: fetching Go $version into $dir" >&2
curl -fsSL --retry 3 -o "$work/go.zip" "$proxy/golang.org/toolchain/@v/v0.0.1-go$version.linux-$arch.zip"
unzip -q "$work/go.zip" -d "$work"

# The hash of a module (golang.org/x/mod/sumdb/dirhash, Hash1): SHA-256 over the sorted lines "SHA-256  name".
got=h1:$(cd "$work" && find "golang.org" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum |
	openssl dgst -sha256 -binary | openssl base64)
if [ "$got" != "$want" ]; then
	echo "install-go: $module has hash $got, want $want: not used" >&2
	exit 1
fi

chmod -R u+x "$work/$module/bin" "$work/$module/pkg/tool"
rm -rf "$dir"
mv "$work/$module" "$dir"
echo "$dir/bin"
