package flows

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// walks run programs over sockets and flows.
type walks struct {
	older          *bpf.Walk
	tcp, sockets   *bpf.Walk
	flows4, flows6 *bpf.Walk
	sweep4, sweep6 *bpf.Walk
}

func (w *walks) all() []*bpf.Walk {
	return []*bpf.Walk{w.older, w.tcp, w.sockets, w.flows4, w.flows6, w.sweep4, w.sweep6}
}

// attach keeps every link in a variable that lives: the kernel detaches a program as its link is closed.
func (p *Probe) attach() error {
	o := &p.objects
	// TcpGone first: nothing is kept for a socket whose end is missed.
	tracing := []*ebpf.Program{o.TcpGone, o.TcpState, o.TcpReader, o.PacketDrop, o.PacketFull}
	if p.freed {
		tracing = append(tracing, o.PacketFree)
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
		walk    **bpf.Walk
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
		if p.plain { // sockets are found by their files
			w.over = nil
		}
		var err error
		if *w.walk, err = bpf.OpenWalk(w.program, w.over); err != nil {
			return err
		}
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
