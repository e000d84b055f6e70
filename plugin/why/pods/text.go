package pods

import (
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/lines"
)

// AppendText appends a verdict for people: a block of lines, safe for a terminal. Names in the namespace of the
// session stand without it.
func AppendText(dst []byte, ev *event.Event, namespace string) []byte {
	v, e := ev.GetPodVerdict(), ev.GetPodVerdict().GetEvidence()
	verdict := v.GetWords()
	if verdict == "" {
		verdict = "nothing could be seen of it"
	}
	dst = append(safe.AppendText(dst, lines.Name(ev, namespace)+": "+verdict), '\n')
	if v.GetConfidence() != event.Confidence_CONFIDENCE_UNKNOWN {
		percent := make([]float64, event.PodCauseCount)
		for c := range percent {
			percent[c] = v.Share(event.PodCause(c))
		}
		dst = lines.Append(dst, "confidence", v.GetConfidence().Word())
		dst = lines.Append(dst, "shares", lines.Shares[event.PodCause](percent))
	}
	for _, part := range []struct {
		label string
		facts lines.Facts
	}{
		{"CPU", cpuFacts(e)}, {"locks", lockFacts(e)}, {"memory", memoryFacts(e)}, {"disk", diskFacts(e)},
		{"DNS", dnsFacts(e)}, {"responses", responseFacts(e)}, {"connections", connectionFacts(e)},
		{"processes", processFacts(e)}, {"Kubernetes", kubernetesFacts(e)},
	} {
		if len(part.facts) > 0 {
			dst = lines.Append(dst, part.label, strings.Join(part.facts, ", "))
		}
	}
	if v.Second != nil && v.GetApart() != "" {
		dst = lines.Append(dst, "tell apart", v.GetVerdict().Word()+" and "+v.GetSecond().Word()+": "+v.GetApart())
	}
	if v.GetMissing() != "" {
		dst = lines.Append(dst, "not known", v.GetMissing())
	}
	if v.GetWindowMicros() > 0 {
		dst = lines.Append(dst, "window", lines.Window(v.GetWindowMicros(), v.GetLost()))
	}
	if v.GetNext() != "" {
		dst = lines.Append(dst, "next", v.GetNext())
	}
	return dst
}

func cpuFacts(e *event.PodEvidence) (f lines.Facts) {
	f.CPU("", e.CpuMillis, e.CpuLimitMillis)
	f.Percent("throttled in", e.CpuThrottledPercent)
	f.Percent("waits for a CPU", e.CpuWaitPercent)
	f.Percent("the node's CPUs are busy", e.NodeCpuPercent)
	return f
}

func lockFacts(e *event.PodEvidence) (f lines.Facts) {
	const few = 0.1 // threads
	if e.GetLockWaiters() >= few {
		f.Rate(e.LockWaiters, " threads wait for a mutex, at a time")
	}
	return f
}

// wait adds the share of time with waits, if there were any.
func wait(f *lines.Facts, percent *float64) {
	if percent != nil && *percent >= 0.5 {
		f.Percent("waits for it", percent)
	}
}

func memoryFacts(e *event.PodEvidence) (f lines.Facts) {
	if e.MemoryBytes != nil {
		limit := " without a limit"
		if e.MemoryLimitBytes != nil {
			limit = " of " + string(event.AppendBytes(nil, e.GetMemoryLimitBytes()))
		}
		f.Add(string(event.AppendBytes(nil, e.GetMemoryBytes())) + limit)
	}
	wait(&f, e.MemoryPressurePercent)
	f.Count(e.GetOomKills(), "OOM kills")
	if e.GetOomProcess() != "" {
		f.Add("killed " + e.GetOomProcess())
	}
	return f
}

func diskFacts(e *event.PodEvidence) (f lines.Facts) {
	wait(&f, e.IoPressurePercent)
	if e.IoMeanMicros != nil {
		f.Add("a request takes " + string(event.AppendMicros(nil, e.GetIoMeanMicros())))
	}
	return f
}

func dnsFacts(e *event.PodEvidence) (f lines.Facts) {
	if e.GetDnsQueries() == 0 {
		return nil
	}
	f.Count(e.GetDnsQueries(), "lookups")
	if e.DnsMedianMicros != nil {
		f.Add("median " + string(event.AppendMicros(nil, e.GetDnsMedianMicros())))
	}
	f.Count(e.GetDnsUnanswered(), "unanswered")
	f.Count(e.GetDnsFailed(), "failed")
	f.Count(e.GetDnsNotFound(), "NXDOMAIN")
	f.Count(e.GetDnsWasted(), "of them by the search path")
	if e.GetDnsName() != "" {
		f.Add("most for " + e.GetDnsName())
	}
	return f
}

func responseFacts(e *event.PodEvidence) (f lines.Facts) {
	if e.GetResponses() == 0 {
		return nil
	}
	f.Add(strconv.FormatUint(e.GetResponses(), 10) + " of " + e.GetWaitedFor())
	f.Add("median " + string(event.AppendMicros(nil, e.GetResponseP50Micros())))
	f.Add("p99 " + string(event.AppendMicros(nil, e.GetResponseP99Micros())))
	f.Percent("waited in", e.ResponseWaitPercent)
	return f
}

func connectionFacts(e *event.PodEvidence) (f lines.Facts) {
	f.Count(e.GetAttempts(), "attempts")
	f.Count(e.GetRefused(), "refused")
	f.Count(e.GetUnanswered(), "unanswered")
	f.Count(e.GetNoPortLeft(), "without a local port")
	f.Count(e.GetResets(), "reset by peers")
	f.Count(e.GetQueueDrops(), "packets of clients dropped for a full queue")
	f.Count(e.GetPolicyDrops(), "packets dropped by rules of a firewall")
	if e.GetSegments() > 0 {
		f.Add(strconv.FormatUint(e.GetRetransmits(), 10) + " of " + strconv.FormatUint(e.GetSegments(), 10) +
			" segments retransmitted")
	}
	return f
}

func processFacts(e *event.PodEvidence) (f lines.Facts) {
	f.Count(e.GetCrashes(), "crashes")
	if e.GetLastEnd() != "" {
		f.Add("last end: " + e.GetLastEnd())
	}
	if e.GetLastError() != "" {
		f.Add("after " + e.GetLastError())
	}
	return f
}

func kubernetesFacts(e *event.PodEvidence) (f lines.Facts) {
	f.Count(e.GetRestarts(), "restarts")
	f.Count(e.GetProbeFailures(), "failed probes")
	f.Add(e.GetMessage())
	return f
}
