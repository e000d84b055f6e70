package launch

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// A pod that is deleted stays until its kubelet has ended it: on a node without a working kubelet for ever.

// overdue is how long after its time a deleted pod may stay until its kubelet is taken for dead where nodes may not be
// read.
const overdue = time.Minute

// StrandedError reports a pod that its node does not end and that the user may not delete.
type StrandedError struct {
	Namespace, Pod, Node string
	Why                  string
	Err                  error
}

func (e *StrandedError) Error() string {
	return fmt.Sprintf("pod %s/%s stays on node %s, %s: %v; an administrator removes it with: "+
		"kubectl delete pod %s -n %s --force --grace-period=0", e.Namespace, e.Pod, e.Node, e.Why, e.Err, e.Pod,
		e.Namespace)
}

func (e *StrandedError) Unwrap() error { return e.Err }

// unreachable reports whether a pod's node cannot end it, and why. late is the answer for a node that the user may not
// read.
func unreachable(
	ctx context.Context, client kube.Interface, pod *corev1.Pod, late bool,
) (why string, yes bool, err error) {
	if pod.Spec.NodeName == "" {
		return "", false, nil // the API server removes it at once
	}
	node, err := client.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{})
	switch {
	case err == nil:
		_, ready := nodeReady(node)
		return "which is not ready", !ready, nil
	case apierrors.IsNotFound(err):
		return "which is no more", true, nil
	case apierrors.IsForbidden(err):
		return "whose kubelet does not answer", late, nil
	}
	return "", false, fmt.Errorf("read node %s: %w", pod.Spec.NodeName, err)
}

// removePod takes a pod out of the API without waiting for its kubelet. A pod that is gone is no error.
func removePod(ctx context.Context, client kube.Interface, pod *corev1.Pod, why string) error {
	err := client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr(int64(0)), Preconditions: &metav1.Preconditions{UID: &pod.UID},
	})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return &StrandedError{Namespace: pod.Namespace, Pod: pod.Name, Node: pod.Spec.NodeName, Why: why,
		Err: errors.New(reason(err))}
}

// endStranded removes the pod of a Job that was deleted where its node can not end it.
func (l *Launcher) endStranded(ctx context.Context, job string) error {
	l.mu.Lock()
	pod := l.tracer(job)
	l.mu.Unlock()
	if pod == nil || ended(pod) && pod.DeletionTimestamp == nil {
		return nil
	}
	why, yes, err := unreachable(ctx, l.client, pod, pod.Status.StartTime == nil)
	if err != nil || !yes {
		return err
	}
	return removePod(ctx, l.client, pod, why)
}

// SweepPods removes tracers' pods in a namespace ("" for all) that were deleted, or have no Job any more, and that
// their nodes cannot end. It returns a line about each.
func SweepPods(
	ctx context.Context, client kube.Interface, namespace string, now time.Time,
) (removed []string, err error) {
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: Labels().String()})
	if err != nil {
		return nil, fmt.Errorf("list leftovers: %w", err)
	}
	var errs []error
	for i := range pods.Items {
		pod := &pods.Items[i]
		late := pod.DeletionTimestamp != nil && now.After(pod.DeletionTimestamp.Add(overdue))
		if pod.DeletionTimestamp == nil {
			_, err := client.BatchV1().Jobs(pod.Namespace).Get(ctx, jobOf(pod), metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				continue // a session's
			}
		}
		why, yes, err := unreachable(ctx, client, pod, late)
		if err == nil && yes {
			err = removePod(ctx, client, pod, why)
		}
		switch {
		case err != nil:
			errs = append(errs, err)
		case yes:
			removed = append(removed,
				fmt.Sprintf("pod %s/%s on node %s, %s, was removed from the API; if the node comes back its "+
					"kubelet ends it",
					pod.Namespace, pod.Name, pod.Spec.NodeName, why))
		}
	}
	return removed, errors.Join(errs...)
}
