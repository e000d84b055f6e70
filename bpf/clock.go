package bpf

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Clock turns the kernel's monotonic time, which BPF programs read, into wall-clock time. It is safe for concurrent
// use.
type Clock struct {
	// offset is CLOCK_REALTIME - CLOCK_MONOTONIC in ns.
	offset atomic.Int64
	// set is when that was found out, by Monotonic.
	set atomic.Uint64
}

// NewClock returns a clock that has been set.
func NewClock() (*Clock, error) {
	c := new(Clock)
	return c, c.Set()
}

// Set compares the two clocks anew. Call it now and then: the wall clock may be stepped, or drift.
func (c *Clock) Set() error {
	// The wall clock is read between two readings of the other. The tightest of some tries was interrupted by nothing.
	offset, width := int64(0), int64(math.MaxInt64)
	for range 8 {
		before, err := now(unix.CLOCK_MONOTONIC)
		if err != nil {
			return err
		}
		wall, err := now(unix.CLOCK_REALTIME)
		if err != nil {
			return err
		}
		after, err := now(unix.CLOCK_MONOTONIC)
		if err != nil {
			return err
		}
		if after-before < width {
			offset, width = wall-(before+(after-before)/2), after-before
		}
	}
	c.offset.Store(offset)
	c.set.Store(Monotonic())
	return nil
}

// setInterval is how often Keep sets the clock.
const setInterval = 10 * time.Second

// Keep sets the clock unless that was done less than setInterval ago. Callers call it now and then.
func (c *Clock) Keep() error {
	if Monotonic()-c.set.Load() <= uint64(setInterval) {
		return nil
	}
	return c.Set()
}

// Wall returns ns since the Unix epoch for ns of CLOCK_MONOTONIC; 0 stays 0, which means unknown.
func (c *Clock) Wall(monotonic uint64) uint64 {
	if monotonic == 0 {
		return 0
	}
	return uint64(int64(monotonic) + c.offset.Load())
}

// origin is one moment by both the kernel's clock and the process's own, which needs no system call and runs alike.
var origin = sync.OnceValue(func() (o struct {
	monotonic uint64
	process   time.Time
}) {
	// Read first, it is not later than the other: what Monotonic returns has passed.
	t, err := now(unix.CLOCK_MONOTONIC)
	if err != nil {
		panic(err) // no Linux is without
	}
	o.monotonic, o.process = uint64(t), time.Now()
	return o
})

// Monotonic returns the present ns of CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns, or a little less.
func Monotonic() uint64 {
	o := origin()
	return o.monotonic + uint64(time.Since(o.process))
}

// Until is the time to the next whole multiple of an interval by CLOCK_MONOTONIC. All periodic work runs at such times,
// together, so that an idle tracer wakes its node seldom.
func Until(interval time.Duration) time.Duration {
	return interval - time.Duration(Monotonic()%uint64(interval))
}

// Boottime returns the present ns of CLOCK_BOOTTIME, the clock of processes' start times.
func Boottime() (uint64, error) {
	t, err := now(unix.CLOCK_BOOTTIME)
	return uint64(t), err
}

func now(clock int32) (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("read clock %d: %w", clock, err)
	}
	return t.Nano(), nil
}
