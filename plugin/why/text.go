package why

import (
	"strconv"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// worthALine is the share, in percent, from which on a cause is listed.
const worthALine = 2

// AppendText appends a verdict for people: a block of lines, safe for a terminal. Names in the namespace of the session
// stand without it.
func AppendText(dst []byte, ev *event.Event, namespace string) []byte {
	v := ev.GetGpuVerdict()
	name := ev.GetNamespace() + "/" + ev.GetPod()
	if namespace != "" && ev.GetNamespace() == namespace {
		name = ev.GetPod()
	}
	if v.GetWorkload() != "" {
		name += " (" + v.GetWorkload() + ")"
	}
	if ev.GetNode() != "" {
		name += " on " + ev.GetNode()
	}
	verdict := v.GetWords()
	if verdict == "" {
		verdict = "nothing could be seen of what its GPUs do"
	}
	line := func(label, text string) {
		dst = append(dst, "  "...)
		dst = append(dst, label...)
		for range max(12-len(label), 1) {
			dst = append(dst, ' ')
		}
		dst = append(safe.AppendText(dst, text), '\n')
	}
	dst = append(safe.AppendText(dst, name+", "+plural.Count(v.GetGpus(), "GPU")+": "+verdict), '\n')
	if v.GetConfidence() != event.GpuConfidence_GPU_CONFIDENCE_UNKNOWN {
		line("confidence", v.GetConfidence().Word())
		line("time", timeOf(v))
	}
	e := v.GetEvidence()
	for _, part := range []struct {
		label  string
		facts  facts
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
	lost := "nothing lost"
	if v.GetLost() > 0 {
		lost = plural.Count(v.GetLost(), "event") + " of the node lost"
	}
	line("window", (time.Duration(v.GetWindowMicros())*time.Microsecond).Round(100*time.Millisecond).String()+"; "+lost)
	return dst
}

// timeOf lists the causes by their shares.
func timeOf(v *event.GpuVerdict) string {
	s := make([]float64, causeCount)
	for c := range s {
		s[c] = v.GetShares().Of(event.GpuCause(c))
	}
	var parts []string
	for _, c := range engine.Rank[event.GpuCause](s) {
		if s[c] >= worthALine {
			parts = append(parts, c.Word()+" "+strconv.FormatFloat(s[c], 'f', 0, 64)+"%")
		}
	}
	return strings.Join(parts, ", ")
}

// facts are the known numbers, with their names.
type facts []string

// percent adds a percentage with its name, if it is known.
func (f *facts) percent(name string, x *float64) {
	if x != nil {
		*f = append(*f, name+" "+strconv.FormatFloat(*x, 'f', 0, 64)+"%")
	}
}

// rate adds a number with its unit, if it is known.
func (f *facts) rate(x *float64, unit string) {
	if x != nil {
		*f = append(*f, string(event.AppendRate(nil, *x))+unit)
	}
}

// bytesPerSecond adds a rate with its name, if it is known.
func (f *facts) bytesPerSecond(name string, x *float64) {
	if x != nil {
		*f = append(*f, name+" "+string(event.AppendBytes(nil, uint64(max(*x, 0))))+"/s")
	}
}

func gpuFacts(e *event.GpuEvidence) (f facts) {
	f.percent("a kernel ran", e.GpuPercent)
	f.percent("SM", e.SmPercent)
	f.percent("tensor", e.TensorPercent)
	f.percent("DRAM", e.DramPercent)
	f.percent("memory busy", e.MemoryPercent)
	f.percent("power", e.PowerPercent)
	f.percent("clock", e.ClockPercent)
	if e.ThrottledPercent != nil && e.GetThrottledPercent() >= 1 && e.GetThrottle() != "" {
		f.percent("slowed down by "+e.GetThrottle(), e.ThrottledPercent)
	}
	if e.TemperatureCelsius != nil {
		f = append(f, strconv.FormatUint(e.GetTemperatureCelsius(), 10)+"°C")
	}
	if e.MemoryHeldBytes != nil {
		f = append(f, string(event.AppendBytes(nil, e.GetMemoryHeldBytes()))+" held")
	}
	f.bytesPerSecond("PCIe in", e.PcieReceivedPerSecond)
	f.bytesPerSecond("out", e.PcieSentPerSecond)
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

func callFacts(e *event.GpuEvidence) (f facts) {
	f.rate(e.LaunchesPerSecond, " launches/s")
	if e.GetGraphsPerSecond() > 0 {
		f.rate(e.GraphsPerSecond, " graphs/s")
	}
	f.bytesPerSecond("copied", e.CopiedPerSecond)
	f.percent("threads in copies", e.CopyPercent)
	f.percent("in synchronisation", e.SyncPercent)
	f.rate(e.SyncsPerSecond, " synchronisations/s")
	if e.GetCollectivesPerSecond() > 0 {
		f.rate(e.CollectivesPerSecond, " collectives/s")
	}
	if e.WaitingMicros != nil && e.GetWaitingMicros() > 1_000_000 {
		f = append(f, "one has waited "+string(event.AppendMicros(nil, e.GetWaitingMicros())))
	}
	return f
}

func hostFacts(e *event.GpuEvidence) (f facts) {
	if e.CpuMillis != nil {
		limit := " without a limit"
		if e.CpuLimitMillis != nil {
			limit = " of " + strconv.FormatUint(e.GetCpuLimitMillis(), 10) + "m"
		}
		f = append(f, "CPU "+strconv.FormatFloat(e.GetCpuMillis(), 'f', 0, 64)+"m"+limit)
	}
	f.percent("held back in", e.CpuThrottledPercent)
	f.percent("pressure CPU", e.CpuPressurePercent)
	f.percent("I/O", e.IoPressurePercent)
	f.rate(e.RunQueue, " tasks wait for a CPU")
	f.bytesPerSecond("read", e.ReadPerSecond)
	return f
}

func networkFacts(e *event.GpuEvidence) (f facts) {
	f.bytesPerSecond("received", e.NetworkReceivedPerSecond)
	if e.GetPeerReceivedPerSecond() > 0 {
		f.bytesPerSecond("from the workload's pods", e.PeerReceivedPerSecond)
	}
	if e.GetRetransmitsPerSecond() > 0 {
		f.rate(e.RetransmitsPerSecond, " segments/s retransmitted")
	}
	return f
}
