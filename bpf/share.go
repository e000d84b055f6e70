package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Share is the size of a table that bpf/lib/share.h divides among cgroups. The first Open places are for whoever comes
// first; of the rest, up to Size, a cgroup gets a place only while it holds less than a quarter of what is free.
type Share struct{ Open, Size uint32 }

// ShareOf is a table with room for n entries, and a quarter more for cgroups that hold few.
func ShareOf(n uint32) Share { return Share{n, n + max(n/4, 1)} }

// ShareWithin is a table of n entries, of which the last fifth is for cgroups that hold few.
func ShareWithin(n uint32) Share { return Share{n - n/5, n} }

// SetShares sets the sizes of the tables of a probe, in the order of SHARE_TABLES.
func SetShares(spec *ebpf.CollectionSpec, tables ...Share) error {
	open, size := make([]uint64, len(tables)), make([]uint64, len(tables))
	for i, t := range tables {
		open[i], size[i] = uint64(t.Open), uint64(t.Size)
	}
	for name, values := range map[string][]uint64{"share_open": open, "share_size": size} {
		if err := spec.Variables[name].Set(values); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}
