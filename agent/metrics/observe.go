package metrics

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Observe counts a batch of encoded events. It keeps nothing of them.
func (t *Table) Observe(events [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.time = t.now().Unix()
	for _, ev := range events {
		if !t.observe(ev) {
			t.untracked++
		}
	}
	t.sweep()
}

// observe counts an event. It is false for one that is no event.
func (t *Table) observe(encoded []byte) bool {
	m := &t.event
	if !m.parse(encoded) {
		return false
	}
	t.subject = subject{namespace: m.text(eventNamespace), pod: m.text(eventPod), uid: m.text(eventPodUID),
		workload: m.text(eventWorkload)}
	if len(t.subject.workload) == 0 && len(t.subject.pod) > 0 {
		t.label = append(append(t.label[:0], "pod/"...), t.subject.pod...)
		t.subject.workload = t.label
	}
	switch {
	case m.known(eventFlow):
		return t.count("flow") && t.onFlow(m.text(eventFlow))
	case m.known(eventTCP):
		return t.count("tcp") && t.onTCP(m.text(eventTCP))
	case m.known(eventDNS):
		return t.count("dns") && t.onDNS(m.text(eventDNS))
	case m.known(eventDrop):
		return t.count("drop") && t.onDrop(m.text(eventDrop))
	case m.known(eventResources):
		return t.count("resources") && t.onResources(m.text(eventResources))
	case m.known(eventExec):
		return t.count("exec") && t.onExec(m.text(eventExec))
	case m.known(eventSignal):
		return t.count("signal") && t.onSignal(m.text(eventSignal))
	case m.known(eventSyscall):
		return t.count("syscall") && t.onSyscall(m.text(eventSyscall))
	case m.known(eventSyscallSummary):
		return t.count("syscallSummary") && t.onSummary(m.text(eventSyscallSummary))
	case m.known(eventGPU):
		return t.count("gpu") && t.onGPU(encoded)
	case m.known(eventLost):
		return t.onLost(m.text(eventLost))
	case m.known(eventNodeStatus):
		return t.onStatus(m.text(eventNodeStatus))
	}
	return true // of a kind that this version does not know
}

// count counts an event by its kind.
func (t *Table) count(kind string) bool {
	t.scope = append(t.scope[:0], kind...)
	t.bump(t.row(famEvents, nil, t.scope), 0, 1)
	return true
}

// bump adds to a value of a row.
func (t *Table) bump(r *row, i int, n uint64) {
	r.add(i, n)
	r.touched = t.time
}

// onStatus takes a state of the node. After those of the agent that observing has ended, probes count from zero.
func (t *Table) onStatus(encoded []byte) bool {
	if !t.kind.parse(encoded) {
		return false
	}
	switch event.NodeState(t.kind.number(statusState)) {
	case event.NodeState_NODE_STATE_RECONNECTING, event.NodeState_NODE_STATE_FAILED:
		t.flows.observation++
	}
	return true
}

func (t *Table) onTCP(encoded []byte) bool {
	m := &t.kind
	if !m.parse(encoded) {
		return false
	}
	outcome := event.TCPOutcome(m.number(tcpOutcome))
	if outcome == event.TCPOutcome_TCP_OUTCOME_RETRANSMITS || outcome.Word() == "" {
		return true // nothing has begun or ended
	}
	server := m.number(tcpObserved) == uint64(event.Side_SIDE_DST)
	t.scope = append(t.scope[:0], outcome.Word()...)
	t.bump(t.row(famTCP, &t.subject, roleOf(server), t.scope), 0, 1)
	if outcome == event.TCPOutcome_TCP_OUTCOME_CONNECTED && m.known(tcpHandshake) {
		t.row(famHandshake, &t.subject).observe(micros(m.number(tcpHandshake)), t.time)
	}
	return true
}

// micros returns a duration, at most a day: nothing that is measured here takes longer.
func micros(n uint64) time.Duration {
	return time.Duration(min(n, uint64(24*time.Hour/time.Microsecond))) * time.Microsecond
}

func (t *Table) onDNS(encoded []byte) bool {
	m := &t.kind
	if !m.parse(encoded) {
		return false
	}
	role := roleOf(m.number(dnsObserved) == uint64(event.Side_SIDE_DST))
	outcome := event.DnsOutcome(m.number(dnsOutcome)).Word()
	t.scope = append(t.scope[:0], outcome...)
	t.bump(t.row(famDNS, &t.subject, role, t.scope, rcode(m.text(dnsRcode))), 0, 1)
	if m.known(dnsLatency) {
		t.row(famDNSLatency, &t.subject, role).observe(micros(m.number(dnsLatency)), t.time)
	}
	return true
}

func (t *Table) onDrop(encoded []byte) bool {
	m := &t.kind
	if !m.parse(encoded) {
		return false
	}
	direction := directionSent
	if m.number(dropObserved) == uint64(event.Side_SIDE_DST) {
		direction = directionRecv
	}
	s := t.trackID(famDrop, m.text(dropID), t.row(famDrop, &t.subject, direction, m.text(dropReason)), 2)
	if s == nil {
		return true
	}
	s.restart(t.flows.observation)
	s.grow(0, m.number(dropPackets))
	s.grow(1, m.number(dropBytes))
	return true
}

// trackID is track with an id that is unique among a family's.
func (t *Table) trackID(family familyID, id []byte, r *row, values int) *tracked {
	t.id = append(append(t.id[:0], byte(family)), id...)
	return t.track(t.id, r, values)
}

func (t *Table) onExec(encoded []byte) bool {
	m := &t.kind
	if !m.parse(encoded) {
		return false
	}
	switch event.ExecPhase(m.number(execPhase)) {
	case event.ExecPhase_EXEC_PHASE_EXEC:
		t.bump(t.row(famExec, &t.subject), 0, 1)
	case event.ExecPhase_EXEC_PHASE_EXIT:
		t.scope = append(t.scope[:0], event.ExecOutcome(m.number(execOutcome)).Word()...)
		t.bump(t.row(famExit, &t.subject, t.scope), 0, 1)
	}
	return true
}

func (t *Table) onSignal(encoded []byte) bool {
	if !t.kind.parse(encoded) {
		return false
	}
	t.bump(t.row(famSignal, &t.subject, t.kind.text(signalName)), 0, 1)
	return true
}

// Values of rows of famSyscall.
const (
	syscallCalls = iota
	syscallErrors
	syscallTime
)

func (t *Table) onSyscall(encoded []byte) bool {
	m := &t.kind
	if !m.parse(encoded) {
		return false
	}
	if t.summaries || event.SyscallPhase(m.number(syscallPhase)) == event.SyscallPhase_SYSCALL_PHASE_RUNNING {
		return true
	}
	r := t.row(famSyscall, &t.subject, m.text(syscallName))
	t.bump(r, syscallCalls, 1)
	t.bump(r, syscallErrors, oneIf(len(m.text(syscallErrno)) > 0))
	t.bump(r, syscallTime, m.number(syscallDuration))
	return true
}

func (t *Table) onSummary(encoded []byte) bool {
	m := &t.kind
	if !m.parse(encoded) {
		return false
	}
	t.summaries = true
	s := t.trackID(famSyscall, m.text(summaryID), t.row(famSyscall, &t.subject, m.text(summaryName)), 3)
	if s == nil {
		return true
	}
	s.restart(t.flows.observation)
	s.grow(syscallCalls, m.number(summaryCalls))
	s.grow(syscallErrors, m.number(summaryErrors))
	s.grow(syscallTime, m.number(summaryTotal))
	return true
}

// resourceParts are the fields of the parts of event.Resources, with the values that they are.
var resourceParts = [...]struct {
	part   int
	fields []struct{ field, value int }
}{
	{resourcesCPU, []struct{ field, value int }{{1, resCPU}, {3, resCPULimit}, {4, resPeriods}, {5,
		resThrottledPeriods},
		{6, resThrottled}}},
	{resourcesRunQueue, []struct{ field, value int }{{2, resRunDelay}}},
	{resourcesLocks, []struct{ field, value int }{{1, resLockWaits}}},
	{resourcesMemory, []struct{ field, value int }{{1, resMemory}, {2, resWorkingSet}, {3, resMemoryLimit},
		{6, resOOMKills}}},
	{resourcesPressure, []struct{ field, value int }{{1, resCPUWaiting}, {3, resMemoryWaiting}, {5, resMemoryStalled},
		{7, resIOWaiting}, {9, resIOStalled}}},
	{resourcesIO, []struct{ field, value int }{{1, resReads}, {2, resReadBytes}, {3, resReadTime}, {7, resWrites},
		{8, resWriteBytes}, {9, resWriteTime}}},
}

func (t *Table) onResources(encoded []byte) bool {
	m := &t.kind
	if !m.parse(encoded) {
		return false
	}
	s := t.trackID(famResources, m.text(resourcesID), t.row(famResources, &t.subject),
		len(families[famResources].metrics))
	if s == nil {
		return true
	}
	s.baseline = true
	s.gauge(resContainers, 1, true)
	for _, p := range resourceParts {
		if !t.part.parse(m.text(p.part)) {
			return false
		}
		for _, f := range p.fields {
			known := t.part.known(f.field)
			switch {
			case f.value >= resCPULimit:
				s.gauge(f.value, t.part.number(f.field), known)
			case known:
				s.grow(f.value, t.part.number(f.field))
			}
		}
	}
	return true
}

func (t *Table) onLost(encoded []byte) bool {
	m := &t.kind
	if !m.parse(encoded) {
		return false
	}
	t.scope = append(t.scope[:0], event.LossStage(m.number(lostStage)).Word()...)
	t.bump(t.row(famLost, nil, t.scope, m.text(lostSource)), 0, m.number(lostCount))
	return true
}
