package cuda

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type process -type about -type counts -type call -type allocation -type memory -type failure -no-global-types -output-stem cuda object cuda.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3
