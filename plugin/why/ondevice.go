package why

import (
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/slots"
)

// Rows of a device's series.
const (
	rowUtil = iota
	rowMem
	rowSM
	rowTensor
	rowDRAM
	rowPower
	rowReceived
	rowSent
	rowNVLink
	// rowThrottleKnown is 1 at each sample with reasons for low clocks.
	rowThrottleKnown
	// rowThrottled is how much power or heat slows the device down, 0 to 1.
	rowThrottled
	// rowClock is the clock as a share of the highest, while busy.
	rowClock
	// rowDoubt is 1 where power or heat lower the clock and its highest is unknown; rowDoubtMHz is the clock then.
	rowDoubt
	rowDoubtMHz
	deviceRows
)

// powerCap is the reason for low clocks that healthy GPUs have too.
const powerCap = "power-cap"

// slowingReasons are the reasons for low clocks that cost performance.
var slowingReasons = []string{
	powerCap, "hw-slowdown", "sw-thermal", "hw-thermal", "power-brake", "board-limit", "reliability",
}

// onDeviceSample takes a sample of a device.
func (w *Watch) onDeviceSample(n *node, ev *event.Event, g *event.Gpu) {
	d := w.device(n, ev, g)
	if d == nil {
		return
	}
	from, to := slots.SamplePeriod(ev.GetTime(), g.GetPeriodMicros())
	add := func(row int, v float64) { n.clock.Add(&d.series, row, from, to, v) }
	d.samples++
	d.lost = false
	d.addUsers(g.GetUsedBy())
	d.foreign = g.Processes != nil && g.OwnProcesses != nil && g.GetProcesses() > g.GetOwnProcesses()
	if a := g.GetActivity(); a != nil {
		addActivity(a, add)
	}
	if h := g.GetHealth(); h != nil {
		w.onHealth(d, h, add, g.GetActivity())
	}
	for name := range strings.SplitSeq(g.GetAllocatedTo(), ",") {
		if p := w.podByName(name); p != nil && !slices.Contains(p.allocated, d) && len(p.allocated) < maxNames {
			p.allocated = append(p.allocated, d)
		}
	}
	for _, name := range d.users {
		if p := w.podByName(name + "/"); p != nil {
			p.addDevice(d)
			if p.node == "" {
				p.node = ev.GetNode()
			}
		}
	}
}

func addActivity(a *event.GpuActivity, add func(row int, v float64)) {
	if a.GpuPercent != nil {
		add(rowUtil, float64(a.GetGpuPercent())/100)
	}
	if a.MemoryPercent != nil {
		add(rowMem, float64(a.GetMemoryPercent())/100)
	}
	for i, p := range [...]*float64{a.SmPercent, a.TensorPercent, a.DramPercent} {
		if p != nil {
			add(rowSM+i, *p/100)
		}
	}
	for i, p := range [...]*uint64{a.PcieReceivedPerSecond, a.PcieSentPerSecond} {
		if p != nil {
			add(rowReceived+i, float64(*p))
		}
	}
	if a.NvlinkReceivedPerSecond != nil && a.NvlinkSentPerSecond != nil {
		add(rowNVLink, float64(*a.NvlinkReceivedPerSecond)+float64(*a.NvlinkSentPerSecond))
	}
}

// onHealth takes the clocks, power and errors of a sample.
func (w *Watch) onHealth(d *device, h *event.GpuHealth, add func(int, float64), a *event.GpuActivity) {
	if h.PowerMilliwatts != nil && h.GetPowerLimitMilliwatts() > 0 {
		add(rowPower, float64(h.GetPowerMilliwatts())/float64(h.GetPowerLimitMilliwatts()))
	}
	if t := h.TemperatureCelsius; t != nil && (d.temperature == nil || *t > *d.temperature) {
		d.temperature = slots.CopyOf(t)
	}
	if ecc := slots.CounterOf(h.EccUncorrected); ecc.Known {
		if !d.leastECC.Known || ecc.Value < d.leastECC.Value {
			d.leastECC = ecc
		}
		d.lastECC = ecc
	}
	if mhz := h.GetSmMhz(); mhz > w.highestMHz[d.name] && (w.highestMHz[d.name] != 0 || len(w.highestMHz) < maxNames) {
		w.highestMHz[d.name] = mhz
	}
	if h.GetThrottle() != "" {
		d.addThrottle(h, add, a == nil || a.GpuPercent == nil || a.GetGpuPercent() > 0)
	}
}

// addThrottle takes the reasons for low clocks of a sample.
func (d *device) addThrottle(h *event.GpuHealth, add func(int, float64), busy bool) {
	clock := nan
	if h.SmMhz != nil && h.GetMaxSmMhz() > 0 {
		clock = float64(h.GetSmMhz()) / float64(h.GetMaxSmMhz())
	}
	slowed, certain := false, false
	for word := range strings.SplitSeq(h.GetThrottle(), ",") {
		if !slices.Contains(slowingReasons, word) {
			continue
		}
		slowed = true
		certain = certain || word != powerCap
		if !slices.Contains(d.throttles, word) && len(d.throttles) < maxNames {
			d.throttles = append(d.throttles, word)
		}
	}
	add(rowThrottleKnown, 1)
	if !slowed || known(clock) || certain {
		add(rowDoubt, 0)
	}
	if h.GetThrottle() != "idle" && known(clock) && busy {
		add(rowClock, min(clock, 1))
	}
	switch {
	case !slowed:
		add(rowThrottled, 0)
	case known(clock):
		add(rowThrottled, ramp(clock, clockHealthy, clockThrottled))
	case certain:
		add(rowThrottled, 1)
	default:
		// A healthy GPU at its power limit reports the same, and by how much the clock is lowered is unknown.
		add(rowDoubt, 1)
		if h.SmMhz != nil {
			add(rowDoubtMHz, float64(h.GetSmMhz()))
		}
	}
}
