package launch

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// kubeletAnswers is how long a kubelet may take to acknowledge a pod that was bound to its node: it takes a second.
	kubeletAnswers = 10 * time.Second
	// schedulable is how long the scheduler may find no place on the one node that a tracer is for.
	schedulable = 15 * time.Second
)

// waitsInVain bounds the states of a pod that nothing but a repair of its node ends. limit is how long it may stay in
// the present one; 0: it may.
func waitsInVain(pod *corev1.Pod) (state string, limit time.Duration, err *StartError) {
	if pod == nil || ended(pod) || pod.Status.StartTime != nil {
		return "", 0, nil
	}
	if node := pod.Spec.NodeName; node != "" {
		return "kubelet", kubeletAnswers, &StartError{
			Reason: "kubelet", Message: fmt.Sprintf("the node's kubelet did not take up the tracer's pod within %v: "+
				"it may be down, or the node a virtual one",
				kubeletAnswers),
			Fix: "see kubectl describe node " + node,
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "scheduling", schedulable, &StartError{
				Reason: "scheduling", Message: fmt.Sprintf("no place for the tracer's pod on the node within %v: %s",
					schedulable, c.Message),
				Fix: "see kubectl describe node, or ask for less with --tracer-resources",
			}
		}
	}
	return "", 0, nil
}
