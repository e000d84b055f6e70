package bpftest

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// Older says whether the running kernel gets the programs that were built with OLDER_KERNEL.
func Older(tb testing.TB) bool {
	tb.Helper()
	kernel, err := bpf.KernelTypes(btf.NewCache())
	if err != nil {
		FatalLoad(tb, err)
	}
	return bpf.Older(kernel)
}
