package metrics

import (
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// pods are the pods of the node, and the workloads that they are of.
type pods struct {
	byPod  bool // the owner of a series is a pod, not a workload
	byUID  map[string]*podRef
	owners map[string]*owner
	key    []byte
}

type podRef struct {
	namespace, name, workload string
	gone                      bool
}

// owner is whose series end together: a workload, or a pod.
type owner struct {
	pods  int   // alive
	rows  int   // that are its own
	gone  int64 // when the last pod ended, s since the Unix epoch
	peers int   // rows of a peer's address
	crowd *crowd
}

// subject is the pod of an event. Its slices are of the event.
type subject struct {
	namespace, pod, uid, workload []byte
}

func (p *pods) init() {
	p.byUID, p.owners = map[string]*podRef{}, map[string]*owner{}
}

// rebuild makes the owners anew.
func (p *pods) rebuild(byPod bool) {
	p.byPod = byPod
	clear(p.owners)
	for _, ref := range p.byUID {
		p.owner(ref).pods++
	}
}

func (p *pods) apply(update *session.PodUpdate, now int64) {
	if update.GetComplete() {
		wanted := map[string]bool{}
		for _, pod := range update.GetUpsert() {
			wanted[pod.GetUid()] = true
		}
		for uid := range p.byUID {
			if !wanted[uid] {
				p.delete(uid, now)
			}
		}
	}
	for _, pod := range update.GetUpsert() {
		ref := &podRef{namespace: pod.GetNamespace(), name: pod.GetName(),
			workload: workloadOf(pod.GetWorkload(), pod.GetName())}
		if had := p.byUID[pod.GetUid()]; had != nil && *had == *ref {
			continue
		}
		p.delete(pod.GetUid(), now)
		p.byUID[pod.GetUid()] = ref
		p.owner(ref).pods++
	}
	for _, uid := range update.GetDeleteUids() {
		p.delete(uid, now)
	}
}

func (p *pods) delete(uid string, now int64) {
	ref, ok := p.byUID[uid]
	if !ok {
		return
	}
	delete(p.byUID, uid)
	ref.gone = true
	if o := p.owner(ref); o.pods > 0 {
		o.pods--
		o.gone = now
	}
}

// workloadOf is the label workload of a pod: the pod itself where nothing owns it.
func workloadOf(workload, pod string) string {
	if workload == "" && pod != "" {
		return "pod/" + pod
	}
	return workload
}

func (p *pods) owner(ref *podRef) *owner {
	return p.ownerOf(&subject{namespace: []byte(ref.namespace), pod: []byte(ref.name),
		workload: []byte(ref.workload)}, 0)
}

// ownerOf returns the owner of a subject, and makes it where there is none.
func (p *pods) ownerOf(s *subject, now int64) *owner {
	p.key = append(append(append(p.key[:0], s.namespace...), 0), s.workload...)
	if p.byPod {
		p.key = append(append(p.key, 0), s.pod...)
	}
	o := p.owners[string(p.key)]
	if o == nil {
		o = &owner{gone: now}
		p.owners[string(p.key)] = o
	}
	return o
}

// workload returns the workload of a pod by its name; empty where it is not known.
func (p *pods) workload(namespace, name string) string {
	for _, ref := range p.byUID {
		if ref.name == name && ref.namespace == namespace {
			return ref.workload
		}
	}
	return ""
}

// sweep removes owners without pods and series.
func (p *pods) sweep() {
	for key, o := range p.owners {
		if o.pods == 0 && o.rows == 0 {
			delete(p.owners, key)
		}
	}
}
