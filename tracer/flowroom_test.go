//go:build linux

package tracer

import (
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

func TestMaxFlows(t *testing.T) {
	for name, c := range map[string]struct {
		asked uint32
		limit int64
		want  uint32
	}{
		"no limit":            {0, 0, 0},
		"of the client":       {500, 64 << 20, 500},
		"least memory":        {0, 64 << 20, 18_724},
		"half of the default": {0, 128 << 20, 56_173},
		"default":             {0, 256 << 20, 131_072},
		"much memory":         {0, 8 << 30, 131_072},
		"too little memory":   {0, 16 << 20, 4096},
	} {
		if n := maxFlows(c.asked, c.limit); n != c.want {
			t.Errorf("%s: %d flows, want %d", name, n, c.want)
		}
	}
}

// The tables of flows and the storage of sockets, full, leave room for the rest of a tracer.
func TestMaxFlows_LeaveRoom(t *testing.T) {
	for _, limit := range []int64{64 << 20, 128 << 20, 256 << 20} {
		flows := bpf.ShareOf(maxFlows(0, limit)).Size
		sockets := bpf.ShareOf(maxStored(limit, []string{"flow"})).Size
		bytes := int64(flows)*(192+256) + int64(sockets)*storedBytes["flow"]
		if free := limit - bytes; free < fixedBytes {
			t.Errorf("of %d MiB, %d are left", limit>>20, free>>20)
		}
	}
}
