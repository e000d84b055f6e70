package bpftest

import (
	"testing"

	"github.com/cilium/ebpf"
)

// Held is how many places of a table a cgroup holds, by the map "shares" of bpf/lib/share.h. The cgroup has held one
// once.
func Held(tb testing.TB, shares *ebpf.Map, c *Cgroup, table int) int64 {
	tb.Helper()
	held := make([]int64, shares.ValueSize()/8)
	if err := shares.Lookup(c.ID, held); err != nil {
		tb.Fatal(err)
	}
	return held[table]
}
