package flows

import (
	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// scans run programs over sockets and flows.
type scans struct {
	preexisting    *bpf.Iterator
	tcp, sockets   *bpf.Iterator
	flows4, flows6 *bpf.Iterator
	sweep4, sweep6 *bpf.Iterator
}

func (p *Probe) attach(variant bpf.Variant, dropHasSkb bool) error {
	o := &p.objects
	// TcpGone first: nothing is kept for a socket whose end is missed.
	if err := p.Attach(o.TcpGone, o.TcpState, o.TcpReader, o.TcpResent, o.PacketDrop, o.PacketFull); err != nil {
		return err
	}
	if !dropHasSkb { // the dropped packet is the one that kfree_skb reported just before
		if err := p.Attach(o.PacketFree); err != nil {
			return err
		}
	}
	if err := p.AttachCgroup(p.options.CgroupRoot, o.PacketOut, o.PacketIn, o.PacketCreate,
		o.PacketRelease); err != nil {
		return err
	}
	for _, w := range []struct {
		scan    **bpf.Iterator
		program *ebpf.Program
		over    *ebpf.Map
	}{
		{&p.scans.preexisting, o.Preexisting, nil},
		{&p.scans.tcp, o.TcpScan, o.TcpSocks},
		{&p.scans.sockets, o.PacketSkScan, o.PacketSocks},
		{&p.scans.flows4, o.PacketScan4, o.PacketFlows4},
		{&p.scans.flows6, o.PacketScan6, o.PacketFlows6},
		{&p.scans.sweep4, o.PacketSweep4, o.PacketFlows4},
		{&p.scans.sweep6, o.PacketSweep6, o.PacketFlows6},
	} {
		if variant == bpf.NoMapIter {
			w.over = nil
		}
		var err error
		if *w.scan, err = p.AttachIterator(w.program, w.over); err != nil {
			return err
		}
	}
	return nil
}
