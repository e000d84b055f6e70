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

// scanner reports the sockets that have changed, each interval and when asked.
type scanner struct {
	probe *Probe

	// next is when the sockets are scanned next.
	next        time.Time
	preexisting bpf.Rescans

	// number of the present scan.
	number uint64
	// swept and forgotten are the last values of closed_total and gone_total; gone: the latter has grown.
	swept, forgotten uint64
	// met is what met_total was before the last scan.
	met  uint64
	gone bool
}

// scopeInterval is how often the scanner checks whether the scope has grown.
const scopeInterval = 100 * time.Millisecond

func (w *scanner) run(ctx context.Context) error {
	p := w.probe
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		now := time.Now()
		if err := w.findPreexisting(now); err != nil {
			return err
		}
		if w.due(now) {
			cost, err := cpuTime(w.scan)
			if err != nil {
				return err
			}
			p.interval.Store(int64(max(p.options.Interval, bpf.ScanShareAt(p.options.Interval)*cost)))
			w.next = nextScan(now, p.Interval())
		}
		wake.Reset(bpf.Until(scopeInterval))
		select {
		case <-ctx.Done():
			return nil
		case <-wake.C:
		case done := <-p.requests:
			done <- w.flush(ctx)
		}
	}
}

// nextScan is the next whole multiple of the interval by the wall clock: all nodes scan at the same time, so that the
// two halves of a flow that is only seen by scans meet at once and not up to an interval apart.
func nextScan(now time.Time, interval time.Duration) time.Time {
	return now.Truncate(interval).Add(interval)
}

// due reports whether to scan now; also where the wall clock was set back.
func (w *scanner) due(now time.Time) bool {
	left := w.next.Sub(now)
	return left <= 0 || left > w.probe.Interval()
}

// findPreexisting finds sockets that are older than the trace, or in scope only now, when that is due.
func (w *scanner) findPreexisting(now time.Time) error {
	o := &w.probe.options
	if !w.preexisting.Due(now, o.Scope.Grown(), o.Interval) {
		return nil
	}
	cost, err := cpuTime(func() error { return w.iterate(w.probe.scans.preexisting) })
	if err != nil {
		return fmt.Errorf("find preexisting sockets: %w", err)
	}
	w.preexisting.Took(now, cost)
	w.next = now // report the new sockets at once
	return nil
}

// cpuTime is the CPU time of f: on a busy node the wall time is longer.
func cpuTime(f func() error) (time.Duration, error) {
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
		return 0, fmt.Errorf("read the thread's CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// scan runs every iterator once. The programs report through the ring buffer.
func (w *scanner) scan() error {
	sweep, err := w.prepare()
	if err != nil {
		return fmt.Errorf("prepare a scan: %w", err)
	}
	it := &w.probe.scans
	if sweep {
		if err := w.iterate(it.sweep4, it.sweep6); err != nil {
			return fmt.Errorf("sweep closed flows: %w", err)
		}
	}
	if err := w.iterate(it.tcp, it.sockets); err != nil {
		return fmt.Errorf("scan the sockets: %w", err)
	}
	empty, err := w.noFlows()
	if err == nil && !empty {
		err = w.iterate(it.flows4, it.flows6)
	}
	if err != nil {
		return fmt.Errorf("scan the flows: %w", err)
	}
	if err := w.forget(); err != nil {
		return fmt.Errorf("forget sockets that are gone: %w", err)
	}
	return nil
}

// prepare sets the variables of a new scan, and reports whether there are closed flows to sweep out.
func (w *scanner) prepare() (sweep bool, err error) {
	o := &w.probe.objects
	var closed, gone, met uint64
	if err := errors.Join(o.ClosedTotal.Get(&closed), o.GoneTotal.Get(&gone), o.MetTotal.Get(&met)); err != nil {
		return false, err
	}
	idle := idleTimeout(w.probe.options.UDPIdle, met-w.met, w.probe.options.MaxFlows)
	w.met = met
	w.number++
	w.gone = gone != w.forgotten
	check := uint32(0)
	if w.gone {
		check = 1
	}
	w.forgotten = gone
	sweep, w.swept = closed != w.swept, closed
	return sweep, errors.Join(o.ScanNumber.Set(w.number), o.ScanNs.Set(bpf.Monotonic()), o.CheckGone.Set(check),
		o.IdleNs.Set(uint64(idle)))
}

// unshared is the number of scans after which the tables of flows are scanned though they seem to be empty.
const unshared = 10

// noFlows reports whether the tables of flows of UDP, ICMP and raw sockets have no entries: to scan so many buckets
// costs the same then. Entries that take_share could not count are found a little later.
func (w *scanner) noFlows() (bool, error) {
	if w.number%unshared == 0 {
		return false, nil
	}
	var used [5]int64 // SHARE_TABLES: flows4, flows6, sockets, sockets of the kernel, histograms
	err := w.probe.objects.ShareUsed.Get(&used)
	return used[0] <= 0 && used[1] <= 0, err
}

// idleTimeout is how long a flow may be idle while there are so many of them. It shrinks with the square of the room
// that is left, so that a server of many short conversations closes them earlier rather than that new ones are not
// counted.
func idleTimeout(idle time.Duration, flows uint64, room uint32) time.Duration {
	left := max(0, 1-float64(flows)/float64(room))
	return time.Duration(float64(idle) * left * left)
}

// forget removes the sockets that were gone before this scan began: it has closed their flows.
func (w *scanner) forget() error {
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

func (w *scanner) iterate(scans ...*bpf.Iterator) error {
	for _, one := range scans {
		if one == nil {
			continue
		}
		if err := one.Run(); err != nil {
			return err
		}
	}
	return nil
}

// flush scans until nothing had to be put off for want of room in the ring buffer, and the sink has had everything.
func (w *scanner) flush(ctx context.Context) error {
	p := w.probe
	w.preexisting.AllowNow()
	if err := w.findPreexisting(time.Now()); err != nil {
		return err
	}
	for {
		before, err := p.Losses.Deferred()
		if err != nil {
			return err
		}
		if err := w.scan(); err != nil {
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
