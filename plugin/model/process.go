package model

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// processTimeout is how long a process without events counts as running: no event may report its end.
const processTimeout = int64(15 * time.Second)

// process is the last sample of a process on GPUs.
type process struct {
	pid  uint32
	comm []byte
	// on are the devices that it is on, by UUID.
	on map[string]use
	// at is the time of the last event of its calls, ns; launches: kernels that it launches are counted.
	at       uint64
	launches bool
}

// use is of one device.
type use struct {
	name, model string
	memory      *uint64
	at          int64
}

// maxDevices bounds the devices of one process.
const maxDevices = 64

func processID(ev *event.Event) string {
	return ev.GetNode() + " pid " + strconv.FormatUint(uint64(ev.GetGpu().GetProc().GetPid()), 10)
}

// processOf finds the series of a process, or makes it.
func processOf(s *store, ev *event.Event, now int64) *series {
	p := ev.GetGpu().GetProc()
	l, made := s.seriesByID(processID(ev))
	if made || l.process == nil {
		l.process = &process{pid: p.GetPid(), on: map[string]use{}, launches: true}
	}
	k := l.process
	if comm := p.GetComm(); len(comm) > 0 && !bytes.Equal(k.comm, comm) {
		k.comm = bytes.Clone(comm)
	}
	l.live, l.last = true, max(l.last, now)
	return l
}

// identify sets the process's pod and devices from the latest sample.
func (l *series) identify(s *store, ev *event.Event, now int64) {
	k := l.process
	gpu, model := "", ""
	for uuid, d := range k.on {
		switch {
		case now-d.at > processTimeout:
			delete(k.on, uuid)
		case gpu == "":
			gpu, model = d.name, d.model
		default:
			gpu = sharedGPU
			if model != d.model {
				model = ""
			}
		}
	}
	id := identity{dims: [2]dimensions{noDimensions(), noDimensions()}, sides: 1, class: classProcess}
	f := &id.dims[0]
	f.self(
		ev.GetNamespace(), ev.GetPod(), ev.GetContainer(), ev.GetWorkload(), ev.GetNode(),
		fmt.Sprintf("%s(%d)", k.comm, k.pid),
	)
	f.set(dimName, gpu)
	f.set(dimType, model)
	l.pair = s.endpointPair(id, nobody)
}

// addProcess takes a sample of a process on one device.
func addProcess(s *store, ev *event.Event, now int64) {
	g := ev.GetGpu()
	d, p := g.GetGpu(), g.GetProc()
	if p.GetPid() == 0 {
		return
	}
	l := processOf(s, ev, now)
	if _, known := l.process.on[d.GetUuid()]; known || len(l.process.on) < maxDevices {
		u := use{name: string(event.AppendGpuName(nil, ev.GetNode(), d)), model: d.GetName(), at: now}
		if p.MemoryBytes != nil {
			n := p.GetMemoryBytes()
			u.memory = &n
		}
		l.process.on[d.GetUuid()] = u
	}
	l.identify(s, ev, now)
	var amounts [maxAmounts]uint64
	if p.SmPercent != nil {
		ns := g.GetPeriodMicros() * 1000
		amounts[gpuBusy], amounts[gpuSeen] = uint64(min(p.GetSmPercent(), 100))*(ns/100), ns
	}
	l.add(now, s.spec.amounts, amounts)
}

// addCalls adds the growth of a process's call counters since the previous event.
func addCalls(s *store, ev *event.Event, now int64) {
	g := ev.GetGpu()
	c := g.GetCalls()
	if g.GetProc().GetPid() == 0 || c == nil {
		return
	}
	l := processOf(s, ev, now)
	l.identify(s, ev, now)
	k := l.process
	preexisting := false
	if c.GetSince() > k.at { // the first time, or another process of the same number
		k.at, l.seen, preexisting = c.GetSince(), [3]uint64{}, s.isPreexisting(c.GetSince())
	}
	ns := ev.GetTime() - min(k.at, ev.GetTime())
	k.at, k.launches = ev.GetTime(), c.Launches != nil
	bytes, bytesKnown := c.Copied()
	var amounts [maxAmounts]uint64
	for i, counter := range []struct {
		at    int
		n     uint64
		known bool
	}{
		{launched, c.GetLaunches() + c.GetGraphLaunches(), k.launches}, {copied, bytes, bytesKnown},
		{synced, c.GetSyncMicros() * 1000, c.SyncMicros != nil},
	} {
		if counter.known && !preexisting {
			amounts[counter.at], amounts[counter.at+1] = counter.n-min(l.seen[i], counter.n), ns
		}
		if counter.known {
			l.seen[i] = counter.n
		}
	}
	l.add(now, s.spec.amounts, amounts)
}

// endProcess takes a process from a device; it goes with the last one.
func endProcess(s *store, ev *event.Event) {
	l := s.series[processID(ev)]
	if l == nil || l.process == nil {
		return
	}
	delete(l.process.on, ev.GetGpu().GetGpu().GetUuid())
	l.live = len(l.process.on) > 0
}

// alive reports whether the process or GPU of the series is still there.
func (l *series) alive(now int64) bool {
	return l.live && (l.process == nil || now-l.last <= processTimeout)
}

// addPart counts what a process did among what GPUs did.
func (r *sum) addPart(l *series) {
	part := sum{group: r.group, window: r.window}
	part.add(l, 0)
	for i := launched; i < gpuAmountCount; i++ {
		r.amounts[i] += part.amounts[i]
	}
	r.processes = append(r.processes, part.processes...)
}

func fillProcess(t *event.GpuTop, r *sum) {
	devices := map[string]bool{}
	for _, p := range r.processes {
		for uuid, d := range p.on {
			devices[uuid] = true
			plus(&t.MemoryUsedBytes, valueOf(d.memory), d.memory != nil)
		}
	}
	t.Gpus = uint64(len(devices))
	if len(r.processes) != 1 {
		return
	}
	p := r.processes[0]
	t.Pid, t.Comm = p.pid, p.comm
	if len(p.on) == 1 {
		for uuid := range p.on {
			t.Uuid = uuid
		}
	}
}

func valueOf(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}
