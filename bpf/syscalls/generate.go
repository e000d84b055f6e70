package syscalls

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type syscall_event -type call -type total -type total_key -no-global-types -output-stem syscalls object syscalls.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem syscalls_pre515 pre515 syscalls.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3 -DPRE515
