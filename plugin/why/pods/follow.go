package pods

import (
	"cmp"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// led are the causes that a peer has brought about, so that its own verdict may say why.
var led = map[event.PodCause]bool{
	slowPeer: true, refused: true, unanswered: true, reset: true, noEndpoints: true,
}

// LeadsTo is the pod or workload that a verdict blames; false where it blames none that can be judged.
func (w *Watch) LeadsTo(ev *event.Event) (Target, bool) {
	v := ev.GetPodVerdict()
	p := w.pods[podKey{ev.GetNamespace(), ev.GetPod()}]
	if p == nil || !led[v.GetVerdict()] {
		return Target{}, false
	}
	for k, x := range p.peers {
		switch notReady := w.endpoints[Service{k.namespace, k.service}].NotReady; {
		case k.name != v.GetPeer():
		case v.GetVerdict() == noEndpoints && k.service != "" && notReady != "":
			return Target{k.namespace, notReady}, true
		case x.who != (Target{}):
			return x.who, true
		}
	}
	return Target{}, false
}

// Explain corrects a verdict of connections that nobody answers, where the pods of the target saw a policy drop them.
func (w *Watch) Explain(ev *event.Event, target Target) {
	v := ev.GetPodVerdict()
	if v.GetVerdict() != unanswered {
		return
	}
	client := &pod{podKey: podKey{ev.GetNamespace(), ev.GetPod()}, workload: ev.GetWorkload()}
	for _, server := range w.pods {
		if server.is(target) && server.drops(client) > 0 {
			v.Shares[policyDrop] += v.Shares[unanswered]
			v.Shares[unanswered] = 0
			v.Verdict, v.Words = policyDrop, words(policyDrop, v.GetPeer())
			v.Next = next(server, policyDrop, v.GetPeer())
			return
		}
	}
}

// Busiest is the pod of a node that used its CPUs most, but for those that spare names, with its CPUs; empty without
// any.
func (w *Watch) Busiest(node string, spare func(namespace, pod string) bool) (namespace, name string, cpus float64) {
	for k, p := range w.pods {
		if p.node != node || spare(k.namespace, k.name) {
			continue
		}
		u := p.use(func(c *container, row int) float64 { return c.series.Whole(row) })
		if u.cpu > cpus || u.cpu == cpus && name != "" && cmp.Or(cmp.Compare(k.namespace, namespace),
			cmp.Compare(k.name, name)) < 0 {
			namespace, name, cpus = k.namespace, k.name, u.cpu
		}
	}
	return namespace, name, cpus
}

// Blame adds to a verdict of a crowded node which pod uses its CPUs.
func Blame(v *event.PodVerdict, pod string, cpus float64) {
	v.Peer = pod
	v.Words = words(
		crowdedNode,
		"",
	) + ", and " + pod + " uses " + string(
		event.AppendRate(nil, cpus),
	) + " of its CPUs"
}
