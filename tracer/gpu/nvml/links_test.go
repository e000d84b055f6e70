//go:build linux && cgo

package nvml

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// readLinksByCounters reads GPUs without GPM, as before Hopper.
func readLinksByCounters(t *testing.T, driver *fakes.NVML) {
	script := func(lines ...string) {
		driver.Script(t, "node", append([]string{"devices 2", "0.uuid GPU-0", "1.uuid GPU-1", "1.field.197 5",
			"1.field.198 5"}, lines...)...)
	}
	script("0.field.197 1000", "0.field.198 2000", "0.field.138 10", "0.field.139 20")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var first, grown, other *event.Gpu
	var timings Timings
	if err := Run(ctx, driver.Library, 50*time.Millisecond, &timings, func(ev *event.Event) error {
		g := ev.GetGpu()
		switch {
		case g.GetType() != event.GpuEventType_GPU_EVENT_TYPE_DEVICE:
		case g.GetGpu().GetUuid() == "GPU-1":
			other = g
		case first == nil:
			first = g
			script("0.field.197 4001000", "0.field.198 8002000", "0.field.138 1010", "0.field.139 4020")
		case grown == nil && g.GetActivity().GetPcieSentPerSecond() > 0:
			grown = g
		case grown != nil:
			cancel()
		}
		return nil
	}); err != nil || first == nil || grown == nil || other == nil {
		t.Fatalf("%v; %v, %v, %v", err, first, grown, other)
	}
	if a := first.GetActivity(); a.PcieSentPerSecond != nil || a.NvlinkSentPerSecond != nil ||
		!strings.Contains(first.GetUnavailable(), "the first period is not over: pcie, nvlink") {
		t.Errorf("at first: %v", first)
	}
	// All four have grown in the same time; those of NVLink count KiB.
	a := grown.GetActivity()
	base := float64(a.GetPcieSentPerSecond())
	for name, is := range map[string][2]float64{
		"PCIe, received":   {float64(a.GetPcieReceivedPerSecond()), 2},
		"NVLink, sent":     {float64(a.GetNvlinkSentPerSecond()), 0.256},
		"NVLink, received": {float64(a.GetNvlinkReceivedPerSecond()), 1.024},
	} {
		if ratio := is[0] / base; ratio < is[1]*0.999 || ratio > is[1]*1.001 {
			t.Errorf("%s is %g of PCIe, sent; want %g", name, ratio, is[1])
		}
	}
	if a := other.GetActivity(); a.NvlinkSentPerSecond != nil || !strings.Contains(other.GetUnavailable(), "nvlink") ||
		a.PcieSentPerSecond == nil || *a.PcieSentPerSecond != 0 {
		t.Errorf("without NVLink: %v", other)
	}
}

func TestCounters_UnusableValuesGiveNoRates(t *testing.T) {
	value := func(kind nvml.ValueType, n uint64, ret nvml.Return) nvml.FieldValue {
		v := nvml.FieldValue{ValueType: uint32(kind), NvmlReturn: uint32(ret)}
		binary.NativeEndian.PutUint64(v.Value[:], n)
		return v
	}
	const long = nvml.VALUE_TYPE_UNSIGNED_LONG_LONG
	for _, test := range []struct {
		name                    string
		before                  counters
		sent, received          nvml.FieldValue
		message                 string
		never, known, forgotten bool
	}{
		{"rates", counters{at: time.Unix(1, 0), sent: 1000, received: 1000}, value(long, 3000, 0), value(long, 1000, 0),
			"", false, true, false},
		{"at first", counters{}, value(long, 3000, 0), value(long, 1000, 0), "the first period is not over: nvlink",
			false, false, false},
		{"reset", counters{at: time.Unix(1, 0), sent: 5000}, value(long, 3000, 0), value(long, 1000, 0),
			"the driver's counters were reset: nvlink", false, false, false},
		{"of 32 bits", counters{at: time.Unix(1, 0)}, value(nvml.VALUE_TYPE_UNSIGNED_INT, 3000, 0),
			value(nvml.VALUE_TYPE_UNSIGNED_INT, 1000, 0), "has 32 bits", false, false, true},
		{"of another type", counters{at: time.Unix(1, 0)}, value(nvml.VALUE_TYPE_DOUBLE, 3000, 0), value(long, 1000, 0),
			"an unknown type", false, false, true},
		{"not there", counters{at: time.Unix(1, 0)}, value(long, 3000, 0), value(long, 0, nvml.ERROR_NOT_SUPPORTED),
			"not supported: nvlink", true, false, true},
		{"refused", counters{at: time.Unix(1, 0)}, value(long, 3000, nvml.ERROR_NO_PERMISSION), value(long, 0, 0),
			"nvlink", false, false, true},
		{"more than can be", counters{at: time.Unix(1, 0)}, value(long, 1<<60, 0), value(long, 1<<60, 0),
			"which cannot be: nvlink", false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var a event.GpuActivity
			var g gaps
			c := test.before
			c.read(&links[1], time.Unix(3, 0), test.sent, test.received, &a, &g)
			if got := g.String(); test.message == "" && got != "" || !strings.Contains(got, test.message) {
				t.Errorf("got %q, want %q", got, test.message)
			}
			if (c.never != "") != test.never || (a.NvlinkSentPerSecond != nil) != test.known ||
				(a.NvlinkReceivedPerSecond != nil) != test.known || (c.at != time.Unix(3, 0)) != test.forgotten {
				t.Errorf("%+v, %v", c, &a)
			}
			if test.known && (*a.NvlinkSentPerSecond != 1024*1000 || *a.NvlinkReceivedPerSecond != 0) {
				t.Errorf("%v", &a)
			}
		})
	}
}
