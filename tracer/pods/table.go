package pods

import (
	"net/netip"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

const (
	// Linger is how long ended pods and removed cgroups keep their names: the last event of a flow comes after its end,
	// that of a UDP conversation after half a minute without packets.
	Linger = 2 * time.Minute

	// maxCgroups limits the known cgroups, maxGone the ended pods and removed cgroups. A container may create cgroups.
	maxCgroups = 1 << 16
	maxGone    = 1 << 12
)

// table matches pods with cgroups. It has no locks and makes no calls to the scope.
type table struct {
	pods    map[string]*pod // by UID
	byKey   map[string]*pod // by UID and by config hash, canonical
	cgroups map[uint64]*cgroup
	tenants map[string]*tenants // by each pod key in the cgroups' paths, known or not
	unnamed map[uint64]*cgroup  // cgroups with status Unnamed
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

// pod is one of the client's pods. Only leaving changes.
type pod struct {
	uid, namespace, name, workload string
	// keys are the ids in the paths of its cgroups: the UID, and a static pod's config hash.
	keys       []string
	target     bool
	filtered   bool              // some containers are no targets
	containers map[string]bool   // name → target
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
	made    time.Time // when it was added to the table
	removed bool
	// container is its container's name once known. It stays when the pod's status changes to the id of a restarted
	// container.
	container string
	// anonymous: its events no longer wait for a name.
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
	learned map[string]string // container id → name, from its processes' mount tables
	// sandbox is the container with the oldest cgroup (the lowest id). If the runtime starts a sandbox process, it is
	// the pod's sandbox ("pause"), which the pod's status does not list.
	sandbox   string
	sandboxID uint64
}

// departed is an ended pod or removed cgroup that is still in the table.
type departed struct {
	at     time.Time
	pod    *pod
	cgroup *cgroup
}

// apply applies an update whose upserted pods are converted. It returns the previous versions of pods with other keys,
// and the cgroups whose identity may have changed.
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

// drop removes a pod and adds its cgroups to touched.
func (t *table) drop(p *pod, touched map[uint64]*cgroup) {
	delete(t.pods, p.uid)
	for _, key := range p.keys {
		if t.byKey[key] == p {
			delete(t.byKey, key)
			t.touch(key, touched)
		}
	}
}

// add adds a cgroup. It returns the cgroup and those whose identity may have changed.
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

// identify sets the identity and status of a cgroup.
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

// learn stores a container's name and returns the container's cgroups.
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

// addresses maps the addresses of the observed pods to the pods' own cgroups, as far as they are known.
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

// cgroupOf returns the oldest cgroup of a pod outside its containers.
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

// inTarget reports whether the kernel may observe a cgroup because its path holds a target's UID.
func (t *table) inTarget(c *cgroup) bool {
	for _, place := range c.places {
		if p := t.byKey[place.Pod]; p != nil && p.target {
			return true
		}
	}
	return false
}

// expire removes expired pods and cgroups. It returns the removed pods and the cgroups that belonged to them.
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
		delete(tn.learned, place.Container) // its other cgroups have the name
		if len(tn.cgroups) == 0 {
			delete(t.tenants, place.Pod)
		}
	}
}
