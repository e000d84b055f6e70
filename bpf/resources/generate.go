package resources

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type run_delay -type block_io -no-global-types -output-stem resources object resources.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3
