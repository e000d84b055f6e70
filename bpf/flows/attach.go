package flows

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// walks are the iterators; opening and reading one runs its program over everything it is attached to.
type walks struct {
	older          *link.Iter
	tcp, sockets   *link.Iter
	flows4, flows6 *link.Iter
	sweep4, sweep6 *link.Iter
}

// attach keeps every link in a variable that lives: the kernel detaches a program as its link is closed.
func (p *Probe) attach() error {
	o := &p.objects
	tracing := []*ebpf.Program{o.TcpState, o.TcpReader}
	if o.Gone != nil {
		// First: nothing is kept for a socket whose end is missed.
		tracing = append([]*ebpf.Program{o.Gone}, tracing...)
	}
	for _, program := range tracing {
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err := p.keep(program, l, err); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		hook    ebpf.AttachType
		program *ebpf.Program
	}{
		{ebpf.AttachCGroupInetEgress, o.PacketOut},
		{ebpf.AttachCGroupInetIngress, o.PacketIn},
		{ebpf.AttachCGroupInetSockCreate, o.PacketCreate},
		{ebpf.AttachCgroupInetSockRelease, o.PacketRelease},
	} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: p.options.CgroupRoot, Attach: c.hook, Program: c.program})
		if err := p.keep(c.program, l, err); err != nil {
			return err
		}
	}
	for _, w := range []struct {
		iter    **link.Iter
		program *ebpf.Program
		over    *ebpf.Map
	}{
		{&p.walks.older, o.OlderWalk, nil},
		{&p.walks.tcp, o.TcpWalk, o.TcpSocks},
		{&p.walks.sockets, o.PacketSkWalk, o.PacketSocks},
		{&p.walks.flows4, o.PacketWalk4, o.PacketFlows4},
		{&p.walks.flows6, o.PacketWalk6, o.PacketFlows6},
		{&p.walks.sweep4, o.PacketSweep4, o.PacketFlows4},
		{&p.walks.sweep6, o.PacketSweep6, o.PacketFlows6},
	} {
		l, err := link.AttachIter(link.IterOptions{Program: w.program, Map: w.over})
		if err := p.keep(w.program, l, err); err != nil {
			return err
		}
		*w.iter = l
	}
	return nil
}

func (p *Probe) keep(program *ebpf.Program, l link.Link, err error) error {
	if err != nil {
		return fmt.Errorf("attach %s: %w", program, err)
	}
	p.links = append(p.links, l)
	return nil
}
