//go:build linux && cgo

package nvml

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// link is a bus of a GPU, whose rates come from two cumulative counters if GPM does not report them.
type link struct {
	name           string
	sent, received uint32 // ids of the counters' NVML fields
	// scope is the link's number; allLinks sums them.
	scope uint32
	// unit is the counters' unit, bytes.
	unit uint64
	to   func(*event.GpuActivity) (sent, received **uint64)
}

const allLinks = math.MaxUint32

// links are the buses with counters. nvmlDeviceGetPcieThroughput is not used, because it measures for 20 ms.
var links = [...]link{
	{"pcie", nvml.FI_DEV_PCIE_COUNT_TX_BYTES, nvml.FI_DEV_PCIE_COUNT_RX_BYTES, 0, 1,
		func(a *event.GpuActivity) (_, _ **uint64) { return &a.PcieSentPerSecond, &a.PcieReceivedPerSecond }},
	{"nvlink", nvml.FI_DEV_NVLINK_THROUGHPUT_DATA_TX, nvml.FI_DEV_NVLINK_THROUGHPUT_DATA_RX, allLinks, 1024,
		func(a *event.GpuActivity) (_, _ **uint64) { return &a.NvlinkSentPerSecond, &a.NvlinkReceivedPerSecond }},
}

// counters are a link's counters at the last sample.
type counters struct {
	at             time.Time
	sent, received uint64
	// never is the permanent reason why there are no counters.
	never string
}

// readLinks fills in the rates that GPM did not report, with one call for all links.
func (r *Reader) readLinks(d *device, a *event.GpuActivity, g *gaps) {
	var wanted []int
	var values []nvml.FieldValue
	for i, l := range links {
		if sent, received := l.to(a); *sent != nil || *received != nil {
			continue
		}
		if why := d.links[i].never; why != "" {
			g.addReason(l.name, why)
			continue
		}
		wanted = append(wanted, i)
		values = append(values, nvml.FieldValue{FieldId: l.sent, ScopeId: l.scope}, nvml.FieldValue{FieldId: l.received,
			ScopeId: l.scope})
	}
	if len(wanted) == 0 {
		return
	}
	if ret := r.lib.do("nvmlDeviceGetFieldValues",
		func() nvml.Return { return d.handle.GetFieldValues(values) }); ret != nvml.SUCCESS {
		for _, i := range wanted {
			g.add(links[i].name, ret)
		}
		return
	}
	now := time.Now()
	for n, i := range wanted {
		d.links[i].read(&links[i], now, values[2*n], values[2*n+1], a, g)
	}
}

// read computes rates from the growth of the counters.
func (c *counters) read(l *link, at time.Time, sent, received nvml.FieldValue, a *event.GpuActivity, g *gaps) {
	now := counters{at: at}
	for _, v := range []struct {
		from *nvml.FieldValue
		to   *uint64
	}{{&sent, &now.sent}, {&received, &now.received}} {
		if ret := nvml.Return(v.from.NvmlReturn); ret != nvml.SUCCESS {
			if g.add(l.name, ret); ret == nvml.ERROR_NOT_SUPPORTED {
				c.never = words(ret)
			}
			return
		}
		switch nvml.ValueType(v.from.ValueType) {
		case nvml.VALUE_TYPE_UNSIGNED_LONG, nvml.VALUE_TYPE_UNSIGNED_LONG_LONG:
			*v.to = binary.NativeEndian.Uint64(v.from.Value[:])
		case nvml.VALUE_TYPE_UNSIGNED_INT:
			g.addReason(l.name, "the driver's counter has 32 bits and may have wrapped any number of times")
			return
		default:
			g.addReason(l.name, "the driver's counter has an unknown type")
			return
		}
	}
	before := *c
	*c = now
	elapsed := now.at.Sub(before.at).Seconds()
	if before.at.IsZero() || elapsed <= 0 {
		g.addReason(l.name, "the first period is not over")
		return
	}
	if now.sent < before.sent || now.received < before.received {
		g.addReason(l.name, "the driver's counters were reset")
		return
	}
	rate := func(now, before uint64) *uint64 {
		n := uint64(float64(now-before) * float64(l.unit) / elapsed)
		return believed(g, l.name, &n, maxRate)
	}
	to, from := l.to(a)
	*to, *from = rate(now.sent, before.sent), rate(now.received, before.received)
}
