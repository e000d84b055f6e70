package resources

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

const (
	// lockPeriod is the time between two samples. It is no divisor of a second, so that samples do not always meet the
	// same part of work that is done once a second.
	lockPeriod = 190 * time.Millisecond
	// lockShare is the share of one CPU that samples may take: one in so many. maxLockPeriod bounds the effect: a
	// sample takes long, too, where other tasks leave no CPU time for the tracer.
	lockShare     = 100
	maxLockPeriod = 5 * time.Second
	// longestWait bounds the waits that are counted though they may be idle threads': each of those is counted for as
	// long once. Locks are rarely held for longer.
	longestWait = 2 * time.Second
)

// lockSampler counts threads that wait for a mutex, some times a second.
type lockSampler struct {
	iterator *bpf.Iterator

	// mu is held during a sample, and while its counters are read.
	mu sync.Mutex
	// samples is how many there were.
	samples uint64
}

// run takes samples until ctx ends.
func (s *lockSampler) run(ctx context.Context) error {
	timer := time.NewTimer(bpf.Until(lockPeriod))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		began := time.Now()
		if err := s.sample(); err != nil && !errors.Is(err, os.ErrClosed) {
			return err
		}
		timer.Reset(nextSample(time.Since(began)))
	}
}

// nextSample is the time to the next sample, after one that took a time.
func nextSample(took time.Duration) time.Duration {
	return max(bpf.Until(lockPeriod), min(lockShare*took, maxLockPeriod))
}

func (s *lockSampler) sample() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.iterator.Run(); err != nil {
		return fmt.Errorf("count threads that wait for a mutex: %w", err)
	}
	s.samples++
	return nil
}

// pre515Loaded are those of the object file for kernels before 5.15.
type pre515Loaded struct {
	objectObjects
	Enter *ebpf.Program `ebpf:"resources_enter"`
	// RegistersAt is where on its stack the registers of a task in a system call lie; 0: not known yet.
	RegistersAt *ebpf.Variable `ebpf:"registers_at"`
}

// learnRegisters has the kernel run a program at a system call of this process.
func (o *pre515Loaded) learnRegisters() (err error) {
	l, err := link.AttachTracing(link.TracingOptions{Program: o.Enter})
	if err != nil {
		return fmt.Errorf("attach %s: %w", o.Enter, err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	unix.Getppid()
	var at uint64
	if err := o.RegistersAt.Get(&at); err != nil {
		return fmt.Errorf("find the registers of sleeping threads: %w", err)
	}
	if at == 0 {
		return errors.New("find the registers of sleeping threads: no program ran at a system call")
	}
	return nil
}
