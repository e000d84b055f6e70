package pods

import (
	"net/netip"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

const (
	// Linger is how long pods and cgroups that are gone keep their names: the last event of a flow comes after its end,
	// and that of a UDP conversation only when it has been silent for half a minute.
	Linger = 2 * time.Minute

	// maxCgroups and maxGone bound what a node, or a container that may make cgroups of its own, can have us remember.
	maxCgroups = 1 << 16
	maxGone    = 1 << 12
)

// table joins pods and cgroups. It locks nothing and calls nobody.
type table struct {
	pods    map[string]*pod // by UID
	byKey   map[string]*pod // by UID and by config hash, canonical
	cgroups map[uint64]*cgroup
	tenants map[string]*tenants // by each pod in their paths, known or not
	unnamed map[uint64]*cgroup  // those whose status is Unnamed
	gone    []departed          // oldest first
}

func newTable() table {
	return table{
		pods:    make(map[string]*pod),
		byKey:   make(map[string]*pod),
		cgroups: make(map[uint64]*cgroup),
		tenants: make(map[string]*tenants),
		unnamed: make(map[uint64]*cgroup),
	}
}

// pod is one of the client's pods. It does not change but for leaving.
type pod struct {
	uid, namespace, name, workload string
	// keys are what its cgroups may carry: the UID, and a static pod's config hash.
	keys       []string
	target     bool
	filtered   bool              // some containers are wanted, others not
	containers map[string]bool   // name → wanted
	ids        map[string]string // runtime id → name
	unnamed    *Identity
	named      map[string]*Identity // by container name
	addresses  []netip.Addr
	leaving    bool
}

func newPod(node string, from *session.Pod) *pod {
	n := len(from.GetContainers())
	p := &pod{
		uid:        from.GetUid(),
		namespace:  from.GetNamespace(),
		name:       from.GetName(),
		workload:   from.GetWorkload(),
		keys:       []string{canonical(from.GetUid())},
		target:     from.GetTarget(),
		containers: make(map[string]bool, n),
		ids:        make(map[string]string, n),
		named:      make(map[string]*Identity, n),
	}
	if hash := from.GetConfigHash(); hash != "" {
		p.keys = append(p.keys, canonical(hash))
	}
	for _, b := range from.GetAddresses() {
		if a, ok := netip.AddrFromSlice(b); ok {
			p.addresses = append(p.addresses, a)
		}
	}
	p.unnamed = newIdentity(node, p, "")
	for _, c := range from.GetContainers() {
		p.containers[c.GetName()] = c.GetTarget()
		p.filtered = p.filtered || !c.GetTarget()
		p.named[c.GetName()] = newIdentity(node, p, c.GetName())
		if c.GetId() != "" {
			p.ids[c.GetId()] = c.GetName()
		}
	}
	return p
}

// cgroup is one cgroup of some pod.
type cgroup struct {
	id      uint64
	path    string
	places  []Place
	made    time.Time // when it was first heard of
	removed bool
	// container is its container's name once known. It stays when the pod's status moves on to a restarted container's
	// id.
	container string
	// anonymous: its events have waited long enough for a name.
	anonymous   bool
	kernelScope kernelScope

	identity *Identity
	status   Status
}

// kernelScope is the scope that the kernel last got for a cgroup.
type kernelScope uint8

const (
	scopeUnknown kernelScope = iota
	in
	out
)

// tenants are the cgroups of one pod.
type tenants struct {
	cgroups map[uint64]*cgroup
	learned map[string]string // container id → name, as its processes told it
	// sandbox is the container whose cgroup was made first: ids grow in the order of making. It is the pod's sandbox
	// ("pause"), which the pod's status does not list, wherever the runtime starts one.
	sandbox   string
	sandboxID uint64
}

// departed is a pod or cgroup that is gone but not yet forgotten.
type departed struct {
	at     time.Time
	pod    *pod
	cgroup *cgroup
}

// apply takes in an update with its upserted pods made. It returns the former selves of those that changed their keys,
// and the cgroups it may concern.
func (t *table) apply(
	update *session.PodUpdate, upserted []*pod, now time.Time,
) (rekeyed []*pod, touched map[uint64]*cgroup) {
	if update.GetComplete() {
		listed := make(map[string]bool, len(upserted))
		for _, p := range upserted {
			listed[p.uid] = true
		}
		for uid := range t.pods {
			if !listed[uid] {
				t.leave(uid, now)
			}
		}
	}
	for _, uid := range update.GetDeleteUids() {
		t.leave(uid, now)
	}
	touched = make(map[uint64]*cgroup)
	for _, p := range upserted {
		if old := t.pods[p.uid]; old != nil {
			t.drop(old, touched)
			if !slices.Equal(old.keys, p.keys) {
				rekeyed = append(rekeyed, old)
			}
		}
		t.pods[p.uid] = p
		for _, key := range p.keys {
			t.byKey[key] = p
			t.touch(key, touched)
		}
	}
	for _, c := range touched {
		t.identify(c)
	}
	return rekeyed, touched
}

// touch adds the cgroups of a pod key to touched.
func (t *table) touch(key string, touched map[uint64]*cgroup) {
	if tn := t.tenants[key]; tn != nil {
		for id, c := range tn.cgroups {
			touched[id] = c
		}
	}
}

func (t *table) leave(uid string, now time.Time) {
	if p := t.pods[uid]; p != nil && !p.leaving {
		p.leaving = true
		t.gone = append(t.gone, departed{at: now, pod: p})
	}
}

// drop takes a pod out and adds the cgroups that were its to touched.
func (t *table) drop(p *pod, touched map[uint64]*cgroup) {
	delete(t.pods, p.uid)
	for _, key := range p.keys {
		if t.byKey[key] == p {
			delete(t.byKey, key)
			t.touch(key, touched)
		}
	}
}

// add puts in a cgroup and returns it with those whose identity it may have changed.
func (t *table) add(id uint64, path string, places []Place, now time.Time) map[uint64]*cgroup {
	c := &cgroup{id: id, path: path, places: places, made: now}
	t.cgroups[id] = c
	touched := map[uint64]*cgroup{id: c}
	for _, place := range places {
		tn := t.tenants[place.Pod]
		if tn == nil {
			tn = &tenants{cgroups: make(map[uint64]*cgroup), learned: make(map[string]string)}
			t.tenants[place.Pod] = tn
		}
		tn.cgroups[id] = c
		// CRI-O starts no sandbox process for most pods: there the first cgroup is a container's.
		if place.Container != "" && place.Runtime != "crio" && (tn.sandbox == "" || id < tn.sandboxID) {
			other := tn.sandbox != "" && tn.sandbox != place.Container
			tn.sandbox, tn.sandboxID = place.Container, id
			if other {
				t.touch(place.Pod, touched)
			}
		}
	}
	for _, c := range touched {
		t.identify(c)
	}
	return touched
}

func (t *table) remove(id uint64, now time.Time) {
	if c := t.cgroups[id]; c != nil && !c.removed {
		c.removed = true
		t.gone = append(t.gone, departed{at: now, cgroup: c})
	}
}

// identify works out whose a cgroup is.
func (t *table) identify(c *cgroup) {
	c.identity, c.status = nil, Foreign
	for _, place := range c.places {
		if p := t.byKey[place.Pod]; p != nil {
			if p.target {
				c.identity, c.status = t.identifyIn(p, place, c)
			}
			break
		}
	}
	if c.status == Unnamed {
		t.unnamed[c.id] = c
	} else {
		delete(t.unnamed, c.id)
	}
}

// learn takes in a container's name and returns the container's cgroups.
func (t *table) learn(podKey, container, name string) map[uint64]*cgroup {
	touched := make(map[uint64]*cgroup)
	tn := t.tenants[podKey]
	if tn == nil {
		return touched
	}
	tn.learned[container] = name
	for id, c := range tn.cgroups {
		for _, place := range c.places {
			if place.Pod == podKey && place.Container == container {
				touched[id] = c
			}
		}
	}
	for _, c := range touched {
		t.identify(c)
	}
	return touched
}

func (t *table) identifyIn(p *pod, place Place, c *cgroup) (*Identity, Status) {
	if place.Container == "" {
		return p.unnamed, Named
	}
	if name, ok := p.ids[place.Container]; ok {
		c.container = name
	} else if name, ok := t.tenants[place.Pod].learned[place.Container]; ok {
		c.container = name
	}
	if wanted, ok := p.containers[c.container]; ok {
		if wanted {
			return p.named[c.container], Named
		}
		return nil, Foreign
	}
	switch {
	case t.tenants[place.Pod].sandbox == place.Container:
		if p.filtered {
			return nil, Foreign
		}
		return p.unnamed, Named
	case c.anonymous:
		return p.unnamed, Named
	default:
		return p.unnamed, Unnamed
	}
}

// addresses maps those of the observed pods to the pod's own cgroup, as far as that is known.
func (t *table) addresses() map[netip.Addr]uint64 {
	found := make(map[netip.Addr]uint64)
	for _, p := range t.pods {
		if !p.target || p.leaving || len(p.addresses) == 0 {
			continue
		}
		if cgroup, ok := t.cgroupOf(p); ok {
			for _, a := range p.addresses {
				found[a] = cgroup
			}
		}
	}
	return found
}

// cgroupOf gives the oldest cgroup that is a pod's and none of its containers'.
func (t *table) cgroupOf(p *pod) (id uint64, ok bool) {
	for _, key := range p.keys {
		tn := t.tenants[key]
		if tn == nil {
			continue
		}
		for _, c := range tn.cgroups {
			for _, place := range c.places {
				if place.Pod == key && place.Container == "" && !c.removed && (!ok || c.id < id) {
					id, ok = c.id, true
				}
			}
		}
	}
	return id, ok
}

// inTarget reports whether the kernel may observe a cgroup by its own judgement of the path.
func (t *table) inTarget(c *cgroup) bool {
	for _, place := range c.places {
		if p := t.byKey[place.Pod]; p != nil && p.target {
			return true
		}
	}
	return false
}

// expire forgets what has been gone for long enough and returns the pods it forgot and the cgroups that were theirs.
func (t *table) expire(now time.Time) (dismissed []*pod, touched map[uint64]*cgroup) {
	touched = make(map[uint64]*cgroup)
	for len(t.gone) > 0 && (len(t.gone) > maxGone || now.Sub(t.gone[0].at) >= Linger) {
		d := t.gone[0]
		t.gone[0] = departed{}
		t.gone = t.gone[1:]
		switch {
		case d.cgroup != nil:
			t.forget(d.cgroup)
		case t.pods[d.pod.uid] == d.pod: // it did not come back
			t.drop(d.pod, touched)
			dismissed = append(dismissed, d.pod)
		}
	}
	for _, c := range touched {
		t.identify(c)
	}
	return dismissed, touched
}

func (t *table) forget(c *cgroup) {
	delete(t.cgroups, c.id)
	delete(t.unnamed, c.id)
	for _, place := range c.places {
		tn := t.tenants[place.Pod]
		delete(tn.cgroups, c.id)
		delete(tn.learned, place.Container) // cgroups that are left of it have the name
		if len(tn.cgroups) == 0 {
			delete(t.tenants, place.Pod)
		}
	}
}
