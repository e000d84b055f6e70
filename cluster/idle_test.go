package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

func TestFeed_IdleWithoutRunningPods(t *testing.T) {
	client := kubefake.New(fixture()...)
	c := open(t, client, Query{Namespace: "demo"}, Options{})
	feed := c.NewFeed("n1")
	idle := isIdle(feed)
	if idle() {
		t.Fatal("idle with a pod that runs")
	}
	if since, idle := c.NewFeed("n9").Idle(); !idle || !since.IsZero() {
		t.Errorf("a node that is not known is idle %v since %v", idle, since)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := feed.Busy(ctx); err != nil {
		t.Fatal(err)
	}
	done := pod("demo", "web-0", "n1", "10.2.0.5")
	done.Status.Phase = corev1.PodSucceeded
	watched(t, client, "pods", 2)
	began := time.Now()
	if _, err := client.CoreV1().Pods("demo").Update(ctx, done, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a finished pod leaves the node idle", idle)
	since, _ := feed.Idle()
	if since.Before(began) || since.After(time.Now()) {
		t.Errorf("idle since %v, not since its pod finished", since)
	}

	over, stop := context.WithCancel(ctx)
	stop()
	if err := feed.Busy(over); !errors.Is(err, context.Canceled) {
		t.Errorf("busy: %v", err)
	}
	busy := make(chan error, 1)
	go func() { busy <- feed.Busy(ctx) }()
	if _, err := client.CoreV1().Pods("demo").Create(ctx, pod("demo", "web-1", "n1", "10.2.0.8"),
		metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-busy; err != nil || idle() {
		t.Errorf("not busy with a new pod: %v", err)
	}
}

func isIdle(f *targets.Feed) func() bool {
	return func() bool {
		_, idle := f.Idle()
		return idle
	}
}
