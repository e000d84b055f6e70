// Package bpf holds what the probes in the folders below share: Probe, the checks of the kernel, the losses,
// and the kernel's clock as wall-clock time.
package bpf
