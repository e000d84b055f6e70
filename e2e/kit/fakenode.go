package kit

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
)

// FakeNode creates a Node without a kubelet and deletes it at the end of the test.
func (e *Env) FakeNode(t testing.TB, node *corev1.Node) {
	t.Helper()
	nodes := e.Client.CoreV1().Nodes()
	made, err := nodes.Create(t.Context(), node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nodes.Delete(context.Background(), node.Name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete node %s: %v", node.Name, err)
		}
	})
	// Controllers update a new node too, so updates can conflict.
	if err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		made.Status = node.Status
		_, err := nodes.UpdateStatus(t.Context(), made, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			if now, getErr := nodes.Get(t.Context(), node.Name, metav1.GetOptions{}); getErr == nil {
				made = now
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// FakePod creates a pod on a fake node, with the phase Running, and deletes it at the end of the test without grace.
func (e *Env) FakePod(t testing.TB, s PodSpec) {
	t.Helper()
	pods := e.Client.CoreV1().Pods(s.Namespace)
	pod := s.Object()
	pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	pod, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		now := int64(0)
		if err := pods.Delete(context.Background(), s.Name,
			metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Errorf("delete pod %s: %v", s.Name, err)
		}
	})
	pod.Status.Phase = corev1.PodRunning
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TracerPods returns the names of a namespace's tracer pods in any phase. It waits up to CleanupTime for pods that are
// being deleted.
func (e *Env) TracerPods(t testing.TB, namespace string) (names []string) {
	t.Helper()
	_ = wait.PollUntilContextTimeout(t.Context(), poll, CleanupTime, true, func(ctx context.Context) (bool, error) {
		pods, err := e.Client.CoreV1().Pods(namespace).List(ctx,
			metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=kubectl-orb8"})
		if err != nil {
			return false, err
		}
		names = nil
		for _, p := range pods.Items {
			names = append(names, p.Name)
		}
		return len(names) == 0, nil
	})
	return names
}
