package cluster

import (
	"net/netip"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// maxPastPods limits the deleted pods whose names are known, for events of the past.
const maxPastPods = 20_000

// pastPods are the names of addresses that pods had earlier.
type pastPods struct {
	byAddr map[netip.Addr][]*podName // in the order of their ends
	order  []*podName                // in the order of their ends
	max    int
}

func newPastPods() pastPods {
	return pastPods{byAddr: map[netip.Addr][]*podName{}, max: maxPastPods}
}

// end remembers a pod that has lost its addresses.
func (l *pastPods) end(p *podName, now time.Time) {
	if !p.until.IsZero() {
		return
	}
	p.until = now
	for _, addr := range p.addrs {
		l.byAddr[addr] = append(l.byAddr[addr], p)
	}
	l.order = append(l.order, p)
	for len(l.order) > l.max {
		l.forget(l.order[0])
		l.order[0] = nil
		l.order = l.order[1:]
	}
}

// forget removes the pod that ended first.
func (l *pastPods) forget(p *podName) {
	for _, addr := range p.addrs {
		if list := l.byAddr[addr]; len(list) <= 1 {
			delete(l.byAddr, addr)
		} else if list[0] == p {
			list[0] = nil
			l.byAddr[addr] = list[1:]
		}
	}
}

// find returns the pod that had an address at a time, nil if that is not known. holder has it now, or had it last.
func (l *pastPods) find(addr netip.Addr, at time.Time, holder *podName) *podName {
	if holder.hadAt(at) {
		return holder
	}
	list := l.byAddr[addr]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].hadAt(at) {
			return list[i]
		}
	}
	return nil
}

// hadAt reports whether the pod had its addresses at a time. Its last flows are reported late.
func (p *podName) hadAt(at time.Time) bool {
	return p != nil && !at.Before(p.since) && (p.until.IsZero() || !at.After(p.until.Add(afterlife)))
}

// NameAt implements collect.PastNamer. Services and nodes have their names of now.
func (s *Selected) NameAt(addr netip.Addr, port uint16, proto event.Protocol, at time.Time) collect.Name {
	return s.name(s, addr, port, proto, at)
}
