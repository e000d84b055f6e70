package export

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// pipes is a listener of connections in memory.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipes() *pipes {
	p := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

// dial is a dialer.
func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.accept <- far:
		return near, nil
	case <-p.closed:
	case <-ctx.Done():
	}
	return nil, net.ErrClosed
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error { p.close(); return nil }

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// stall is a collector that answers nothing while it is stalled.
type stall struct {
	*collector
	*pipes
	stalled bool // the collector's lock guards it
}

func newStall(t *testing.T, protocol string) *stall {
	t.Helper()
	s := &stall{pipes: newPipes()}
	s.collector = newCollector(func(int) answer { return answer{stall: s.stalled} })
	s.counting = true
	if protocol == exportconfig.ProtocolGRPC {
		s.serve(t, s.pipes, nil)
		return s
	}
	server := &http.Server{Handler: http.HandlerFunc(s.handle)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(s.pipes) }) // until it is closed
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })
	return s
}

// export runs an exporter to the collector, with the pauses that agents have.
func (s *stall) export(t *testing.T, c *Config, metrics Gatherer) *running {
	t.Helper()
	e := New(Options{Node: "node-1", Version: "v1", Metrics: metrics, Log: slog.New(slog.DiscardHandler)})
	e.dialContext = s.dial
	return e.running(t, c)
}

func (s *stall) set(stalled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = stalled
}

// producer makes events at a rate, each with a time of its own.
type producer struct {
	batch    [][]byte
	produced uint64
}

const (
	eventRate  = 5000 // per second
	eventPause = 100 * time.Millisecond
)

func newProducer(t *testing.T) *producer {
	p := &producer{}
	for i := range eventRate / int(time.Second/eventPause) {
		p.batch = append(p.batch, dns(t, i))
	}
	return p
}

// run observes events for a time.
func (p *producer) run(e *Exporter, d time.Duration) {
	for range d / eventPause {
		for _, ev := range p.batch {
			p.produced++
			binary.LittleEndian.PutUint64(ev[1:], p.produced) // the time is the first field
		}
		e.Observe(p.batch)
		time.Sleep(eventPause)
	}
}

// TestExporter_StalledForTenMinutes holds that a collector which answers nothing for ten minutes costs the memory that
// docs/otlp.md promises, and no more with time; that each event and point is delivered or counted as lost, exactly; and
// that delivery goes on afterwards. Time is virtual.
func TestExporter_StalledForTenMinutes(t *testing.T) {
	for _, protocol := range []string{exportconfig.ProtocolGRPC, exportconfig.ProtocolHTTP} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testStall(t, protocol) })
		})
	}
}

func testStall(t *testing.T, protocol string) {
	const workloads, minutes = 1000, 10
	endpoint := map[string]string{exportconfig.ProtocolGRPC: "127.0.0.1:4317",
		exportconfig.ProtocolHTTP: "http://127.0.0.1:4318"}[protocol]
	config := newConfig(t, endpoint, func(c *Config) {
		c.Signals = []string{exportconfig.SignalLogs, exportconfig.SignalMetrics}
	})
	c := newStall(t, protocol)
	metrics := &registry{workloads: workloads}
	running := c.export(t, config, metrics)
	e := running.Exporter
	p := newProducer(t)

	p.run(e, 10*time.Second)
	if s := e.Status(); s.Lost != 0 || s.Sent == 0 || s.Points.Sent != workloads {
		t.Fatalf("before: %+v", s)
	}
	before := heap()
	c.set(true)
	var heaps []uint64
	for range minutes {
		p.run(e, time.Minute)
		heaps = append(heaps, heap())
		if s := e.Status(); s.QueueBytes > s.LimitBytes+chunkBytes || s.Points.Pending > workloads || s.Error == "" ||
			s.Queued != p.produced || s.Sent+s.Lost+s.Pending != s.Queued {
			t.Errorf("%d events: %+v", p.produced, s)
		}
	}
	t.Logf("heap before %d, at the end of each minute %d", before, heaps)
	if most := slices.Max(heaps); most > before+uint64(3*config.QueueBytes+6*config.BatchBytes) {
		t.Errorf("the heap grew from %d to %d bytes", before, most)
	}
	// 135 MB of events come in half of the time, and 15 requests of 512 KiB.
	if early, late := slices.Max(heaps[:minutes/2]), slices.Max(heaps[minutes/2:]); late > early+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes while nothing was answered", early, late)
	}
	stalled := e.Status()
	if stalled.LostBy[Overflow] == 0 || stalled.LostBy[Expired] == 0 || stalled.Points.LostBy[Replaced] == 0 {
		t.Errorf("lost %+v", stalled)
	}

	c.set(false)
	recovered := time.Now()
	p.run(e, 10*time.Second)
	time.Sleep(2 * time.Minute)
	running.stop()
	s := e.Status()
	received, reported := c.count()
	if s.Queued != p.produced || s.Pending != 0 || s.Sent+s.Lost != s.Queued || s.Sent != uint64(received) ||
		s.Lost != reported || s.Sent <= stalled.Sent+eventRate*10 {
		t.Errorf("%d events, %d received, %d reported as lost: %+v", p.produced, received, reported, s)
	}
	t.Logf("%d events: %d delivered, %d lost", p.produced, s.Sent, s.Lost)
	checkSnapshots(t, c.collector, metrics, s.Points, recovered)
}

// checkSnapshots holds that no snapshot was sent in whose place there was a newer one.
func checkSnapshots(t *testing.T, c *collector, r *registry, s Totals, recovered time.Time) {
	t.Helper()
	gathered := uint64(r.gathered * r.workloads)
	if s.Queued != gathered || s.Pending != 0 || s.Sent+s.Lost != gathered || s.LostBy[Replaced] != s.Lost ||
		int(s.Sent) != len(c.values()) {
		t.Errorf("%d points, %d received: %+v", gathered, len(c.values()), s)
	}
	at := c.snapshotTimes()
	// One before, the newest one, then one each minute, and the last at the end.
	if len(at) < 4 || at[1].Before(recovered.Add(-time.Minute)) || at[1].After(recovered.Add(maxBackoff)) {
		t.Errorf("snapshots of %v, and the collector answered again at %v", at, recovered)
	}
}

// snapshotTimes are the times of the received snapshots.
func (c *collector) snapshotTimes() (at []time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, snapshot := range c.snapshots {
		at = append(at, time.Unix(0, int64(pointsOf(snapshot)[0].GetTimeUnixNano())))
	}
	return at
}

// TestSnapshots_KeepTheInterval holds that snapshots come at the interval, and that a pause which the collector asks
// for is kept: then the next snapshot is a new one.
func TestSnapshots_KeepTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newStall(t, exportconfig.ProtocolHTTP)
		began := time.Now()
		c.answer = func(n int) answer {
			if n == 4 {
				return answer{code: http.StatusTooManyRequests, header: http.Header{"Retry-After": {"200"}}}
			}
			return answer{}
		}
		r := &registry{workloads: 3}
		e := c.export(t, onlyMetrics(t, "http://127.0.0.1:4318", func(c *Config) {
			c.MetricsInterval.Duration = time.Minute
		}), r)
		time.Sleep(9*time.Minute + time.Second)
		e.stop()
		var got []time.Duration
		for _, at := range c.snapshotTimes() {
			got = append(got, at.Sub(began).Round(time.Second))
		}
		// The fourth is refused at 3m, for 200 s. A minute counts from then on, and the last one is at the end.
		want := []time.Duration{0, time.Minute, 2 * time.Minute, 380 * time.Second, 440 * time.Second,
			500 * time.Second, 541 * time.Second}
		if !slices.Equal(got, want) || r.gathered != len(want)+1 {
			t.Errorf("%d gathered, %v received, want %v", r.gathered, got, want)
		}
	})
}
