package bpf

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Ring reads a BPF ring buffer and waits for it in the runtime's poller.
//
// ringbuf.Reader waits in epoll_wait, a system call that keeps the P of its goroutine; the runtime's monitor thread
// then checks it every 20 µs for up to 10 ms. With a wait each 50 ms that made some 600 switches of threads a second
// on a node that had nothing to report, and requests of busy neighbours a third slower at the 99th percentile.
type Ring struct {
	reader *ringbuf.Reader
	// file is the ring's map once more, for the runtime to poll.
	file *os.File
	conn syscall.RawConn
	// size is that of the ring, in bytes.
	size int
	// woken: the process itself wants the reader to read.
	woken  atomic.Bool
	closed atomic.Bool
	// mapped is held for reading while the reader's memory is in use, and for writing when it is unmapped:
	// AvailableBytes takes no lock of its own.
	mapped sync.RWMutex
	mu     sync.Mutex
	// flushes are closed after the next pass.
	flushes []chan struct{}
}

// RingSize is the next size at or above bytes that the kernel takes for a ring buffer: a power of two of at least a
// page.
func RingSize(bytes uint32) uint32 { return max(uint32(os.Getpagesize()), 1<<bits.Len32(bytes-1)) }

// OpenRing opens the ring buffer m, which stays the caller's to close, after the Ring.
func OpenRing(m *ebpf.Map) (*Ring, error) {
	r := new(Ring)
	if err := r.open(m); err != nil {
		return nil, fmt.Errorf("open the ring buffer %s: %w", m, errors.Join(err, r.Close()))
	}
	return r, nil
}

func (r *Ring) open(m *ebpf.Map) (err error) {
	if r.reader, err = ringbuf.NewReader(m); err != nil {
		return err
	}
	r.size = r.reader.BufferSize()
	// With a deadline that has passed it never waits.
	r.reader.SetDeadline(time.Unix(1, 0))
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or the runtime would not poll it
		return errors.Join(err, unix.Close(fd))
	}
	r.file = os.NewFile(uintptr(fd), "ringbuf")
	r.conn, err = r.file.SyscallConn()
	return err
}

// Reading is how a Ring is read. Its functions are called one at a time.
type Reading struct {
	// Interval is how often the ring is read although the kernel does not wake the reader, at the times of Until.
	Interval time.Duration
	// Eager is for programs that wake the reader for each record; else records that come while it reads wait for the
	// next pass.
	Eager bool
	// Record takes a record, which is valid only during the call.
	Record func(raw []byte) error
	// Undecoded counts the records for which Record fails; nil: the first such error ends Read.
	Undecoded *atomic.Uint64
	// Empty gets a time of CLOCK_MONOTONIC each time that all that was in the ring by then has been handed over.
	Empty func(monotonic uint64) error
}

// Read reads until ctx ends; then it returns nil.
func (r *Ring) Read(ctx context.Context, how Reading) error {
	stop := context.AfterFunc(ctx, r.wake)
	defer stop()
	var rec ringbuf.Record
	for ctx.Err() == nil {
		r.mu.Lock()
		flushes := r.flushes
		r.flushes = nil
		r.mu.Unlock()
		now := Monotonic()
		if err := r.pass(&rec, how.Record, how.Undecoded); err != nil {
			return err
		}
		if err := how.Empty(now); err != nil {
			return err
		}
		for _, done := range flushes {
			close(done)
		}
		if err := r.wait(how.Interval, how.Eager); err != nil {
			return err
		}
	}
	return nil
}

// headerBytes stand before each record, which starts at a multiple of them.
const headerBytes = 8

// pass hands over what is in the ring as it begins, and no more than about that: where a producer never stops,
// flushes, the watermark and the end of the context must not wait for it. A pass that has begun is finished, so that
// what was in the ring is not lost.
func (r *Ring) pass(rec *ringbuf.Record, record func(raw []byte) error, undecoded *atomic.Uint64) error {
	// Records that a program has discarded count for nothing here, and the pass then takes some more.
	for left := r.available(); left > 0 && r.available() > 0; {
		err := r.reader.ReadInto(rec)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		if err := record(rec.RawSample); err != nil {
			if undecoded == nil {
				return err
			}
			undecoded.Add(1)
		}
		left -= headerBytes + (len(rec.RawSample)+headerBytes-1)/headerBytes*headerBytes
	}
	return nil
}

// available is how many bytes of records there are; of a closed ring there are none.
func (r *Ring) available() int {
	r.mapped.RLock()
	defer r.mapped.RUnlock()
	if r.closed.Load() {
		return 0
	}
	return r.reader.AvailableBytes()
}

// crowded reports whether so much is in the ring that the programs wake the reader (submit_to in bpf/lib/ring.h).
// What comes during a pass wakes nobody.
func (r *Ring) crowded() bool { return r.available() > r.size/4 }

// wait returns after the interval, or when the kernel or somebody else wakes it.
func (r *Ring) wait(interval time.Duration, eager bool) error {
	err := r.file.SetReadDeadline(time.Now().Add(Until(interval)))
	if err == nil {
		polled := false
		err = r.conn.Read(func(uintptr) bool {
			if polled {
				return true
			}
			polled = true
			// What has come since the last pass has woken nobody.
			return r.woken.Swap(false) || r.crowded() || eager && r.available() > 0
		})
	}
	if r.closed.Load() {
		// Callers cannot recognise the runtime's own error, which both calls return.
		return fmt.Errorf("wait for the ring buffer: %w", os.ErrClosed)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("wait for the ring buffer: %w", err)
	}
	return nil
}

// wake ends the present wait, or the next one.
func (r *Ring) wake() {
	r.woken.Store(true)
	_ = r.file.SetReadDeadline(time.Unix(1, 0)) // a closed one waits no more
}

// Flush returns when all that is in the ring now has been handed over by the running Read.
func (r *Ring) Flush(ctx context.Context) error {
	done := make(chan struct{})
	r.mu.Lock()
	r.flushes = append(r.flushes, done)
	r.mu.Unlock()
	r.wake()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends a running Read with an error.
func (r *Ring) Close() error {
	r.closed.Store(true)
	var errs []error
	if r.file != nil {
		errs = append(errs, r.file.Close())
	}
	if r.reader != nil {
		r.mapped.Lock()
		defer r.mapped.Unlock()
		errs = append(errs, r.reader.Close())
	}
	return errors.Join(errs...)
}
