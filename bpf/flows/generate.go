package flows

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type flow_event -type tcp_rec -no-global-types -output-stem flows object flows.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem flows_pre515 pre515 flows.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3 -DPRE515
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem flows_nomapiter nomapiter flows.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3 -DNOMAPITER
