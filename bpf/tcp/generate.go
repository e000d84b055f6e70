package tcp

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type tcp_event -no-global-types -output-stem tcp object tcp.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem tcp_pre515 pre515 tcp.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3 -DPRE515
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem tcp_nomapiter nomapiter tcp.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3 -DNOMAPITER
