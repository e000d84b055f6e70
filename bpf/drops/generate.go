package drops

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type drop_key -type drop -type network -no-global-types -output-stem drops object drops.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem drops_nomapiter nomapiter drops.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3 -DNOMAPITER
