package collect

// noName is the name of an address that has none.
var noName Name

// observedName is the name of an end that is observed itself, where its address has no other names than its own.
var observedName = Name{Observed: true}

func (n *Name) empty() bool {
	return n.Pod == "" && n.Service == "" && n.Node == "" && n.Host == "" && n.Hint == nil
}

// maxSharedNames limits the names that are kept to be shared.
const maxSharedNames = 4096

// share returns a name that flows to one address share: it takes half as much memory as a flow.
func (c *Collector) share(n Name) *Name {
	if n == noName {
		return &noName
	}
	return c.names.get(n)
}

// trimNames drops the names of the ends' pods once both ends are observed: their own halves name them. Names of
// Services and hosts stay, and what may still get a name.
func (f *flow) trimNames() {
	if !f.both() {
		return
	}
	for i := range f.ends {
		if n := f.ends[i].name; n.Service == "" && n.Host == "" && n.Hint == nil && !n.empty() {
			f.ends[i].name = &observedName
		}
	}
}
