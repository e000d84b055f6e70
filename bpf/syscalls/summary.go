package syscalls

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Summary is the loaded maps and programs of the totals.
type Summary struct {
	bpf.Probe
	objects  summaryObjects
	table    *table
	scoped   *ebpf.Map
	periodic *bpf.Periodic
}

// summaryObjects are those of the object file that totals take.
type summaryObjects struct {
	SumEnter *ebpf.Program `ebpf:"sum_enter"`
	SumExit  *ebpf.Program `ebpf:"sum_exit"`
	SumGone  *ebpf.Program `ebpf:"sum_gone"`

	Calls        *ebpf.Map `ebpf:"calls"`
	Totals       *ebpf.Map `ebpf:"totals"`
	Losses       *ebpf.Map `ebpf:"losses"`
	CgroupLosses *ebpf.Map `ebpf:"cgroup_losses"`
	Shares       *ebpf.Map `ebpf:"shares"`

	Generation *ebpf.Variable `ebpf:"scope_generation"`
	ShareUsed  *ebpf.Variable `ebpf:"share_used"`
}

// OpenSummary loads the programs and attaches them. It returns a *bpf.NotSupportedError where the kernel is too old.
func OpenSummary(ctx context.Context, o Options) (*Summary, error) {
	s := &Summary{periodic: bpf.NewPeriodic(o.Interval)}
	if err := s.load(ctx, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Summary) load(ctx context.Context, o Options) (err error) {
	if s.table, err = newTable(o.Names); err != nil {
		return err
	}
	spec, err := readSpec(ctx, o)
	if err != nil {
		return err
	}
	if o.MaxTotals != 0 {
		spec.Maps[objectMapTotals].MaxEntries = o.MaxTotals
	}
	shared := o.Scope.Maps()
	s.scoped = shared[objectMapScopeCgroups]
	if err := s.Load(spec, &s.objects, shared); err != nil {
		return err
	}
	s.OnClose(follow(o.Scope, s.objects.Generation))
	if err := s.table.fill(s.objects.Calls); err != nil {
		return err
	}
	return s.Attach(s.objects.SumGone, s.objects.SumExit, s.objects.SumEnter) // in the order of Probe.load
}

// Run reports to sink until ctx ends: each interval the totals that have grown.
func (s *Summary) Run(ctx context.Context, sink bpf.Sink) error {
	t := newReporter(s, sink)
	return s.periodic.Run(ctx, func() error { return s.Scan(t.report) })
}

// Flush hands the totals to the sink of the running Run before it returns.
func (s *Summary) Flush(ctx context.Context) error { return s.periodic.Flush(ctx) }

// row is the last report of one container and call.
type row struct {
	id    string
	calls uint64
}

// reporter turns the kernel's totals into events.
type reporter struct {
	*Summary
	sink   bpf.Sink
	rows   map[objectTotalKey]*row
	perCPU []objectTotal
	gone   []objectTotalKey
	// seed keeps the ids of two nodes apart, whose cgroups have the same numbers.
	seed maphash.Seed

	ev            event.Event
	summary       event.SyscallSummary
	total         uint64
	p50, p95, p99 uint64
}

func newReporter(s *Summary, sink bpf.Sink) *reporter {
	t := &reporter{Summary: s, sink: sink, rows: make(map[objectTotalKey]*row), seed: maphash.MakeSeed()}
	t.ev.Kind = &event.Event_SyscallSummary{SyscallSummary: &t.summary}
	return t
}

// report reports the totals that have changed, and forgets those of cgroups that are observed no longer.
func (t *reporter) report(now uint64) error {
	var key objectTotalKey
	t.gone = t.gone[:0]
	for i := t.objects.Totals.Iterate(); ; {
		if !i.Next(&key, &t.perCPU) {
			if err := i.Err(); err != nil {
				return fmt.Errorf("read totals: %w", err)
			}
			break
		}
		sum := sumOf(t.perCPU)
		r := t.rows[key]
		if r == nil {
			r = &row{id: fmt.Sprintf("%016x", maphash.Comparable(t.seed, key))}
			t.rows[key] = r
		}
		if sum.Calls == r.calls {
			var yes uint32
			if errors.Is(t.scoped.Lookup(key.Cgroup, &yes), ebpf.ErrKeyNotExist) {
				t.gone = append(t.gone, key)
			}
			continue
		}
		r.calls = sum.Calls
		t.ev.Time, t.summary.Id = now, r.id
		t.fill(key.Place, &sum)
		t.sink(key.Cgroup, &t.ev)
	}
	for _, key := range t.gone {
		if err := t.objects.Totals.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget totals: %w", err)
		}
		delete(t.rows, key)
	}
	return nil
}

func (t *reporter) fill(place uint32, sum *objectTotal) {
	s, k := &t.summary, &t.table.known[place%places]
	s.Name, s.Abi = k.name, k.abi
	if s.Name == "" {
		s.Name = fmt.Sprintf("syscall_%d", place%nativeCalls)
		if place%nativeCalls == nativeCalls-1 {
			s.Name = "syscall_other"
		}
	}
	s.Calls, s.Errors, s.Timed = sum.Calls, sum.Errors, sum.Timed
	s.TotalNanos, s.P50Nanos, s.P95Nanos, s.P99Nanos = nil, nil, nil, nil
	s.Histogram = s.Histogram[:0]
	if sum.Timed > 0 {
		s.Histogram = append(s.Histogram, sum.Buckets[:]...)
		for len(s.Histogram) > 0 && s.Histogram[len(s.Histogram)-1] == 0 {
			s.Histogram = s.Histogram[:len(s.Histogram)-1]
		}
		t.total = sum.Ns
		// No call took longer than all together. So a single call has its exact duration.
		t.p50 = min(bpf.Quantile(&sum.Buckets, 50), t.total)
		t.p95, t.p99 = min(bpf.Quantile(&sum.Buckets, 95), t.total), min(bpf.Quantile(&sum.Buckets, 99), t.total)
		s.TotalNanos, s.P50Nanos, s.P95Nanos, s.P99Nanos = &t.total, &t.p50, &t.p95, &t.p99
	}
}

func sumOf(perCPU []objectTotal) (sum objectTotal) {
	for i := range perCPU {
		c := &perCPU[i]
		sum.Calls += c.Calls
		sum.Errors += c.Errors
		sum.Timed += c.Timed
		sum.Ns += c.Ns
		for j, n := range c.Buckets {
			sum.Buckets[j] += n
		}
	}
	return sum
}
