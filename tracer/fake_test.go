package tracer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// fakeKernel is a machine with one pod of one container, and a probe that reports what the test emits.
type fakeKernel struct {
	root      string // a directory in the place of the cgroup mount
	app       uint64 // the container's cgroup
	scope     *fakeScope
	source    *fakeSource
	openError error
	// incomplete: the source has incomplete records, which only its last flush reports.
	incomplete bool
}

const (
	podUID      = "0f7a5c2e-8b1d-4f7e-9a33-5d2f6f0b9c11"
	containerID = "1111111111111111111111111111111111111111111111111111111111111111"
)

func newFakeKernel(t *testing.T) *fakeKernel {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "kubepods", "pod"+podUID, containerID)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(dir, &stat); err != nil {
		t.Fatal(err)
	}
	return &fakeKernel{
		root:   root,
		app:    stat.Ino,
		scope:  &fakeScope{cgroups: make(map[uint64]bool), failures: make(chan error)},
		source: &fakeSource{cgroup: stat.Ino, orders: make(chan order)},
	}
}

func (k *fakeKernel) CgroupRoot() (string, error) { return k.root, nil }

func (k *fakeKernel) OpenScope(string) (Scope, error) { return k.scope, nil }

func (k *fakeKernel) Kinds() []string { return []string{"flow"} }

func (k *fakeKernel) OpenSource(context.Context, string, SourceOptions) (Source, error) {
	if k.openError != nil {
		return nil, k.openError
	}
	if k.incomplete {
		return incompleteSource{k.source}, nil
	}
	return k.source, nil
}

// fakeScope remembers what is in scope.
type fakeScope struct {
	mu       sync.Mutex
	cgroups  map[uint64]bool
	closed   bool
	failures chan error
}

func (s *fakeScope) SetPod([16]byte, bool) error { return nil }

func (s *fakeScope) SetCgroup(id uint64, target bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cgroups[id] = target
	return nil
}

func (s *fakeScope) has(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cgroups[id]
}

func (s *fakeScope) Run(ctx context.Context, _ func(pods.Cgroup)) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failures:
		return err
	}
}

func (s *fakeScope) Lost() []bpf.Loss { return nil }

func (s *fakeScope) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// fakeSource emits the flows of orders, and one flow with the cookie lastCookie at each flush except the first.
type fakeSource struct {
	cgroup uint64 // cgroup of the flow that a flush emits
	swept  atomic.Bool
	orders chan order
	mu     sync.Mutex
	lost   []bpf.Loss
	closed bool
}

type order struct {
	cgroup      uint64
	first, last uint64 // socket cookies
	done        chan struct{}
	fail        error
}

const lastCookie = 1 << 40

func (s *fakeSource) Run(ctx context.Context, sink Sink) error {
	ev := &event.Event{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-s.orders:
			if o.fail != nil {
				return o.fail
			}
			for cookie := o.first; cookie <= o.last; cookie++ {
				*ev = event.Event{Time: nowNs(), Kind: &event.Event_Flow{Flow: sampleFlow(cookie)}}
				sink(o.cgroup, ev)
			}
			close(o.done)
		}
	}
}

// emit makes the source emit flows with these socket cookies, and waits for them.
func (s *fakeSource) emit(cgroup, first, last uint64) {
	o := order{cgroup: cgroup, first: first, last: last, done: make(chan struct{})}
	s.orders <- o
	<-o.done
}

func (s *fakeSource) fail(err error) { s.orders <- order{fail: err} }

func (s *fakeSource) Flush(ctx context.Context) error {
	if s.swept.CompareAndSwap(false, true) {
		return nil
	}
	o := order{cgroup: s.cgroup, first: lastCookie, last: lastCookie, done: make(chan struct{})}
	select {
	case s.orders <- o:
		<-o.done
		return nil
	case <-ctx.Done():
		return errors.New("nobody runs")
	}
}

// incompleteSource emits its last flow only in FlushLast.
type incompleteSource struct{ *fakeSource }

func (s incompleteSource) Flush(context.Context) error { return nil }

func (s incompleteSource) FlushLast(ctx context.Context) error {
	s.swept.Store(true)
	return s.fakeSource.Flush(ctx)
}

func (s *fakeSource) Lost() []bpf.Loss {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]bpf.Loss(nil), s.lost...)
}

func (s *fakeSource) Watermark() uint64 { return nowNs() }

func (s *fakeSource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
