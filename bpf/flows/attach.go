package flows

import (
	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// walks run programs over sockets and flows.
type walks struct {
	preexisting    *bpf.Iterator
	tcp, sockets   *bpf.Iterator
	flows4, flows6 *bpf.Iterator
	sweep4, sweep6 *bpf.Iterator
}

func (p *Probe) attach(variant bpf.Variant, dropHasSkb bool) error {
	o := &p.objects
	// TcpGone first: nothing is kept for a socket whose end is missed.
	if err := p.Attach(o.TcpGone, o.TcpState, o.TcpReader, o.PacketDrop, o.PacketFull); err != nil {
		return err
	}
	if !dropHasSkb { // the dropped packet is the one that kfree_skb reported just before
		if err := p.Attach(o.PacketFree); err != nil {
			return err
		}
	}
	if err := p.AttachCgroup(p.options.CgroupRoot, o.PacketOut, o.PacketIn, o.PacketCreate, o.PacketRelease); err != nil {
		return err
	}
	for _, w := range []struct {
		walk    **bpf.Iterator
		program *ebpf.Program
		over    *ebpf.Map
	}{
		{&p.walks.preexisting, o.Preexisting, nil},
		{&p.walks.tcp, o.TcpWalk, o.TcpSocks},
		{&p.walks.sockets, o.PacketSkWalk, o.PacketSocks},
		{&p.walks.flows4, o.PacketWalk4, o.PacketFlows4},
		{&p.walks.flows6, o.PacketWalk6, o.PacketFlows6},
		{&p.walks.sweep4, o.PacketSweep4, o.PacketFlows4},
		{&p.walks.sweep6, o.PacketSweep6, o.PacketFlows6},
	} {
		if variant == bpf.NoMapIter { // sockets are found by their files
			w.over = nil
		}
		var err error
		if *w.walk, err = p.AttachIterator(w.program, w.over); err != nil {
			return err
		}
	}
	return nil
}
