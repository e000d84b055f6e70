package why

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Limits on what is added up of untrusted numbers.
const (
	maxHeldBytes = 1 << 60
	maxCPUMillis = 1 << 40 // of one container
)

// addEvidence fills in the numbers of the window.
func (w *Watch) addEvidence(e *event.GpuEvidence, p *pod, devices []*podDevice) {
	addDeviceEvidence(e, devices)
	w.addDeviceErrors(e, devices)
	addCallEvidence(e, p.processes)
	w.addPodEvidence(e, p)
}

// collect lists the known values of a number, one per device.
func collect(devices []*podDevice, number func(*podDevice) float64) (list []float64) {
	for _, s := range devices {
		if x := number(s); known(x) {
			list = append(list, x)
		}
	}
	return list
}

func addDeviceEvidence(e *event.GpuEvidence, devices []*podDevice) {
	whole := func(row int) []float64 {
		return collect(devices, func(s *podDevice) float64 { return s.device.series.Whole(row) })
	}
	percent := func(row int) *float64 {
		list := whole(row)
		return number(100 * total(list...) / float64(max(len(list), 1)))
	}
	sum := func(row int) *float64 { return number(total(whole(row)...)) }
	e.GpuPercent, e.MemoryPercent = percent(rowUtil), percent(rowMem)
	e.SmPercent, e.TensorPercent, e.DramPercent = percent(rowSM), percent(rowTensor), percent(rowDRAM)
	e.PowerPercent, e.ClockPercent = percent(rowPower), percent(rowClock)
	e.PcieReceivedPerSecond, e.PcieSentPerSecond, e.NvlinkPerSecond = sum(rowReceived), sum(rowSent), sum(rowNVLink)
	middle := func(s *podDevice) float64 { return s.throttled(s.clock.Seen() / 2) }
	if len(collect(devices, middle)) == 0 {
		return
	}
	var throttled []float64
	for _, s := range devices {
		for slot := range s.clock.Seen() {
			if x := s.throttled(slot); known(x) {
				throttled = append(throttled, x)
			}
		}
	}
	e.ThrottledPercent = number(100 * total(throttled...) / float64(max(len(throttled), 1)))
}

// addDeviceErrors fills in the errors of the devices, and the reasons for their low clocks.
func (w *Watch) addDeviceErrors(e *event.GpuEvidence, devices []*podDevice) {
	var throttles, xids []string
	var grown uint64
	ecc := false
	for _, s := range devices {
		for _, d := range []*device{s.device, w.parentOf(s.device)} {
			if d == nil {
				continue
			}
			throttles = append(throttles, d.throttles...)
			for _, x := range d.xids {
				xids = append(xids, fmt.Sprint(x))
			}
			if d.temperature != nil {
				e.TemperatureCelsius = proto.Uint64(max(e.GetTemperatureCelsius(), uint64(*d.temperature)))
			}
			n, _ := d.lastECC.Growth(d.leastECC)
			grown, ecc = grown+n, ecc || d.lastECC.Known
		}
	}
	slices.Sort(throttles)
	slices.Sort(xids)
	e.Throttle, e.Xids = strings.Join(slices.Compact(throttles), ","), strings.Join(slices.Compact(xids), ",")
	if ecc {
		e.EccUncorrected = &grown
	}
}

func addCallEvidence(e *event.GpuEvidence, processes []*process) {
	e.Processes = proto.Uint64(uint64(len(processes)))
	sum := func(row int) float64 {
		x := nan
		for _, r := range processes {
			x = total(x, r.series.Whole(row))
		}
		return x
	}
	threads := 100 / float64(max(len(processes), 1))
	e.LaunchesPerSecond, e.GraphsPerSecond = number(sum(rowLaunches)), number(sum(rowGraphs))
	e.SyncsPerSecond, e.CollectivesPerSecond = number(sum(rowSyncs)), number(sum(rowCollectives))
	e.CopyPercent, e.SyncPercent = number(sum(rowCopy)*threads), number(sum(rowSync)*threads)
	e.CopiedPerSecond = number(total(sum(rowHostToDevice), sum(rowDeviceToHost), sum(rowOtherBytes)))
	held, heldKnown := uint64(0), false
	for _, r := range processes {
		if r.waiting > 0 {
			e.WaitingMicros = proto.Uint64(max(e.GetWaitingMicros(), r.waiting))
		}
		for _, n := range r.held {
			held, heldKnown = min(held+min(n, maxHeldBytes), maxHeldBytes), true
		}
	}
	if heldKnown {
		e.MemoryHeldBytes = &held
	}
}

// addPodEvidence fills in what the pod's containers and flows use of the node.
func (w *Watch) addPodEvidence(e *event.GpuEvidence, p *pod) {
	sum := func(row int) float64 { return p.sum(row, 0, w.slots) }
	percent := func(row int) *float64 { return number(100 * p.most(row, 0, w.slots)) }
	e.CpuMillis = number(1000 * sum(rowCPU))
	limit, limited := uint64(0), len(p.containers) > 0
	for _, c := range p.containers {
		if c.limit == nil {
			limited = false
			break
		}
		limit += min(*c.limit, maxCPUMillis)
	}
	if limited {
		e.CpuLimitMillis = &limit
	}
	e.CpuThrottledPercent, e.CpuPressurePercent = percent(rowCPUThrottled), percent(rowPSICPU)
	e.IoPressurePercent, e.MemoryPressurePercent = percent(rowPSIIO), percent(rowPSIMemory)
	e.RunQueue, e.ReadPerSecond = number(sum(rowRunQueue)), number(sum(rowRead))
	if n := w.nodes[p.node]; n != nil && w.flowsTraced {
		rate := func(row int) *float64 { return number(n.clock.Rate(&p.series, row, 0, w.slots)) }
		e.NetworkReceivedPerSecond, e.PeerReceivedPerSecond = rate(rowNet), rate(rowPeer)
		e.RetransmitsPerSecond = rate(rowRetransmits)
	}
}

// number is nil where x is not known.
func number(x float64) *float64 {
	if !known(x) {
		return nil
	}
	return &x
}
