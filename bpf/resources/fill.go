package resources

import (
	"math"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// fill writes the event of a container: what it is at, and how that differs from an interval of so many ns ago.
func (w *watcher) fill(k *watched, interval uint64, u *usage, waited *waits, io *objectBlockIo) {
	r, was := &w.r, &k.usage
	r.Reset()
	r.Id, r.IntervalMicros = k.id, ptr(interval/1000)

	r.Cpu = &event.ResourcesCPU{
		Micros: micros(u.cpuNs), LimitMillis: u.cpuLimitMilli, Periods: u.periods, ThrottledPeriods: u.throttled,
		ThrottledMicros: micros(u.throttledNs), NodePercent: w.node.percent,
	}
	if n, ok := grown(u.cpuNs, was.cpuNs); ok {
		r.Cpu.Millis = ptr(share(n, interval, 1000))
	}
	if periods, ok := grown(u.periods, was.periods); ok && periods > 0 {
		if throttled, ok := grown(u.throttled, was.throttled); ok {
			r.Cpu.ThrottledPercent = ptr(min(share(throttled, periods, 100), 100))
		}
	}

	r.RunQueue = &event.ResourcesRunQueue{Runs: ptr(waited.runs), DelayMicros: ptr(waited.ns / 1000)}
	if b := since(&waited.buckets, &k.waits.buckets); waited.runs > k.waits.runs {
		r.RunQueue.P50Nanos, r.RunQueue.P95Nanos, r.RunQueue.P99Nanos = ptr(bpf.Quantile(&b, 50)),
			ptr(bpf.Quantile(&b, 95)), ptr(bpf.Quantile(&b, 99))
	}

	r.Memory = &event.ResourcesMemory{Bytes: u.memory, WorkingSetBytes: u.workingSet, LimitBytes: u.memoryLimit,
		PeakBytes: u.peak, OomKills: u.oomKills}
	if u.workingSet != nil && u.memoryLimit != nil && *u.memoryLimit > 0 {
		r.Memory.Percent = ptr(share(*u.workingSet, *u.memoryLimit, 100))
	}

	pressure := func(now, before *uint64) *uint64 {
		n, ok := grown(now, before)
		if !ok {
			return nil
		}
		return ptr(min(share(n*1000, interval, 100), 100)) // the kernel's periods are not quite ours
	}
	r.Pressure = &event.ResourcesPressure{
		CpuSomeMicros: u.cpuSome, CpuSomePercent: pressure(u.cpuSome, was.cpuSome),
		MemorySomeMicros: u.memorySome, MemorySomePercent: pressure(u.memorySome, was.memorySome),
		MemoryFullMicros: u.memoryFull, MemoryFullPercent: pressure(u.memoryFull, was.memoryFull),
		IoSomeMicros: u.ioSome, IoSomePercent: pressure(u.ioSome, was.ioSome),
		IoFullMicros: u.ioFull, IoFullPercent: pressure(u.ioFull, was.ioFull),
	}

	if samples := waited.samples - k.waits.samples; samples > 0 {
		waiters := float64(waited.forLocks-k.waits.forLocks) / float64(samples)
		k.lockMicros += waiters * float64(interval) / 1000
		r.Locks = &event.ResourcesLocks{Waiters: &waiters, WaitedMicros: ptr(uint64(k.lockMicros))}
	}

	if u.listenOverflows != nil {
		r.Network = &event.ResourcesNetwork{ListenOverflows: u.listenOverflows}
	}

	if k.block != 0 {
		reads, writes := &io.Ways[0], &io.Ways[1]
		r.Io = &event.ResourcesIO{
			ReadRequests: &reads.Requests, ReadBytes: &reads.Bytes, ReadMicros: micros(&reads.Ns),
			ReadDeviceMicros: micros(&reads.DeviceNs),
			WriteRequests:    &writes.Requests, WriteBytes: &writes.Bytes, WriteMicros: micros(&writes.Ns),
			WriteDeviceMicros: micros(&writes.DeviceNs),
		}
		r.Io.ReadP50Nanos, r.Io.ReadP99Nanos = quantiles(since(&reads.Buckets, &k.io.Ways[0].Buckets))
		r.Io.WriteP50Nanos, r.Io.WriteP99Nanos = quantiles(since(&writes.Buckets, &k.io.Ways[1].Buckets))
	}
}

// quantiles are the median and the 99th percentile, nil of nothing.
func quantiles(b [buckets]uint64) (p50, p99 *uint64) {
	if b == ([buckets]uint64{}) {
		return nil, nil
	}
	return ptr(bpf.Quantile(&b, 50)), ptr(bpf.Quantile(&b, 99))
}

func since(now, before *[buckets]uint64) (diff [buckets]uint64) {
	for i := range diff {
		diff[i] = now[i] - before[i]
	}
	return diff
}

// grown is how much a counter has grown. ok is false where it is not known.
func grown(now, before *uint64) (n uint64, ok bool) {
	if now == nil || before == nil {
		return 0, false
	}
	// Some of the kernel's counters are summed from several CPUs while they count, and may seem to go back a little.
	return *now - min(*before, *now), true
}

// share is part of whole in so many parts, rounded.
func share(part, whole, parts uint64) uint64 {
	return uint64(math.Round(float64(part) * float64(parts) / float64(whole)))
}

func micros(ns *uint64) *uint64 {
	if ns == nil {
		return nil
	}
	return ptr(*ns / 1000)
}
