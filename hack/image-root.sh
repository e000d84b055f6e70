#!/bin/sh
# Makes the root file system of an image of node binaries: hack/image-root.sh DIRECTORY NVML BINARY...
# The binaries are static. orb8-nvml loads the GPU driver's library, which needs a C library: the image contains that of
# $CC and nothing else.
set -eu
root=$1 nvml=$2
shift 2

rm -rf "$root"
mkdir -p "$root"
cp "$nvml" "$root/orb8-nvml"
cp "$@" "$root"
"$(dirname "$0")/c-library.sh" "$root" "$nvml"
