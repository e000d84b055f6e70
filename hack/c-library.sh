#!/bin/sh
# Copies the C library of $CC into a root file system, where PROGRAM loads it from: hack/c-library.sh ROOT PROGRAM
set -eu
root=$1 program=$2
CC=${CC:-gcc}

loader=$(readelf -l "$program" | sed -n 's/.*Requesting program interpreter: \(.*\)\]/\1/p')
multiarch=$($CC -print-multiarch)
libraries=$root/lib${multiarch:+/$multiarch}
[ "$multiarch" ] || libraries=$root/lib64
mkdir -p "$libraries" "$root$(dirname "$loader")"
# The libraries that a GPU driver's libraries link.
for name in libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1; do
	cp -L "$($CC -print-file-name=$name)" "$libraries/$name"
done
cp -L "$($CC -print-file-name="$(basename "$loader")")" "$root$loader"
