package diff

// nameContainers counts events of no known container for the only container that the workload has in both recordings.
// The kernel reports events before the container runtime has named a container, and dropped packets have none.
func (p *Profile) nameContainers(other *Profile) {
	type workload struct{ namespace, name string }
	only := map[workload]string{}
	for _, owners := range []map[ownerKey]*owner{p.owners, other.owners} {
		for k := range owners {
			if k.container == "" {
				continue
			}
			w := workload{k.namespace, k.workload}
			if name, has := only[w]; has && name != k.container {
				only[w] = ""
			} else if !has {
				only[w] = k.container
			}
		}
	}
	var unnamed []ownerKey
	for k := range p.owners {
		if k.container == "" && only[workload{k.namespace, k.workload}] != "" {
			unnamed = append(unnamed, k)
		}
	}
	for _, k := range unnamed {
		o := p.owners[k]
		delete(p.owners, k)
		k.container = only[workload{k.namespace, k.workload}]
		if named := p.owners[k]; named != nil {
			named.merge(o)
			continue
		}
		o.key = k
		p.owners[k] = o
	}
}

// merge adds the things of another container.
func (o *owner) merge(other *owner) {
	for k, t := range other.things {
		if own := o.things[k]; own != nil {
			own.merge(t)
		} else {
			t.owner = o
			o.things[k] = t
		}
	}
	if o.addresses == nil {
		o.addresses = other.addresses
	}
	for topic, full := range other.full {
		o.full[topic] = o.full[topic] || full
	}
}

// removeMoved removes the things of which all events are those of another thing now.
func (p *Profile) removeMoved() {
	for _, o := range p.owners {
		for k, t := range o.things {
			if t.seen.total < 0.5 {
				delete(o.things, k)
			}
		}
	}
}

// foldSearches counts the names that a resolver makes of another one by its search path as NXDOMAIN answers of that
// one.
func (p *Profile) foldSearches() {
	for _, o := range p.owners {
		var searched []thingKey
		for k, t := range o.things {
			if k.topic == topicDNS && t.total(nxdomain) >= t.total(queries) && o.askedName(k.name) != nil {
				searched = append(searched, k)
			}
		}
		// The shortest name that another begins with begins with no other, so that it stays.
		for _, k := range searched {
			o.askedName(k.name).series(nxdomain).merge(o.things[k].series(nxdomain))
		}
		for _, k := range searched {
			delete(o.things, k)
		}
	}
}

// maxLabels is how many labels a DNS name has at most.
const maxLabels = 127

// askedName returns the shortest name that a search path may have been added to; nil for none.
func (o *owner) askedName(name string) *thing {
	labels := 0
	for i := range len(name) - 1 {
		if name[i] != '.' {
			continue
		}
		if t := o.things[thingKey{topic: topicDNS, name: name[:i+1]}]; t != nil {
			return t
		}
		if labels++; labels == maxLabels {
			return nil
		}
	}
	return nil
}

// dropObservedClients removes the connections that a workload has answered where the one that has opened them is
// observed in one of the recordings: it reports them.
func (c *comparison) dropObservedClients(p *Profile) {
	if c.observed == nil {
		c.observed = map[string]bool{}
		for _, p := range []*Profile{c.before, c.after} {
			for k := range p.owners {
				c.observed[k.namespace+"/"+k.workload] = true
			}
		}
	}
	for _, o := range p.owners {
		for k := range o.things {
			if k.topic == topicClient && c.observed[k.name] {
				delete(o.things, k)
			}
		}
	}
}
