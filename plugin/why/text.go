package why

import (
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/lines"
)

// AppendText appends a verdict for people: a block of lines, safe for a terminal. Names in the namespace of the session
// stand without it.
func AppendText(dst []byte, ev *event.Event, namespace string) []byte {
	v := ev.GetGpuVerdict()
	verdict := v.GetWords()
	if verdict == "" {
		verdict = "nothing could be seen of what its GPUs do"
	}
	line := func(label, text string) { dst = lines.Append(dst, label, text) }
	dst = append(
		safe.AppendText(dst, lines.Name(ev, namespace)+", "+plural.Count(v.GetGpus(), "GPU")+": "+verdict),
		'\n',
	)
	if v.GetConfidence() != event.Confidence_CONFIDENCE_UNKNOWN {
		line("confidence", v.GetConfidence().Word())
		line("time", timeOf(v))
	}
	e := v.GetEvidence()
	for _, part := range []struct {
		label  string
		facts  lines.Facts
		source string
		none   string
	}{
		{"GPU", gpuFacts(e), "NVML and GPM", "not told by the driver"},
		{"driver", callFacts(e), "uprobes at libcuda", "calls are not counted"},
		{"host", hostFacts(e), "cgroup, scheduler, block layer", "not seen"},
		{"network", networkFacts(e), "flows", "not seen"},
	} {
		text := part.none
		if len(part.facts) > 0 {
			text = strings.Join(part.facts, ", ") + " (" + part.source + ")"
		}
		line(part.label, text)
	}
	if v.Second != nil && v.GetApart() != "" {
		line("tell apart", v.GetVerdict().Word()+" and "+v.GetSecond().Word()+": "+v.GetApart())
	}
	if v.GetMissing() != "" {
		line("not known", v.GetMissing())
	}
	line("window", lines.Window(v.GetWindowMicros(), v.GetLost()))
	return dst
}

// timeOf lists the causes by their shares.
func timeOf(v *event.GpuVerdict) string {
	s := make([]float64, causeCount)
	for c := range s {
		s[c] = v.GetShares().Of(event.GpuCause(c))
	}
	return lines.Shares[event.GpuCause](s)
}

func gpuFacts(e *event.GpuEvidence) (f lines.Facts) {
	f.Percent("a kernel ran", e.GpuPercent)
	f.Percent("SM", e.SmPercent)
	f.Percent("tensor", e.TensorPercent)
	f.Percent("DRAM", e.DramPercent)
	f.Percent("memory busy", e.MemoryPercent)
	f.Percent("power", e.PowerPercent)
	f.Percent("clock", e.ClockPercent)
	if e.ThrottledPercent != nil && e.GetThrottledPercent() >= 1 && e.GetThrottle() != "" {
		f.Percent("slowed down by "+e.GetThrottle(), e.ThrottledPercent)
	}
	if e.TemperatureCelsius != nil {
		f = append(f, strconv.FormatUint(e.GetTemperatureCelsius(), 10)+"°C")
	}
	if e.MemoryHeldBytes != nil {
		f = append(f, string(event.AppendBytes(nil, e.GetMemoryHeldBytes()))+" held")
	}
	f.BytesPerSecond("PCIe in", e.PcieReceivedPerSecond)
	f.BytesPerSecond("out", e.PcieSentPerSecond)
	if e.GetXids() != "" {
		f = append(f, "XID "+e.GetXids())
	}
	if e.GetEccUncorrected() > 0 {
		f = append(f, strconv.FormatUint(e.GetEccUncorrected(), 10)+" more ECC errors not corrected")
	}
	if e.PeersLeastPercent != nil && e.PeersMostPercent != nil {
		f = append(
			f,
			"the workload's GPUs worked "+strconv.FormatFloat(
				*e.PeersLeastPercent, 'f', 0, 64,
			)+" to "+strconv.FormatFloat(*e.PeersMostPercent, 'f', 0, 64)+"%",
		)
	}
	return f
}

func callFacts(e *event.GpuEvidence) (f lines.Facts) {
	f.Rate(e.LaunchesPerSecond, " launches/s")
	if e.GetGraphsPerSecond() > 0 {
		f.Rate(e.GraphsPerSecond, " graphs/s")
	}
	f.BytesPerSecond("copied", e.CopiedPerSecond)
	f.Percent("threads in copies", e.CopyPercent)
	f.Percent("in synchronisation", e.SyncPercent)
	f.Rate(e.SyncsPerSecond, " synchronisations/s")
	if e.GetCollectivesPerSecond() > 0 {
		f.Rate(e.CollectivesPerSecond, " collectives/s")
	}
	if e.WaitingMicros != nil && e.GetWaitingMicros() > 1_000_000 {
		f = append(f, "one has waited "+string(event.AppendMicros(nil, e.GetWaitingMicros())))
	}
	return f
}

func hostFacts(e *event.GpuEvidence) (f lines.Facts) {
	f.CPU("CPU ", e.CpuMillis, e.CpuLimitMillis)
	f.Percent("held back in", e.CpuThrottledPercent)
	f.Percent("pressure CPU", e.CpuPressurePercent)
	f.Percent("I/O", e.IoPressurePercent)
	f.Rate(e.RunQueue, " tasks wait for a CPU")
	f.BytesPerSecond("read", e.ReadPerSecond)
	return f
}

func networkFacts(e *event.GpuEvidence) (f lines.Facts) {
	f.BytesPerSecond("received", e.NetworkReceivedPerSecond)
	if e.GetPeerReceivedPerSecond() > 0 {
		f.BytesPerSecond("from the workload's pods", e.PeerReceivedPerSecond)
	}
	if e.GetRetransmitsPerSecond() > 0 {
		f.Rate(e.RetransmitsPerSecond, " segments/s retransmitted")
	}
	return f
}
