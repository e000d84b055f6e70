package kit

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Rollout gives a Deployment's workload other arguments, and waits until only pods with these are there.
func (e *Env) Rollout(t testing.TB, namespace, name string, args ...string) {
	t.Helper()
	deployments := e.Client.AppsV1().Deployments(namespace)
	d, err := deployments.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.Spec.Template.Spec.Containers[0].Args = args
	if _, err := deployments.Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.awaitRollout(t, namespace, name)
}

// awaitRollout waits until all pods of a Deployment are ready and of its newest version.
func (e *Env) awaitRollout(t testing.TB, namespace, name string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), poll, waitTimeout, true, func(ctx context.Context) (bool, error) {
		d, err := e.Client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		s, want := &d.Status, *d.Spec.Replicas
		return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.ReadyReplicas == want &&
			s.Replicas == want && (s.TerminatingReplicas == nil || *s.TerminatingReplicas == 0), nil
	})
	if err != nil {
		t.Fatalf("deployment %s: %v", name, err)
	}
}
