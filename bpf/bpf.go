// Package bpf holds what the probes in the folders below share: how they say that a kernel is too old, what they lost,
// and the kernel's clock as wall-clock time.
package bpf
