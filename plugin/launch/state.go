package launch

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// FindTracer returns the tracer's container of a pod's spec, by its name. Admission may have added containers before or
// after it.
func FindTracer(spec *corev1.PodSpec) (*corev1.Container, bool) {
	for i := range spec.Containers {
		if spec.Containers[i].Name == Container {
			return &spec.Containers[i], true
		}
	}
	return nil, false
}

// statusOf is the status of the tracer's container; nil where the kubelet has reported none.
func statusOf(pod *corev1.Pod) *corev1.ContainerStatus {
	for i := range pod.Status.ContainerStatuses {
		if pod.Status.ContainerStatuses[i].Name == Container {
			return &pod.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// shared reports whether the pod has containers besides the tracer's that may run on after it. Init containers do not:
// those that are sidecars are ended by the kubelet when the others have ended.
func shared(pod *corev1.Pod) bool { return len(pod.Spec.Containers) > 1 }

// judge reports whether the pod's tracer runs, else what it waits for, or why it will never run.
func judge(pod *corev1.Pod) (running bool, waits string, err *StartError) {
	if ended(pod) {
		return false, "", &StartError{Reason: "failed", Message: "tracer " + endOf(pod)}
	}
	image := ""
	if c, ok := FindTracer(&pod.Spec); ok {
		image = c.Image
	}
	if s := statusOf(pod); s != nil && s.State.Running != nil {
		return true, "", nil
	}
	for i := range pod.Status.InitContainerStatuses {
		if waits, err := judgeWaiting(&pod.Status.InitContainerStatuses[i], "init container "+
			pod.Status.InitContainerStatuses[i].Name+": "); waits != "" || err != nil {
			return false, waits, err
		}
	}
	if s := statusOf(pod); s != nil {
		if waits, err := judgeWaiting(s, ""); waits != "" || err != nil {
			return false, waits, err
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return false, "scheduling: " + c.Message, nil
		}
	}
	if pod.Spec.NodeName == "" {
		return false, "waiting for the scheduler", nil
	}
	return false, "starting the container (pulling image " + image + " where it is not there yet)", nil
}

// judgeWaiting returns what a container waits for, or why it will never run; neither while the container is created.
// label names the container where it is not the tracer's.
func judgeWaiting(s *corev1.ContainerStatus, label string) (waits string, err *StartError) {
	w := s.State.Waiting
	if w == nil {
		return "", nil
	}
	switch w.Reason {
	case "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName":
		fix := "name another with --image, or a secret with --image-pull-secret"
		if label != "" {
			fix = "admission has put it into the tracer's pod: run tracers in another namespace with --tracer-namespace"
		}
		return "", &StartError{Reason: "image", Message: fmt.Sprintf("%scan not pull image %s: %s", label, s.Image,
			PullReason(s.Image, w.Message)), Fix: fix}
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff":
		return "", &StartError{Reason: "failed", Message: label + w.Reason + ": " + w.Message}
	case "ErrImagePull":
		return label + "pulling image " + s.Image + ": " + PullReason(s.Image, w.Message), nil
	}
	return "", nil
}

// ended reports whether the pod's tracer has ended, whatever else runs in the pod.
func ended(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	s := statusOf(pod)
	return s != nil && s.State.Terminated != nil
}

// endOf describes how a pod's tracer ended.
func endOf(pod *corev1.Pod) string {
	if s := statusOf(pod); s != nil && s.State.Terminated != nil {
		return EndOfContainer(s.State.Terminated)
	}
	for i := range pod.Status.InitContainerStatuses {
		s := &pod.Status.InitContainerStatuses[i]
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			return "never ran: init container " + s.Name + " " + EndOfContainer(t)
		}
	}
	if pod.Status.Message != "" {
		return "ended: " + pod.Status.Message
	}
	if pod.DeletionTimestamp != nil {
		return "ended: the pod was deleted"
	}
	return "ended: " + string(pod.Status.Phase)
}

// EndOfContainer describes how a container ended, and what it wrote last.
func EndOfContainer(t *corev1.ContainerStateTerminated) string {
	how := fmt.Sprintf("exited with code %d", t.ExitCode)
	if t.Signal != 0 {
		how = fmt.Sprintf("was killed by signal %d", t.Signal)
	} else if t.ExitCode > 128 {
		// The runtime reports signals as a shell does.
		how = fmt.Sprintf("was killed by signal %d", t.ExitCode-128)
	}
	if t.Reason == "OOMKilled" {
		how = "was killed for its memory limit"
	}
	if message := lastWords(t.Message); message != "" {
		how += ": " + message
	}
	return how
}

// lastWords filters the end of a container's log, as the kubelet reports it: without the tracer's ready line and INFO
// lines, which do not explain the end.
func lastWords(log string) string {
	var lines []string
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		_, _, announcement, _ := session.ParseReady(line)
		if line != "" && !announcement && !strings.Contains(line, " level=INFO ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
