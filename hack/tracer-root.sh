#!/bin/sh
# Makes the file system of the tracer's image: hack/tracer-root.sh DIRECTORY TRACER NVML
# The tracer is static. What reads the GPUs loads the driver's library, which wants a C library: that of $CC goes along, and nothing else.
set -eu
root=$1 tracer=$2 nvml=$3

rm -rf "$root"
mkdir -p "$root"
cp "$tracer" "$root/orb8-tracer"
cp "$nvml" "$root/orb8-nvml"
"$(dirname "$0")/c-library.sh" "$root" "$nvml"
