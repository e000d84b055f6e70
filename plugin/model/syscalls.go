package model

import "github.com/orb8-dev/kubectl-orb8/event"

// The amounts of a series of top syscalls.
const (
	calls = iota
	callErrors
	nanos
)

func syscallsTopic() *Topic {
	return &Topic{
		Name: "syscalls", Sources: []string{"syscallSummary"}, Row: event.KindByName("syscallTop"), Sort: "totalNanos",
		Groups: groups(&Group{Name: "syscall", Doc: "a system call", dims: []dim{dimName}}),
		Into:   []string{"namespace", "workload", "pod", "syscall"},
		Lines: []Line{
			{Name: "calls", Type: event.Count, measure: calls},
			{Name: "errors", Type: event.Count, measure: callErrors},
			{Name: "time", Type: event.Nanos, measure: nanos},
		},
		spec: topicSpec{amounts: 3, own: 3, flip: unflipped, doubled: -1, add: addSyscalls, fill: fillSyscalls},
	}
}

func addSyscalls(s *store, ev *event.Event, now int64) bool {
	c := ev.GetSyscallSummary()
	if c == nil {
		return false
	}
	l, made := s.seriesByID(c.GetId())
	// The container may get its name after its first calls.
	if sign := len(ev.GetContainer()) + len(ev.GetPod())<<10; made || l.signature != sign {
		l.signature = sign
		id := identity{dims: [2]dimensions{noDimensions(), noDimensions()}, sides: 1}
		f := &id.dims[0]
		f.self(ev.GetNamespace(), ev.GetPod(), ev.GetContainer(), ev.GetWorkload(), ev.GetNode(), "")
		f.set(dimName, c.GetName())
		l.pair = s.endpointPair(id, nobody)
	}
	preexisting := made && s.isPreexisting(0)
	var amounts [maxAmounts]uint64
	for i, n := range [...]uint64{calls: c.GetCalls(), callErrors: c.GetErrors(), nanos: c.GetTotalNanos()} {
		if !preexisting {
			amounts[i] = n - min(n, l.seen[i])
		}
		l.seen[i] = n
	}
	l.add(now, s.spec.amounts, amounts)
	if l.latencies == nil && len(c.GetHistogram()) > 0 {
		l.latencies = new(latencies)
		l.counted = make([]uint64, buckets)
	}
	for i, n := range c.GetHistogram() {
		if i >= buckets {
			break
		}
		if n > l.counted[i] && !preexisting {
			l.latencies.add(now, i, float32(n-l.counted[i]))
		}
		l.counted[i] = max(n, l.counted[i])
	}
	return true
}

func fillSyscalls(ev *event.Event, r *sum) {
	k, _ := ev.GetKind().(*event.Event_SyscallTop)
	if k == nil {
		k = &event.Event_SyscallTop{SyscallTop: new(event.SyscallTop)}
		ev.Kind = k
	}
	t := k.SyscallTop
	t.Group, t.Name, t.WindowMicros, t.Workload = r.group.Name, r.name(), r.windowMicros(), r.workload()
	t.Syscall = r.dimensions[dimName].Value()
	t.Calls, t.CallsPerSecond, t.Errors = whole(r.amounts[calls]), r.perSecond(calls), whole(r.amounts[callErrors])
	t.TotalNanos, t.BusyPercent = whole(r.amounts[nanos]), r.perSecond(nanos)/1e7
	t.P50Nanos, t.P95Nanos, t.P99Nanos = r.quantile(50, 1), r.quantile(95, 1), r.quantile(99, 1)
}
