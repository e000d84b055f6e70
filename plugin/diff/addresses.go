package diff

import (
	"net/netip"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// maxAddresses bounds the resolved addresses of a workload.
const maxAddresses = 1 << 9

// resolved keeps the name by which a workload has found an address: hosts outside of the cluster have several
// addresses, and change them. A name of a workload counts for its own peers only: it may have made it up.
func (p *Profile) resolved(o *owner, d *event.Dns) {
	name := strings.TrimSuffix(d.GetName(), ".")
	for answer := range strings.SplitSeq(d.GetAnswers(), ",") {
		address, err := netip.ParseAddr(strings.TrimSpace(answer))
		if err != nil || name == "" {
			continue // the target of a CNAME
		}
		old, has := o.addresses[address]
		switch {
		case has && old <= name:
			continue
		case !has && len(o.addresses) >= maxAddresses, p.names+len(name) > maxNameBytes:
			return
		case o.addresses == nil:
			o.addresses = map[netip.Addr]string{}
		}
		o.addresses[address] = name
		p.names += len(name)
	}
}

// nameAddresses names the peers of both recordings that are addresses by the DNS names that the workload has resolved
// in either of them. Of several names of an address, it takes the first one in order.
func (c *comparison) nameAddresses() {
	for key, o := range c.before.owners {
		if other := c.after.owners[key]; other != nil {
			for address, name := range other.addresses {
				if own, has := o.addresses[address]; !has || name < own {
					if o.addresses == nil {
						o.addresses = map[netip.Addr]string{}
					}
					o.addresses[address] = name
				}
			}
			other.addresses = o.addresses
		}
	}
	for _, p := range []*Profile{c.before, c.after} {
		for _, o := range p.owners {
			o.namePeers()
		}
	}
}

// namePeers names the peers of a workload that are addresses.
func (o *owner) namePeers() {
	if len(o.addresses) == 0 {
		return
	}
	// In order, so that sums of fractions are always the same.
	for _, k := range keysOf(o.things, nil, (*thingKey).compare) {
		at, err := netip.ParseAddrPort(k.name)
		name := o.addresses[at.Addr()]
		if k.topic != topicPeer || err != nil || name == "" {
			continue
		}
		t := o.things[k]
		delete(o.things, k)
		t.key.name = withPort(name, uint32(at.Port()))
		if own := o.things[t.key]; own != nil {
			own.merge(t)
		} else {
			o.things[t.key] = t
		}
	}
}
