package diff

import (
	"strconv"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// outcomes are the measures of connections that came to nothing or were reset.
var outcomes = map[event.TCPOutcome]measure{
	event.TCPOutcome_TCP_OUTCOME_REFUSED:     refused,
	event.TCPOutcome_TCP_OUTCOME_RESET:       reset,
	event.TCPOutcome_TCP_OUTCOME_TIMEOUT:     unanswered,
	event.TCPOutcome_TCP_OUTCOME_UNREACHABLE: unreachable,
	event.TCPOutcome_TCP_OUTCOME_ABANDONED:   abandoned,
	event.TCPOutcome_TCP_OUTCOME_FAILED:      failed,
}

// onTCP counts a connection that failed, and, where no flows are recorded, each that was made.
func (p *Profile) onTCP(ev *event.Event, t *event.Tcp) {
	m, isFailure := outcomes[t.GetOutcome()]
	if !isFailure {
		made := t.GetOutcome() == event.TCPOutcome_TCP_OUTCOME_CONNECTED ||
			t.GetOutcome() == event.TCPOutcome_TCP_OUTCOME_ACCEPTED
		if m = connections; !made || p.kinds["flow"] {
			return
		}
	}
	if p.isDNS(t.GetDst()) {
		return
	}
	o := p.self(ev)
	key := thingKey{topicPeer, "", event.Protocol_PROTOCOL_TCP}
	if t.GetObserved() == event.Side_SIDE_DST {
		key.topic, key.name = topicClient, clientName(t.GetSrc())
	} else {
		key.name = serverName(t.GetDst())
	}
	p.count(p.thing(o, key), ev.GetTime(), m, 1)
}

// onDNS counts a query of the pod that has asked.
func (p *Profile) onDNS(ev *event.Event, d *event.Dns) {
	src := d.GetSrc()
	o := p.ownerOf(src.GetNamespace(), src.GetPod(), src.GetWorkload(), src.GetContainer())
	if o == nil {
		p.unnamed++
		return
	}
	t := p.thing(o, thingKey{topic: topicDNS, name: d.GetName()})
	if t == nil {
		return
	}
	at := ev.GetTime()
	switch d.GetOutcome() {
	case event.DnsOutcome_DNS_OUTCOME_PENDING: // the recording ended before the answer
		return
	case event.DnsOutcome_DNS_OUTCOME_TIMEOUT:
		t.series(timeouts).add(&p.clock, at, 1)
	default:
		switch d.GetRcode() {
		case "NOERROR", "":
			p.resolved(o, d)
		case "NXDOMAIN":
			t.series(nxdomain).add(&p.clock, at, 1)
		default:
			t.series(failed).add(&p.clock, at, 1)
		}
		if d.LatencyMicros != nil {
			t.series(latency).add(&p.clock, at, float64(d.GetLatencyMicros()))
			t.series(answered).add(&p.clock, at, 1)
		}
	}
	p.count(t, at, queries, 1)
}

// reasonPurge is the reason of packets that a socket holds when it ends. Nobody misses them.
const reasonPurge = "QUEUE_PURGE"

// onDrop counts dropped packets by reason and peer. Ports are left out: those of clients are all different.
func (p *Profile) onDrop(ev *event.Event, d *event.Drop) {
	if d.GetReason() == reasonPurge {
		return
	}
	c, made := p.counterOf('d', d.GetId())
	if c == nil {
		return
	}
	if made {
		reason := d.GetReason()
		if reason == "" {
			reason = "unknown reason"
		}
		peer := " ->" + clientName(d.GetDst())
		if d.GetObserved() == event.Side_SIDE_DST {
			peer = " <-" + clientName(d.GetSrc())
		}
		// A container is not known of packets: all of a pod are one.
		c.thing = p.thing(p.self(ev), thingKey{topic: topicDrop, name: reason + peer})
		if d.GetFirstTime() < p.clock.start {
			c.last[0] = d.GetPackets() // it may have counted before
		}
	}
	if n := c.grown(0, d.GetPackets()); n > 0 || made {
		p.count(c.thing, ev.GetTime(), packets, float64(n))
	}
}

// onExec counts programs that began, and processes that failed.
func (p *Profile) onExec(ev *event.Event, e *event.Exec) {
	switch {
	case e.GetPhase() == event.ExecPhase_EXEC_PHASE_EXEC:
		name := columnText(filenameColumn, ev)
		p.count(p.thing(p.self(ev), thingKey{topic: topicExec, name: name}), ev.GetTime(), runs, 1)
	case e.GetOutcome() == event.ExecOutcome_EXEC_OUTCOME_EXITED && e.GetExitCode() == 0:
	default:
		how := "OOM-killed"
		switch e.GetOutcome() {
		case event.ExecOutcome_EXEC_OUTCOME_EXITED:
			how = strconv.FormatUint(uint64(e.GetExitCode()), 10)
		case event.ExecOutcome_EXEC_OUTCOME_SIGNALED:
			how = e.GetSignal()
		case event.ExecOutcome_EXEC_OUTCOME_UNKNOWN:
			return
		}
		name := columnText(commColumn, ev) + ": " + how
		p.count(p.thing(p.self(ev), thingKey{topic: topicExit, name: name}), ev.GetTime(), exits, 1)
	}
}

// onSignal counts a signal by its target.
func (p *Profile) onSignal(ev *event.Event, s *event.Signal) {
	name := s.GetSignal() + " to " + columnText(targetColumn, ev)
	p.count(p.thing(p.self(ev), thingKey{topic: topicSignal, name: name}), ev.GetTime(), signals, 1)
}

// onSyscall counts a system call by its name, and its error.
func (p *Profile) onSyscall(ev *event.Event, s *event.Syscall) {
	if s.GetPhase() == event.SyscallPhase_SYSCALL_PHASE_RUNNING {
		return // it is reported when it returns
	}
	o, at := p.self(ev), ev.GetTime()
	p.count(p.thing(o, thingKey{topic: topicSyscall, name: s.GetName()}), at, calls, 1)
	if s.GetErrno() != "" {
		p.count(p.thing(o, thingKey{topic: topicError, name: s.GetName() + ": " + s.GetErrno()}), at, callErrors, 1)
	}
}

// onSummary counts by how much a container's calls have grown.
func (p *Profile) onSummary(ev *event.Event, s *event.SyscallSummary) {
	c, made := p.counterOf('s', s.GetId())
	if c == nil {
		return
	}
	if made || c.thing == nil || c.thing.owner.key.container != ev.GetContainer() {
		c.thing = p.thing(p.self(ev), thingKey{topic: topicSyscall, name: s.GetName()})
	}
	if made && p.clock.fixed {
		// The counters began before the time of the query.
		c.last, c.at = [2]uint64{s.GetCalls(), s.GetErrors()}, ev.GetTime()
		return
	}
	from := c.at
	if made {
		from = ev.GetTime()
	}
	n, errors := c.grown(0, s.GetCalls()), c.grown(1, s.GetErrors())
	c.at = max(c.at, ev.GetTime())
	if c.thing == nil || n == 0 {
		return
	}
	c.thing.seen.spread(&p.clock, from, ev.GetTime(), float64(n))
	c.thing.series(calls).spread(&p.clock, from, ev.GetTime(), float64(n))
	if errors > 0 {
		c.thing.series(callErrors).spread(&p.clock, from, ev.GetTime(), float64(errors))
	}
}

// The columns of bytes that need not be UTF-8: their text quotes what is not.
var (
	filenameColumn = event.KindByName("exec").Column("filename")
	commColumn     = event.KindByName("exec").Column("comm")
	targetColumn   = event.KindByName("signal").Column("comm")
)

// columnText is the text of a column; "unknown" where it is null.
func columnText(c *event.Column, ev *event.Event) string {
	if v := c.Get(ev); !v.IsNull() {
		return v.Str()
	}
	return "unknown"
}
