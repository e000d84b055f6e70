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

// Reason is why records were lost.
type Reason int

// Reasons of losses.
const (
	// Overflow: the queue was full, and the oldest were dropped.
	Overflow Reason = iota
	// Refused: the collector did not accept them, or some of a request.
	Refused
	// Expired: a request was repeated for too long.
	Expired
	// Ended: the agent ended, or export was switched off, before they were sent.
	Ended
	// Unreadable: they could not be encoded, or a record alone is larger than a batch.
	Unreadable
	reasons
)

// String is the reason in a word.
func (r Reason) String() string {
	return [...]string{"overflow", "refused", "expired", "ended", "unreadable"}[r]
}

// Options are what an exporter is made with.
type Options struct {
	Node, Version string
	Log           *slog.Logger
}

// Exporter sends the events of an agent to a collector. Without a configuration it does nothing.
type Exporter struct {
	Options
	times
	started time.Time
	// modes is what is done with events, by the field number of their kind; nil: export is off.
	modes atomic.Pointer[modes]
	// changed gets a value when another configuration is in force, full when there is enough for a batch.
	changed, full chan struct{}

	mu     sync.Mutex
	config *Config // nil: off
	queue  queue
	held   *held
	count  counters
	state  state
}

// counters are numbers of records since the start.
type counters struct {
	queued, sent uint64
	lost         [reasons]uint64
}

func (c *counters) losses() (n uint64) {
	for _, lost := range c.lost {
		n += lost
	}
	return n
}

// state is the result of the last attempts.
type state struct {
	lastSent time.Time
	failing  string
	since    time.Time
}

// Status describes an exporter. Queued = Sent + Lost + Pending.
type Status struct {
	// Endpoint is empty where export is off.
	Endpoint              string
	Queued, Sent, Pending uint64
	Lost                  uint64
	LostBy                [reasons]uint64
	// QueueBytes are used of LimitBytes. Held are the states of flows and others that will be queued.
	QueueBytes, LimitBytes uint64
	Held                   uint64
	// LastSent is the time of the last accepted request.
	LastSent time.Time
	// Error is why the last attempt failed, since FailingSince; empty: it did not.
	Error        string
	FailingSince time.Time
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
	return &Exporter{Options: o, times: realTimes, started: time.Now(), changed: make(chan struct{}, 1),
		full: make(chan struct{}, 1)}
}

// Apply sets the configuration; nil switches export off. What is queued is sent with the new configuration.
func (e *Exporter) Apply(c *Config) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if reflect.DeepEqual(c, e.config) {
		return
	}
	e.config = c
	if c == nil {
		e.modes.Store(nil)
		e.sweep(false)
		e.held = nil
	} else {
		e.modes.Store(newModes(c))
		e.queue.limit = int(c.QueueBytes)
		e.count.lost[Overflow] += uint64(e.queue.shrink())
		if e.held == nil {
			e.held = newHeld(0)
		}
		e.held.limit = int(c.QueueBytes)
		e.sweep(true)
	}
	e.state = state{lastSent: e.state.lastSent}
	wake(e.changed)
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
	e.count.queued++
	e.count.lost[Overflow] += uint64(e.queue.push(ev))
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
	lost := e.count.losses()
	s := Status{Queued: e.count.queued, Sent: e.count.sent, Lost: lost, LostBy: e.count.lost,
		Pending: e.count.queued - e.count.sent - lost, QueueBytes: uint64(e.queue.bytes),
		LimitBytes: uint64(e.queue.limit), LastSent: e.state.lastSent, Error: e.state.failing,
		FailingSince: e.state.since}
	if e.held != nil {
		s.Held = uint64(len(e.held.by))
	}
	if e.config != nil {
		s.Endpoint = address(e.config)
	}
	return s
}
