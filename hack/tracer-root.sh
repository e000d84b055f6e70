#!/bin/sh
# Makes the root file system of the tracer's image: hack/tracer-root.sh DIRECTORY TRACER NVML
# The tracer is a static binary. orb8-nvml loads the GPU driver's library, which needs a C library: the image contains
# that of $CC and nothing else.
set -eu
root=$1 tracer=$2 nvml=$3

rm -rf "$root"
mkdir -p "$root"
cp "$tracer" "$root/orb8-tracer"
cp "$nvml" "$root/orb8-nvml"
"$(dirname "$0")/c-library.sh" "$root" "$nvml"
