#!/bin/sh
# Compiles the BPF programs of the package that go generate runs in, PACKAGE.bpf.c, and generates their Go code.
#
#	sh ../generate.sh STRUCT...   builds the programs, and Go types for these structs
#	sh ../generate.sh VARIANT     builds the programs with -DVARIANT, for kernels that need it (bpf/spec.go)
set -eu
stem=$GOPACKAGE identifiers=object types=
flags='-I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3'
for argument; do
	case $argument in
	[A-Z]*)
		identifiers=$(echo "$argument" | tr '[:upper:]' '[:lower:]')
		stem=${stem}_$identifiers
		flags="$flags -D$argument"
		;;
	*) types="$types -type $argument" ;;
	esac
done
# shellcheck disable=SC2086 # types and flags are several arguments
exec go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel $types -no-global-types -output-stem "$stem" \
	"$identifiers" "$GOPACKAGE.bpf.c" -- $flags
