package collect

import (
	"github.com/orb8-dev/kubectl-orb8/event"
)

// report is what is kept of the newest event of a half. A decoded event is several times as large, and the garbage
// collector has to scan its parts.
type report struct {
	pod       *podNames
	comm      string
	own, far  address
	time      uint64
	last      uint64 // time of the newest packet
	counters  counters
	pid       uint32
	state     event.TCPState
	icmp      [2]uint32 // type and code, where hasICMP says so
	hasICMP   [2]bool
	hasCounts bool
}

// podNames are the names of the pod that a half is of. Halves of one container share them.
type podNames struct{ namespace, pod, podUID, container, workload string }

// address is an end's address as its kernel reports it. An event may lack it.
type address struct {
	hi, lo uint64 // as in addrPort
	port   uint16
	known  bool
}

func newAddress(e *event.Endpoint) address {
	a := newAddrPort(e)
	return address{hi: a.hi, lo: a.lo, port: a.port, known: len(e.GetAddress()) > 0}
}

// write writes the address into an end. to is the memory of its bytes.
func (a *address) write(e *event.Endpoint, to *[16]byte) {
	e.Address, e.Port = nil, uint32(a.port)
	if a.known {
		e.Address = addrPort{hi: a.hi, lo: a.lo}.bytes(to[:0])
	}
}

// set replaces a report by that of a newer event.
func (r *report) set(h *half) {
	ev, f := h.ev, h.flow
	own, far, counted := f.GetSrc(), f.GetDst(), f.GetSrcCounters()
	if f.GetObserved() == event.Side_SIDE_DST {
		own, far, counted = far, own, f.GetDstCounters()
	}
	r.pod = h.source.names(r.pod, ev)
	r.own, r.far = newAddress(own), newAddress(far)
	r.pid, r.comm = own.GetPid(), own.GetComm()
	r.time, r.last, r.state = ev.GetTime(), f.GetLastTime(), f.GetState()
	r.hasICMP = [2]bool{f.IcmpType != nil, f.IcmpCode != nil}
	r.icmp = [2]uint32{f.GetIcmpType(), f.GetIcmpCode()}
	times := r.counters.responses
	times.set(counted)
	r.counters, r.hasCounts = newCounters(counted), counted != nil
	r.counters.responses = times
}

const (
	// partBytes is the memory of a part without strings, and of its place in the index. Other protocols than TCP have
	// links there.
	partBytes  = 400
	linksBytes = 7*112 + 96
)

// memory is the approximate memory of a part. Names count for each, though most are shared.
func (p *part) memory() int {
	n := partBytes + len(p.report.comm) + p.report.pod.bytes() + 8*cap(p.report.counters.histogram)
	if !p.socket.tcp() {
		n += linksBytes
	}
	return n
}

func (n *podNames) bytes() int {
	return len(n.namespace) + len(n.pod) + len(n.podUID) + len(n.container) + len(n.workload)
}

// maxPodNames limits the names that a source keeps to share them.
const maxPodNames = 512

// names returns the names of an event's pod, the present ones if they are the same.
func (s *Source) names(present *podNames, ev *event.Event) *podNames {
	n := podNames{ev.GetNamespace(), ev.GetPod(), ev.GetPodUid(), ev.GetContainer(), ev.GetWorkload()}
	if present != nil && *present == n {
		return present
	}
	return s.pods.get(n)
}
