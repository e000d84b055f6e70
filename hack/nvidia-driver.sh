#!/bin/sh
# Fetches NVIDIA's libcuda.so.1 and libnvidia-ml.so.1 from Debian's non-free packages into the cache and prints their
# directory. With them, tests check without a GPU that functions are found, how they begin, and which error the
# libraries return without a device. They are under NVIDIA's licence (usr/share/doc in the same directory) and are not
# part of this project.
set -eu

suite=${SUITE:-trixie}
mirror=${ORB8_DEBIAN_MIRROR:-http://deb.debian.org/debian}
arch=$(dpkg --print-architecture)
cache=${ORB8_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orb8-e2e}/nvidia-$suite-$arch
if [ ! -e "$cache/done" ]; then
	mkdir -p "$cache/lists/partial" "$cache/archives/partial" "$cache/root"
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	echo "deb [arch=$arch signed-by=$keyring] $mirror $suite non-free" >"$cache/sources.list"
	apt() {
		(cd "$cache" && apt-get -q -o Dir::Etc::SourceList="$cache/sources.list" -o Dir::Etc::SourceParts=- \
			-o Dir::State::Lists="$cache/lists" -o Dir::Cache="$cache" \
			-o APT::Sandbox::User=root -o Acquire::Languages=none "$@" >&2)
	}
	apt update
	apt download libcuda1 libnvidia-ml1
	for package in "$cache"/*.deb; do
		dpkg -x "$package" "$cache/root"
	done
	touch "$cache/done"
fi
dirname "$(find "$cache/root" -name 'libcuda.so.1' | head -n 1)"
