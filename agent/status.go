package agent

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/agent/export"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// hello returns the head of an answer, with its version in seen.
func (a *agent) hello() (h *orbit.AgentHello, version uint64) {
	h = &orbit.AgentHello{
		Protocol: orbit.Protocol, Version: a.Version, Node: a.Node, Instance: a.Instance, BootId: a.BootID,
		Reach: a.history.Status().Oldest, Time: nowNs(),
	}
	version = a.seen.describe(h)
	a.mu.Lock()
	defer a.mu.Unlock()
	h.Kinds = a.kinds
	return h, version
}

// status describes the agent.
func (a *agent) status() *orbit.AgentStatus {
	kept := a.history.Status()
	events, lost := a.feed.totals()
	h, _ := a.hello()
	s := &orbit.AgentStatus{
		Hello: h, Started: uint64(a.started.UnixNano()), Kernel: a.Release, Events: events, Lost: lost,
		History: &orbit.HistoryStatus{Events: kept.Events, Bytes: uint64(kept.Bytes),
			LimitBytes: uint64(kept.LimitBytes), Oldest: kept.Oldest, Newest: kept.Newest},
		CpuMicros: cpuMicros(), MemoryBytes: residentBytes(), Export: exportStatus(a.export.Status()),
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.ConfigError, s.Warnings = a.configError, slices.Clone(a.warnings)
	return s
}

// exportStatus returns nil if nothing was ever exported.
func exportStatus(s export.Status) *orbit.ExportStatus {
	if s.Endpoint == "" && s.Queued == 0 && s.Points.Queued == 0 {
		return nil
	}
	return &orbit.ExportStatus{Endpoint: s.Endpoint, Queued: s.Queued, Sent: s.Sent, Lost: s.Lost,
		LostBy: lostBy(&s.Totals), Pending: s.Pending, QueueBytes: s.QueueBytes, LimitBytes: s.LimitBytes,
		LastSent: unixNano(s.LastSent), Error: s.Error, FailingSince: unixNano(s.FailingSince),
		Points: pointsStatus(&s.Points)}
}

// pointsStatus returns nil if no metrics were ever exported.
func pointsStatus(t *export.Totals) *orbit.PointsStatus {
	if t.Queued == 0 && t.Error == "" {
		return nil
	}
	return &orbit.PointsStatus{Queued: t.Queued, Sent: t.Sent, Lost: t.Lost, LostBy: lostBy(t), Pending: t.Pending,
		LastSent: unixNano(t.LastSent), Error: t.Error, FailingSince: unixNano(t.FailingSince)}
}

// lostBy returns what was lost by its reasons, without those that have lost nothing.
func lostBy(t *export.Totals) map[string]uint64 {
	by := reasonsOf(t)
	maps.DeleteFunc(by, func(_ string, n uint64) bool { return n == 0 })
	return by
}

// unixNano returns ns since the Unix epoch; 0 for the zero time.
func unixNano(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

// cpuMicros is the CPU time of this process.
func cpuMicros() uint64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return uint64(time.Duration(usage.Utime.Nano()+usage.Stime.Nano()) / time.Microsecond)
}

// residentBytes is the resident set of this process: the second field of proc_pid_statm(5), in pages.
func residentBytes() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
