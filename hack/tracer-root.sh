#!/bin/sh
# Makes the file system of the tracer's image: hack/tracer-root.sh DIRECTORY TRACER NVML
# The tracer is static. What reads the GPUs loads the driver's library, which wants a C library: that of $CC goes along, and nothing else.
set -eu
root=$1 tracer=$2 nvml=$3
CC=${CC:-gcc}

rm -rf "$root"
mkdir -p "$root"
cp "$tracer" "$root/orb8-tracer"
cp "$nvml" "$root/orb8-nvml"

loader=$(readelf -l "$nvml" | sed -n 's/.*Requesting program interpreter: \(.*\)\]/\1/p')
multiarch=$($CC -print-multiarch)
libraries=$root/lib${multiarch:+/$multiarch}
[ "$multiarch" ] || libraries=$root/lib64
mkdir -p "$libraries" "$root$(dirname "$loader")"
# What a driver's libnvidia-ml.so.1 is linked with.
for name in libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1; do
	cp -L "$($CC -print-file-name=$name)" "$libraries/$name"
done
cp -L "$($CC -print-file-name="$(basename "$loader")")" "$root$loader"
