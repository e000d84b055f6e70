package install

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

// Pod is the state of an agent or a server.
type Pod struct {
	// Component is deploy.ComponentAgent or deploy.ComponentServer.
	Component string
	Node, Pod string
	Ready     bool
	Version   string
	Restarts  int32
	// Reason is why the pod is not ready, or the end of its container before the last restart; empty: none.
	Reason string
	// Stuck: the pod will not become ready unless something changes.
	Stuck bool
}

// describePod reads the state of a pod of orb8.
func describePod(p *corev1.Pod) Pod {
	d := Pod{
		Component: p.Labels[deploy.LabelComponent], Node: nodeOf(p), Pod: p.Name,
		Version: p.Annotations[deploy.AnnotationVersion],
	}
	status := containerStatus(p, d.Component)
	if status != nil {
		d.Restarts = status.RestartCount
	}
	for _, c := range p.Status.Conditions {
		d.Ready = d.Ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	d.Ready = d.Ready && p.DeletionTimestamp == nil
	d.Reason, d.Stuck = reasonOf(p, status)
	if d.Ready && d.Restarts == 0 {
		d.Reason, d.Stuck = "", false
	}
	d.Stuck = d.Stuck && !d.Ready
	return d
}

// nodeOf returns the node of a pod, also of one of a DaemonSet that is not scheduled yet.
func nodeOf(p *corev1.Pod) string {
	if p.Spec.NodeName != "" || p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil {
		return p.Spec.NodeName
	}
	required := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return ""
	}
	for _, term := range required.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}

func containerStatus(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for i := range p.Status.ContainerStatuses {
		if p.Status.ContainerStatuses[i].Name == name {
			return &p.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// reasonOf returns what a pod waits for, and whether that will not come by itself.
func reasonOf(p *corev1.Pod, status *corev1.ContainerStatus) (reason string, stuck bool) {
	switch {
	case p.DeletionTimestamp != nil:
		return "ending", false
	case p.Status.Phase == corev1.PodFailed:
		return strings.TrimSpace(p.Status.Reason + " " + p.Status.Message), true
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "not scheduled: " + c.Message, true
		}
	}
	if status == nil {
		return "starting", false
	}
	if w := status.State.Waiting; w != nil {
		return waitingReason(status, w)
	}
	if t := status.State.Terminated; t != nil {
		return launch.EndOfContainer(t), true
	}
	if t := status.LastTerminationState.Terminated; t != nil {
		return "not ready; before its last restart it " + launch.EndOfContainer(t), false
	}
	if status.State.Running != nil {
		return "running, not ready", false
	}
	return "starting", false
}

func waitingReason(status *corev1.ContainerStatus, w *corev1.ContainerStateWaiting) (reason string, stuck bool) {
	switch w.Reason {
	case "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName":
		return fmt.Sprintf("can not pull image %s: %s", status.Image, launch.PullReason(status.Image, w.Message)), true
	case "ErrImagePull":
		return fmt.Sprintf("pulling image %s: %s", status.Image, launch.PullReason(status.Image, w.Message)), false
	case "CrashLoopBackOff":
		if t := status.LastTerminationState.Terminated; t != nil {
			return launch.EndOfContainer(t), true
		}
		return w.Reason + ": " + w.Message, true
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return w.Reason + ": " + w.Message, true
	}
	return "starting", false
}
