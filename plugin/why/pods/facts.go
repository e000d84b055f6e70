package pods

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Facts are what Kubernetes reports about a pod; without a name, about the pods that a workload lacks.
type Facts struct {
	Namespace, Name, UID, Node, Workload string
	// NotStarted is why the pod, or a container of it, has not been started; empty where all have been.
	NotStarted string
	// Running: a container of it runs, or will be restarted.
	Running bool
	// Ready: the pod is ready, or has ended well. Old: it has had the time to become so.
	Ready, Old bool
	Restarts   uint64
	// Restarting: a container waits to be restarted after an error, or has been restarted in the last minutes.
	Restarting bool
	// OOMKilled: it was for want of memory that the last container ended, in the last minutes.
	OOMKilled bool
	// LastEnd is how the last container ended: "exit code 1"; empty where none has.
	LastEnd string
	// ProbeFailures is how many probes failed in the last minutes; KilledByProbe: a container was ended for it.
	ProbeFailures uint64
	KilledByProbe bool
	// Message is what Kubernetes says last of what is wrong.
	Message string
	// EventsUnknown: the pod's events could not be read.
	EventsUnknown bool
}

// Event is what recordings keep of them.
func (f *Facts) Event(at time.Time) *event.Event {
	s := &event.PodState{NotStarted: f.NotStarted, Running: f.Running, Ready: f.Ready, Settled: f.Old,
		Restarts: f.Restarts, Restarting: f.Restarting, OomKilled: f.OOMKilled, LastEnd: f.LastEnd,
		KilledByProbe: f.KilledByProbe, Message: f.Message}
	if !f.EventsUnknown {
		s.ProbeFailures = &f.ProbeFailures
	}
	return &event.Event{Time: uint64(at.UnixNano()), Node: f.Node, Namespace: f.Namespace, Pod: f.Name, PodUid: f.UID,
		Workload: f.Workload, Kind: &event.Event_PodState{PodState: s}}
}

// onState takes what a recording keeps.
func (w *Watch) onState(ev *event.Event, s *event.PodState) {
	// Whoever made a recording may name a workload as a pod.
	uncreated := strings.Contains(ev.GetWorkload(), "/") && s.GetNotStarted() != ""
	if ev.GetPod() == "" && !uncreated || ev.GetNamespace() == "" {
		return
	}
	w.SetFacts(&Facts{
		Namespace: ev.GetNamespace(), Name: ev.GetPod(), UID: ev.GetPodUid(), Node: ev.GetNode(),
		Workload: ev.GetWorkload(), NotStarted: s.GetNotStarted(), Running: s.GetRunning(), Ready: s.GetReady(),
		Old: s.GetSettled(), Restarts: s.GetRestarts(), Restarting: s.GetRestarting(), OOMKilled: s.GetOomKilled(),
		LastEnd: s.GetLastEnd(), ProbeFailures: s.GetProbeFailures(), KilledByProbe: s.GetKilledByProbe(),
		Message: s.GetMessage(), EventsUnknown: s.ProbeFailures == nil,
	})
}

// SetFacts takes what Kubernetes reports about a pod; a later word replaces an earlier one.
func (w *Watch) SetFacts(f *Facts) {
	// No pod has the name of a workload: it has a slash.
	if p := w.pod(podKey{f.Namespace, cmp.Or(f.Name, f.Workload)}); p != nil {
		p.facts = f
		if p.node == "" {
			p.node = f.Node
		}
		if p.workload == "" {
			p.workload = f.Workload
		}
		if p.uid == "" {
			p.uid = f.UID
		}
	}
}

// Service is a Service that pods failed to connect to.
type Service struct{ Namespace, Name string }

// Failing lists the Services that pods failed to connect to.
func (w *Watch) Failing() (list []Service) {
	for _, p := range w.pods {
		for k, x := range p.peers {
			s := Service{k.namespace, k.service}
			if k.service != "" && x.failures() > 0 && !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return list
}

// Endpoints are those of a Service.
type Endpoints struct {
	Ready bool
	// NotReady is the first of its pods that is not ready, or else the workload of its pods ("deploy/web"), which has
	// none with an address; empty where neither is known.
	NotReady string
}

// Event is what recordings keep of a Service.
func (s Service) Event(at time.Time, e Endpoints) *event.Event {
	return &event.Event{Time: uint64(at.UnixNano()), Namespace: s.Namespace,
		Kind: &event.Event_ServiceState{ServiceState: &event.ServiceState{Name: s.Name, HasEndpoints: e.Ready,
			NotReadyPod: e.NotReady}}}
}

// SetEndpoints takes the endpoints of a Service.
func (w *Watch) SetEndpoints(s Service, e Endpoints) {
	if _, known := w.endpoints[s]; !known && len(w.endpoints) == maxServices {
		w.full = true
		return
	}
	w.endpoints[s] = e
}
