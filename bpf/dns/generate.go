package dns

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type dns_event -no-global-types -output-stem dns object dns.bpf.c -- -I../headers -I../lib -Wall -fno-strict-aliasing -Werror -O2 -mcpu=v3
