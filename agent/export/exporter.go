package export

import (
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

const (
	// maxBackoff limits the pause before another attempt.
	maxBackoff = 30 * time.Second
	// filesInterval is the time between two readings of the files of headers and certificates.
	filesInterval = 10 * time.Second
	// logInterval is the least time between two lines of the log about failures.
	logInterval = time.Minute
	// recordRatio is about how much larger a record is than its event.
	recordRatio = 3
)

// times are durations that tests shorten.
type times struct {
	// linger is how long events wait for others to make a batch with.
	linger time.Duration
	// firstBackoff is the first pause before another attempt.
	firstBackoff time.Duration
	// impatience is how long a request is repeated that the collector answers with a temporary error of its own.
	impatience time.Duration
	// flush limits the last requests when the agent ends.
	flush time.Duration
}

var realTimes = times{linger: time.Second, firstBackoff: time.Second, impatience: 5 * time.Minute,
	flush: 5 * time.Second}

// Options are what an exporter is made with.
type Options struct {
	Node, Version string
	// Metrics are exported if the configuration says so; nil: there are none.
	Metrics Gatherer
	Log     *slog.Logger
}

// Exporter sends the events and the metrics of an agent to a collector. Without a configuration it does nothing.
type Exporter struct {
	Options
	times
	started time.Time
	// dialContext makes connections in tests; nil: the network's.
	dialContext dialer
	// modes is what is done with events, by the field number of their kind; nil: events are not exported.
	modes atomic.Pointer[modes]
	// full gets a value when there is enough for a batch.
	full chan struct{}

	mu     sync.Mutex
	config *Config // nil: off
	queue  queue
	held   *held // nil: events are not exported
	// The signals.
	logs, metrics *stream
}

// Status describes an exporter.
type Status struct {
	// Endpoint is empty where export is off.
	Endpoint string
	// Totals are those of log records, Points those of metrics.
	Totals
	Points Totals
	// QueueBytes are used of LimitBytes. Held are the states of flows and others that will be queued.
	QueueBytes, LimitBytes uint64
	Held                   uint64
}

// mode is what is done with events of a kind.
type mode uint8

const (
	skip mode = iota
	pass
	// hold keeps the newest state.
	hold
)

// modes are by the field number of the kind.
type modes [64]mode

// New makes an exporter that is off.
func New(o Options) *Exporter {
	return &Exporter{Options: o, times: realTimes, started: time.Now(), full: make(chan struct{}, 1),
		logs: newStream(logs), metrics: newStream(metrics)}
}

// Apply sets the configuration; nil switches export off. What is queued is sent with the new configuration.
func (e *Exporter) Apply(c *Config) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if reflect.DeepEqual(c, e.config) {
		return
	}
	e.config = c
	if c.Has(exportconfig.SignalLogs) {
		e.modes.Store(newModes(c))
		e.queue.limit = int(c.QueueBytes)
		e.logs.lost[Overflow] += uint64(e.queue.shrink())
		if e.held == nil {
			e.held = newHeld(0)
		}
		e.held.limit = int(c.QueueBytes)
		e.sweep(true)
	} else {
		e.modes.Store(nil)
		e.sweep(false)
		e.held = nil
	}
	for _, s := range []*stream{e.logs, e.metrics} {
		s.failing, s.failingSince = "", time.Time{}
		wake(s.changed)
	}
}

func newModes(c *Config) *modes {
	m := &modes{}
	selected := map[string]bool{}
	for _, kind := range append(append([]string{}, c.Kinds...), exportconfig.AlwaysKinds()...) {
		selected[kind] = true
	}
	fields := (*event.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Number() >= protowire.Number(len(m)) || !selected[f.JSONName()] {
			continue
		}
		m[f.Number()] = pass
		if idFields()[f.Number()] != 0 && c.Updates != exportconfig.UpdatesAll {
			m[f.Number()] = hold
		}
	}
	return m
}

func (m *modes) of(kind protowire.Number) mode {
	if kind <= 0 || kind >= protowire.Number(len(m)) {
		return skip
	}
	return m[kind]
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Observe takes the encoded events of a batch. It does not block, and keeps nothing of the batch.
func (e *Exporter) Observe(events [][]byte) {
	m := e.modes.Load()
	if m == nil {
		return
	}
	locked, now := false, time.Duration(0)
	for _, ev := range events {
		kind, message := kindField(ev)
		mode := m.of(kind)
		if mode == skip {
			continue
		}
		if !locked {
			locked, now = true, time.Since(e.started)
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.held == nil { // export was switched off meanwhile
				return
			}
		}
		if mode == pass || !e.hold(kind, message, ev, now) {
			e.push(ev)
		}
	}
	if !locked {
		return
	}
	for e.held.bytes > e.held.limit {
		e.push(e.held.due(-1))
	}
	if e.queue.bytes*recordRatio >= int(e.config.BatchBytes) {
		wake(e.full)
	}
}

// hold keeps an event as the newest state of something. It is false for an event that is to be exported now.
func (e *Exporter) hold(kind protowire.Number, message, ev []byte, now time.Duration) bool {
	key, ended, ok := e.held.keyOf(kind, message)
	switch {
	case !ok:
		return false
	case ended:
		e.held.drop(key)
		return false
	}
	e.held.put(key, ev, now)
	return true
}

// push queues an event. The caller holds mu, as of the functions below.
func (e *Exporter) push(ev []byte) {
	e.logs.queued++
	e.logs.lost[Overflow] += uint64(e.queue.push(ev))
}

// sweep queues the states whose first changes are old enough, or all.
func (e *Exporter) sweep(old bool) {
	if e.held == nil {
		return
	}
	before := time.Since(e.started)
	if old {
		before -= max(0, time.Duration(e.config.Updates))
	}
	for ev := e.held.due(before); ev != nil; ev = e.held.due(before) {
		e.push(ev)
	}
}

// Status describes the exporter.
func (e *Exporter) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Status{Totals: e.logs.totals(), Points: e.metrics.totals(), QueueBytes: uint64(e.queue.bytes),
		LimitBytes: uint64(e.queue.limit)}
	if e.held != nil {
		s.Held = uint64(len(e.held.by))
	}
	if e.config != nil {
		s.Endpoint = address(e.config)
	}
	return s
}
