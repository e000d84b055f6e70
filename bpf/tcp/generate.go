package tcp

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type tcp_event -no-global-types -output-stem tcp object tcp.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem tcp_older older tcp.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3 -DOLDER_KERNEL
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem tcp_plain plain tcp.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3 -DNO_MAP_ITERATORS
