// Package facts reads what Kubernetes reports about pods: their states, how their containers ended, their events, and
// whether the Services that they connect to have endpoints.
package facts

import (
	"context"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
)

const (
	// recent is how long ago what Kubernetes reports may have happened to matter now: more than the longest wait
	// between
	// two restarts, which is five minutes.
	recent = 10 * time.Minute
	// settled is how long a pod may take to become ready.
	settled = time.Minute
	// maxEvents bounds the events that are read of a namespace.
	maxEvents = 2000
)

// Read returns what Kubernetes reports about the pods that match a query now, and about workloads whose pods it does
// not create. Without the right to read events the facts say so.
func Read(ctx context.Context, client kube.Interface, q cluster.Query, now time.Time) ([]*pods.Facts, error) {
	matching, matches, err := cluster.Matching(ctx, client, q)
	if err != nil {
		return nil, err
	}
	of := map[string]*namespaceEvents{}
	var all []*pods.Facts
	for _, pod := range matching {
		if q.Container == "" && targets.Finished(pod) && metav1.GetControllerOf(pod) != nil && len(q.Names) == 0 {
			continue // what a controller has replaced, or a Job has done
		}
		events := of[pod.Namespace]
		if events == nil {
			events = readEvents(ctx, client, pod.Namespace)
			of[pod.Namespace] = events
		}
		all = append(all, about(pod, events, now))
	}
	without, err := uncreated(ctx, client, q, matches, now)
	return append(all, without...), err
}

// namespaceEvents are the events about pods of a namespace, by the pods' UIDs; nil where they may not be read.
type namespaceEvents struct {
	byUID   map[string][]*corev1.Event
	unknown bool
}

func readEvents(ctx context.Context, client kube.Interface, namespace string) *namespaceEvents {
	e := &namespaceEvents{byUID: map[string][]*corev1.Event{}}
	list, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("involvedObject.kind", "Pod").String(), Limit: maxEvents,
	})
	if err != nil {
		e.unknown = true
		return e
	}
	for i := range list.Items {
		event := &list.Items[i]
		uid := string(event.InvolvedObject.UID)
		e.byUID[uid] = append(e.byUID[uid], event)
	}
	return e
}

// lastTime is when an event happened last.
func lastTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

func about(pod *corev1.Pod, events *namespaceEvents, now time.Time) *pods.Facts {
	f := &pods.Facts{
		Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName,
		Workload: targets.Workload(pod), EventsUnknown: events.unknown,
		Ready: pod.Status.Phase == corev1.PodSucceeded,
	}
	began := pod.CreationTimestamp.Time
	ready := time.Time{}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			f.Ready, ready = true, c.LastTransitionTime.Time
		}
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			f.Message = c.Message
		}
	}
	f.Old = now.Sub(began) > settled
	addContainers(f, pod, now)
	addEvents(f, events.byUID[f.UID], ready, now)
	if pod.Status.Phase == corev1.PodPending && f.NotStarted == "" && f.Old {
		f.NotStarted = initializing(pod)
	}
	if pod.Status.Phase == corev1.PodPending && f.NotStarted == "" && !started(pod) && f.Old {
		f.NotStarted = f.Message
		if f.NotStarted == "" {
			f.NotStarted = "Kubernetes does not say why"
		}
	}
	return f
}

// initializing is which init container still runs; empty where none does. One that is restarted always is a sidecar.
func initializing(pod *corev1.Pod) string {
	for i := range pod.Status.InitContainerStatuses {
		s := &pod.Status.InitContainerStatuses[i]
		if s.State.Running == nil {
			continue
		}
		for j := range pod.Spec.InitContainers {
			c := &pod.Spec.InitContainers[j]
			if c.Name == s.Name && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
				return "init container " + s.Name + " still runs"
			}
		}
	}
	return ""
}

// statuses are those of all containers.
func statuses(pod *corev1.Pod) (all []*corev1.ContainerStatus) {
	for i := range pod.Status.InitContainerStatuses {
		all = append(all, &pod.Status.InitContainerStatuses[i])
	}
	for i := range pod.Status.ContainerStatuses {
		all = append(all, &pod.Status.ContainerStatuses[i])
	}
	return all
}

// started reports whether a container of the pod has ever run.
func started(pod *corev1.Pod) bool {
	for _, s := range statuses(pod) {
		if s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil {
			return true
		}
	}
	return false
}

// addContainers adds how the pod's containers are, and how they ended.
func addContainers(f *pods.Facts, pod *corev1.Pod, now time.Time) {
	var last *corev1.ContainerStateTerminated
	for _, s := range statuses(pod) {
		restarts := pod.Spec.RestartPolicy != corev1.RestartPolicyNever && !targets.Finished(pod) &&
			(s.State.Terminated != nil || s.LastTerminationState.Terminated != nil)
		f.Running = f.Running || s.State.Running != nil || restarts
		f.Restarts += uint64(max(s.RestartCount, 0))
		both := []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated}
		for _, ended := range both {
			if ended != nil && (last == nil || ended.FinishedAt.After(last.FinishedAt.Time)) &&
				(ended.ExitCode != 0 || ended.Signal != 0) {
				last = ended
			}
		}
		waiting := s.State.Waiting
		switch {
		case waiting == nil:
		case waiting.Reason == "CrashLoopBackOff":
			f.Restarting = true
		case waiting.Reason != "ContainerCreating" && waiting.Reason != "PodInitializing" && waiting.Reason != "":
			f.NotStarted = "container " + s.Name + ": " + waiting.Reason
			if waiting.Message != "" {
				f.NotStarted += ": " + waiting.Message
			}
		}
	}
	if last == nil {
		return
	}
	f.LastEnd = end(last)
	if now.Sub(last.FinishedAt.Time) < recent {
		f.Restarting = f.Restarting || f.Restarts > 0 || pod.Status.Phase == corev1.PodFailed
		f.OOMKilled = last.Reason == "OOMKilled"
	}
}

// end is how a container ended.
func end(t *corev1.ContainerStateTerminated) string {
	text := "exit code " + strconv.Itoa(int(t.ExitCode))
	if t.Signal != 0 {
		text = "signal " + strconv.Itoa(int(t.Signal))
	}
	if t.Reason != "" && t.Reason != "Error" {
		text += " (" + t.Reason + ")"
	}
	return text
}

// addEvents adds what the kubelet and others report of the pod. ready is since when the pod is ready.
func addEvents(f *pods.Facts, events []*corev1.Event, ready, now time.Time) {
	var newest time.Time
	for _, e := range events {
		at := lastTime(e)
		if now.Sub(at) > recent || e.Type != corev1.EventTypeWarning && e.Reason != "Killing" {
			continue
		}
		// A pod that becomes ready fails its probes until then.
		outgrown := !ready.IsZero() && at.Before(ready)
		switch {
		case e.Reason == "Unhealthy" && outgrown:
			continue
		case e.Reason == "Unhealthy":
			f.ProbeFailures += uint64(max(e.Count, 1))
		case e.Reason == "Killing":
			if failedProbe(e.Message) {
				f.KilledByProbe = true
			}
			continue
		case e.Reason == "BackOff" && f.Ready:
			continue
		}
		if at.After(newest) {
			newest = at
			f.Message = e.Reason + ": " + e.Message
		}
	}
}
