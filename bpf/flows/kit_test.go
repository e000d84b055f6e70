package flows

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// waitTimeout is how long a test waits for what must come; it is no measure of speed.
const waitTimeout = 90 * time.Second

// trace is a running probe and what it has reported.
type trace struct {
	*testing.T
	scope *scope.Scope
	probe *Probe
	// stop ends the probe.
	stop func()

	// held is locked while the sink shall not take anything.
	held sync.Mutex

	mu     sync.Mutex
	hook   func(*event.Event)
	news   chan struct{} // closed and renewed at each event
	events []*event.Event
	groups []uint64
}

// newTrace runs a probe until the test ends.
func newTrace(t *testing.T, o Options) *trace {
	t.Helper()
	tr := newScope(t)
	tr.open(o)
	return tr
}

// newScope gives a trace without a probe yet: the test makes its sockets, then calls open.
func newScope(t *testing.T) *trace {
	t.Helper()
	bpftest.Root(t)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &trace{T: t, scope: s, news: make(chan struct{})}
}

// open runs a probe until stop is called, or the test ends.
func (tr *trace) open(o Options) {
	tr.Helper()
	o.Scope, o.CgroupRoot = tr.scope, bpftest.CgroupRoot(tr)
	if o.Interval == 0 {
		o.Interval = time.Hour // tests scan by Flush
	}
	p, err := Open(tr.Context(), o)
	if err != nil {
		bpftest.FatalLoad(tr, err)
	}
	tr.probe = p
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx, tr.sink) }()
	tr.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tr.Error(err)
		}
		if err := p.Close(); err != nil {
			tr.Error(err)
		}
	})
	tr.Cleanup(tr.stop)
}

func (tr *trace) sink(cgroup uint64, ev *event.Event) {
	tr.held.Lock()
	defer tr.held.Unlock()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.hook != nil {
		tr.hook(ev)
	}
	tr.events = append(tr.events, proto.Clone(ev).(*event.Event))
	tr.groups = append(tr.groups, cgroup)
	close(tr.news)
	tr.news = make(chan struct{})
}

// hold makes the sink block until the function that it gives is called.
func (tr *trace) hold() (release func()) {
	tr.held.Lock()
	return tr.held.Unlock
}

// onEvent has f see each event as the sink gets it.
func (tr *trace) onEvent(f func(*event.Event)) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.hook = f
}

// wanted makes a cgroup that is in scope.
func (tr *trace) wanted(name string) *bpftest.Cgroup {
	tr.Helper()
	c := bpftest.NewCgroup(tr, "orb8-flows-test/"+name)
	if err := tr.scope.SetCgroup(c.ID, true); err != nil {
		tr.Fatal(err)
	}
	return c
}

func (tr *trace) flush() {
	tr.Helper()
	ctx, cancel := context.WithTimeout(tr.Context(), waitTimeout)
	defer cancel()
	if err := tr.probe.Flush(ctx); err != nil {
		tr.Fatal(err)
	}
}

// of gives what was reported of a cgroup so far.
func (tr *trace) of(c *bpftest.Cgroup, match func(*event.Flow) bool) (all []*event.Event) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for i, ev := range tr.events {
		if tr.groups[i] == c.ID && match(ev.GetFlow()) {
			all = append(all, ev)
		}
	}
	return all
}

// last waits for an event of the cgroup that matches and gives the newest.
func (tr *trace) last(c *bpftest.Cgroup, what string, match func(*event.Flow) bool) *event.Event {
	tr.Helper()
	timeout := time.After(waitTimeout)
	for {
		tr.mu.Lock()
		news := tr.news
		tr.mu.Unlock()
		if all := tr.of(c, match); len(all) > 0 {
			return all[len(all)-1]
		}
		select {
		case <-news:
		case <-timeout:
			tr.Fatalf("no event: %s; there were:\n%s", what, tr.dump())
		}
	}
}

func (tr *trace) closed(c *bpftest.Cgroup) *event.Flow {
	tr.Helper()
	return tr.last(c, "closed", func(f *event.Flow) bool { return f.Phase == event.Phase_PHASE_CLOSED }).GetFlow()
}

// current scans and gives the newest event of the cgroup.
func (tr *trace) current(c *bpftest.Cgroup) *event.Flow {
	tr.Helper()
	tr.flush()
	return tr.last(c, "any", func(*event.Flow) bool { return true }).GetFlow()
}

func (tr *trace) dump() (s string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for i, ev := range tr.events {
		s += fmt.Sprintf("%d %v\n", tr.groups[i], ev)
	}
	return s
}

func (tr *trace) check(err error) {
	tr.Helper()
	if err != nil {
		tr.Fatal(err)
	}
}

// own gives the counters of the end a half was seen from, and fails if the other end has any.
func own(t *testing.T, f *event.Flow) *event.Counters {
	t.Helper()
	mine, other := f.SrcCounters, f.DstCounters
	if f.Observed == event.Side_SIDE_DST {
		mine, other = other, mine
	}
	if mine == nil || other != nil {
		t.Fatalf("observed %s, with counters of src %v and of dst %v", f.Observed, f.SrcCounters, f.DstCounters)
	}
	return mine
}

func hostPort(t *testing.T, e *event.Endpoint) string {
	t.Helper()
	a, ok := netip.AddrFromSlice(e.Address)
	if !ok {
		t.Fatalf("address %v", e.Address)
	}
	return netip.AddrPortFrom(a, uint16(e.Port)).String()
}

// loopback addresses of both families.
var families = map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"}

func familyNames() []string {
	names := []string{}
	for n := range families {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// pair is a TCP connection, both ends of it ours.
type pair struct {
	client, server *net.TCPConn
	listener       net.Listener
}

// connect makes a pair: the client end in one cgroup, the listener and so the server end in another.
func connect(tr *trace, client, server *bpftest.Cgroup, address string) *pair {
	tr.Helper()
	p := new(pair)
	server.Run(tr, func() {
		// Go's own listener would be an MPTCP one, which has a test of its own.
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(tr.Context(), "tcp", net.JoinHostPort(address, "0"))
		tr.check(err)
		p.listener = l
	})
	client.Run(tr, func() {
		c, err := net.Dial("tcp", p.listener.Addr().String())
		tr.check(err)
		p.client = c.(*net.TCPConn)
	})
	s, err := p.listener.Accept()
	tr.check(err)
	p.server = s.(*net.TCPConn)
	for _, c := range []io.Closer{p.client, p.server, p.listener} {
		bpftest.CloseAfter(tr, c)
	}
	return p
}

// count gives the number of entries of a map whose keys and values do not matter.
func count(tr *trace, m *ebpf.Map) (n int) {
	tr.Helper()
	key := make([]byte, m.KeySize())
	for err := m.NextKey(nil, &key); err == nil; err = m.NextKey(slices.Clone(key), &key) {
		n++
	}
	return n
}
