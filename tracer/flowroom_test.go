//go:build linux

package tracer

import (
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event/session"
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
		ring := int64(flowRing(&session.Config{Interval: int64(fastInterval) - 1}, limit))
		if free := limit - bytes - ring; free < fixedBytes {
			t.Errorf("of %d MiB, %d are left", limit>>20, free>>20)
		}
	}
}

func TestFlowRing_OfShortIntervals(t *testing.T) {
	for name, c := range map[string]struct {
		interval time.Duration
		asked    uint32
		limit    int64
		want     uint32
	}{
		"default interval":     {0, 0, 256 << 20, 0},
		"a second":             {time.Second, 0, 256 << 20, 0},
		"short":                {300 * time.Millisecond, 0, 256 << 20, fastRing},
		"short, no limit":      {300 * time.Millisecond, 0, 0, fastRing},
		"short, little room":   {300 * time.Millisecond, 0, 128 << 20, 0},
		"short, of the client": {300 * time.Millisecond, 1 << 20, 0, 1 << 20},
	} {
		config := &session.Config{Interval: int64(c.interval), RingBytes: c.asked}
		if got := flowRing(config, c.limit); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}
