package flows

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// walker reports the sockets that have changed, each interval and when asked.
type walker struct {
	probe *Probe

	// next is when the sockets are walked again, nextPreexisting when preexisting ones may be, again when they must be.
	next, nextPreexisting, again time.Time
	// grown is what scope.Grown was when last looked at.
	grown uint64

	// number of the present walk.
	number uint64
	// swept and forgotten are what closed_total and gone_total were when last looked at; gone says that the latter has grown.
	swept, forgotten uint64
	// met is what met_total was before the last walk.
	met  uint64
	gone bool
}

// glance is how often the walker looks whether more is in scope.
const glance = 100 * time.Millisecond

func (w *walker) run(ctx context.Context) error {
	p := w.probe
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		now := time.Now()
		if err := w.findPreexisting(now); err != nil {
			return err
		}
		if w.due(now) {
			cost, err := processorTime(w.walk)
			if err != nil {
				return err
			}
			p.interval.Store(int64(max(p.options.Interval, share*cost)))
			w.next = nextWalk(now, p.Interval())
		}
		wake.Reset(bpf.Until(glance))
		select {
		case <-ctx.Done():
			return nil
		case <-wake.C:
		case done := <-p.requests:
			done <- w.flush(ctx)
		}
	}
}

// nextWalk is the next whole multiple of the interval by the wall clock: all nodes walk at the same time, so that the two
// halves of a flow that is only seen by walks meet at once and not up to an interval apart.
func nextWalk(now time.Time, interval time.Duration) time.Time {
	return now.Truncate(interval).Add(interval)
}

// due tells whether to walk now; also where the wall clock was set back.
func (w *walker) due(now time.Time) bool {
	left := w.next.Sub(now)
	return left <= 0 || left > w.probe.Interval()
}

// findPreexisting finds sockets that are older than the trace, or in scope only now, at the start and when the scope has
// grown; and once more some time later, for a connection that no process had accepted yet has no file to be found by.
func (w *walker) findPreexisting(now time.Time) error {
	grown := w.probe.options.Scope.Grown()
	again := !w.again.IsZero() && now.After(w.again)
	if !again && (grown == w.grown || now.Before(w.nextPreexisting)) {
		return nil
	}
	w.again = time.Time{}
	if grown != w.grown {
		w.again = now.Add(w.probe.options.Interval)
	}
	w.grown = grown
	cost, err := processorTime(func() error { return w.iterate(w.probe.walks.preexisting) })
	if err != nil {
		return fmt.Errorf("find preexisting sockets: %w", err)
	}
	w.nextPreexisting = now.Add(share * cost)
	w.next = now // what was found is news
	return nil
}

// processorTime tells how much of a core f has used: on a busy node the time that has passed says little.
func processorTime(f func() error) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := threadTime()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := threadTime()
	return after - before, err
}

func threadTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0, fmt.Errorf("read the thread's processor time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// walk runs every iterator once. The programs report through the ring buffer.
func (w *walker) walk() error {
	sweep, err := w.prepare()
	if err != nil {
		return fmt.Errorf("prepare a walk: %w", err)
	}
	it := &w.probe.walks
	if sweep {
		if err := w.iterate(it.sweep4, it.sweep6); err != nil {
			return fmt.Errorf("sweep closed flows: %w", err)
		}
	}
	if err := w.iterate(it.tcp, it.sockets, it.flows4, it.flows6); err != nil {
		return fmt.Errorf("walk the sockets: %w", err)
	}
	if err := w.forget(); err != nil {
		return fmt.Errorf("forget sockets that are gone: %w", err)
	}
	return nil
}

// prepare tells the programs of a new walk, and says whether there are closed flows to sweep out.
func (w *walker) prepare() (sweep bool, err error) {
	o := &w.probe.objects
	var closed, gone, met uint64
	if err := errors.Join(o.ClosedTotal.Get(&closed), o.GoneTotal.Get(&gone), o.MetTotal.Get(&met)); err != nil {
		return false, err
	}
	idle := patienceFor(w.probe.options.UDPIdle, met-w.met, w.probe.options.MaxFlows)
	w.met = met
	w.number++
	w.gone = gone != w.forgotten
	check := uint32(0)
	if w.gone {
		check = 1
	}
	w.forgotten = gone
	sweep, w.swept = closed != w.swept, closed
	return sweep, errors.Join(o.WalkNumber.Set(w.number), o.WalkNs.Set(bpf.Monotonic()), o.CheckGone.Set(check),
		o.IdleNs.Set(uint64(idle)))
}

// patienceFor is how long a flow may be silent while there are so many of them. It shrinks with the square of the room that
// is left, so that a server of many short conversations closes them earlier rather than that new ones are not counted.
func patienceFor(idle time.Duration, flows uint64, room uint32) time.Duration {
	left := max(0, 1-float64(flows)/float64(room))
	return time.Duration(float64(idle) * left * left)
}

// forget removes the sockets that were gone before this walk began: it has closed their flows.
func (w *walker) forget() error {
	if !w.gone {
		return nil
	}
	m := w.probe.objects.PacketGone
	var (
		cursor  ebpf.MapBatchCursor
		cookies [256]uint64
		numbers [256]uint64
		old     []uint64
	)
	for {
		n, err := m.BatchLookup(&cursor, cookies[:], numbers[:], nil)
		for i := range n {
			if numbers[i] < w.number {
				old = append(old, cookies[i])
			}
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		if err != nil {
			return err
		}
	}
	if len(old) == 0 {
		return nil
	}
	_, err := m.BatchDelete(old, nil)
	return err
}

func (w *walker) iterate(walks ...*bpf.Iterator) error {
	for _, one := range walks {
		if err := one.Run(); err != nil {
			return err
		}
	}
	return nil
}

// flush walks until nothing had to be put off for want of room in the ring buffer, and the sink has had everything.
func (w *walker) flush(ctx context.Context) error {
	p := w.probe
	w.nextPreexisting = time.Time{}
	if err := w.findPreexisting(time.Now()); err != nil {
		return err
	}
	for {
		before, err := p.Losses.Deferred()
		if err != nil {
			return err
		}
		if err := w.walk(); err != nil {
			return err
		}
		if err := p.Probe.Flush(ctx); err != nil {
			return fmt.Errorf("flush flows: %w", err)
		}
		after, err := p.Losses.Deferred()
		if err != nil || after == before {
			return err
		}
	}
}
