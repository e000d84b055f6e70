package bpf_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
)

const (
	noWakeup    = 1 // BPF_RB_NO_WAKEUP
	forceWakeup = 2 // BPF_RB_FORCE_WAKEUP
)

// ringer is a ring buffer and a program that puts the first 8 bytes of a packet into it.
type ringer struct {
	*bpf.Ring
	program *ebpf.Program
}

// putInstructions put the first 8 bytes of a packet into the ring buffer that load takes into R1.
func putInstructions(load asm.Instruction, flags int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R7, 0), asm.StoreMem(asm.R10, -8, asm.R7, asm.DWord),
		asm.Mov.Imm(asm.R2, 0), // behind the Ethernet header that a test run wants
		asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -8),
		asm.Mov.Imm(asm.R4, 8),
		asm.FnSkbLoadBytes.Call(),
		load,
		asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -8),
		asm.Mov.Imm(asm.R3, 8),
		asm.Mov.Imm(asm.R4, flags),
		asm.FnRingbufOutput.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
}

func newRinger(t *testing.T, flags int32) *ringer {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	if err != nil {
		t.Fatal(err)
	}
	bpftest.CloseAfter(t, m)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "ring", Type: ebpf.SocketFilter, License: "GPL",
		Instructions: putInstructions(asm.LoadMapPtr(asm.R1, m.FD()), flags),
	})
	if err != nil {
		t.Fatal(err)
	}
	bpftest.CloseAfter(t, p)
	r, err := bpf.OpenRing(m)
	if err != nil {
		t.Fatal(err)
	}
	bpftest.CloseAfter(t, r)
	return &ringer{r, p}
}

func (r *ringer) put(t *testing.T, n uint64) {
	t.Helper()
	packet := make([]byte, 64)
	binary.NativeEndian.PutUint64(packet[14:], n)
	if _, err := r.program.Run(&ebpf.RunOptions{Data: packet}); err != nil {
		t.Fatal(err)
	}
}

// read reads until the test ends. got receives the records, and passed the time of each pass, unless it is full.
func (r *ringer) read(t *testing.T, interval time.Duration, eager bool) (got, passed chan uint64) {
	t.Helper()
	got, passed = make(chan uint64, 100), make(chan uint64, 1)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- r.Read(ctx, bpf.Reading{
			Interval: interval, Eager: eager,
			Record: func(raw []byte) error { got <- binary.NativeEndian.Uint64(raw); return nil },
			Empty: func(now uint64) error {
				select {
				case passed <- now:
				default:
				}
				return nil
			},
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	return got, passed
}

func expect(t *testing.T, got chan uint64, want uint64) {
	t.Helper()
	select {
	case n := <-got:
		if n != want {
			t.Errorf("got %d, want %d", n, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%d did not come", want)
	}
}

func TestRing_ReadsAtTheInterval(t *testing.T) {
	r := newRinger(t, noWakeup)
	got, passed := r.read(t, 50*time.Millisecond, false)
	first := <-passed
	r.put(t, 1)
	expect(t, got, 1)
	for {
		if later := <-passed; later > first {
			break
		}
	}
}

func TestRing_KernelWakesReader(t *testing.T) {
	for name, flags := range map[string]int32{"by need": 0, "always": forceWakeup} {
		t.Run(name, func(t *testing.T) {
			r := newRinger(t, flags)
			got, _ := r.read(t, time.Hour, true)
			for n := range uint64(2000) { // some of them arrive between a pass and the wait
				r.put(t, n)
				if n%2 == 1 {
					expect(t, got, n-1)
					expect(t, got, n)
				}
			}
		})
	}
}

func TestRing_FlushDeliversEverything(t *testing.T) {
	r := newRinger(t, noWakeup)
	got, passed := r.read(t, time.Hour, false)
	<-passed
	for n := range uint64(1000) {
		r.put(t, n)
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case have := <-got:
			if have != n {
				t.Fatalf("got %d, want %d", have, n)
			}
		default:
			t.Fatalf("flushed without %d", n)
		}
	}
}

func TestRing_FlushWithoutReaderTimesOut(t *testing.T) {
	r := newRinger(t, noWakeup)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := r.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestRing_CloseEndsReader(t *testing.T) {
	r := newRinger(t, noWakeup)
	passed := make(chan struct{}, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- r.Read(t.Context(),
			bpf.Reading{Interval: time.Hour, Empty: func(uint64) error { passed <- struct{}{}; return nil }})
	}()
	<-passed
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("ended with %v, want %v", err, os.ErrClosed)
	}
}

func TestRing_RecordErrorEndsReader(t *testing.T) {
	r := newRinger(t, noWakeup)
	r.put(t, 1)
	bad := errors.New("bad")
	err := r.Read(t.Context(), bpf.Reading{Interval: time.Hour, Record: func([]byte) error { return bad }})
	if !errors.Is(err, bad) {
		t.Errorf("ended with %v", err)
	}
}

// endless reads a ring into which each record that is read puts the next one, so that it is never empty.
func endless(t *testing.T) (r *ringer, end context.CancelFunc, ended chan error) {
	t.Helper()
	r = newRinger(t, noWakeup)
	r.put(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	started := make(chan struct{})
	n := uint64(0)
	go func() {
		ended <- r.Read(ctx, bpf.Reading{
			Interval: time.Millisecond, Eager: true,
			Record: func([]byte) error {
				if n++; n == 1 {
					close(started)
				}
				r.put(t, n)
				return nil
			},
			Empty: func(uint64) error { return nil },
		})
	}()
	<-started
	return r, cancel, ended
}

func TestRing_FlushReturnsUnderLoad(t *testing.T) {
	r, cancel, ended := endless(t)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	for range 3 {
		if err := r.Flush(ctx); err != nil {
			t.Error(err)
			break
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the reader did not end")
	}
}

func TestRing_ContextEndsReaderUnderLoad(t *testing.T) {
	_, cancel, ended := endless(t)
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the reader did not end")
	}
}
