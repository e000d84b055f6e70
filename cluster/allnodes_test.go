package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

func gpuNodes() *kubefake.Client {
	bare := func(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	with := func(name string, resources corev1.ResourceName, count string) *corev1.Node {
		n := bare(name)
		n.Status.Capacity = corev1.ResourceList{resources: resource.MustParse(count), "cpu": resource.MustParse("8")}
		return n
	}
	labelled := bare("n6")
	labelled.Labels = map[string]string{"nvidia.com/gpu.present": "true"}
	return kubefake.New(
		bare("n1"), with("n2", "nvidia.com/gpu", "0"), with("n3", "nvidia.com/mig-1g.10gb", "7"), bare("n4"),
		with("n5", "nvidia.com/gpu", "8"), labelled, pod("demo", "web-0", "n4", "10.2.0.5"),
	)
}

func TestCluster_AllNodesGPUsFirst(t *testing.T) {
	client := gpuNodes()
	c := open(t, client, Query{AllNamespaces: true, AllNodes: true}, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next := func() string {
		t.Helper()
		node, err := c.NextNode(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return node
	}
	var got []string
	for range 6 {
		got = append(got, next())
	}
	if want := "n3 n5 n6 n1 n2 n4"; strings.Join(got, " ") != want {
		t.Errorf("nodes %v, want %s", got, want)
	}
	if pods, nodes := c.Targets(); pods != 1 || nodes != 6 {
		t.Errorf("%d pods on %d nodes, want 1 on 6", pods, nodes)
	}
	feed := c.NewFeed("n1")
	if isIdle(feed)() {
		t.Error("a node without pods is idle")
	}
	// A new node becomes a target, and a removed one stops being one.
	watched(t, client, "nodes", 1)
	late := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n7"}}
	if _, err := client.CoreV1().Nodes().Create(ctx, late, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if node := next(); node != "n7" {
		t.Errorf("next node %s, want n7", node)
	}
	if err := client.CoreV1().Nodes().Delete(ctx, "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deleted node is idle", isIdle(feed))
}

func TestCluster_AllNodesForbidden(t *testing.T) {
	client := gpuNodes()
	refuse(client, "nodes", "")
	c := open(t, client, Query{AllNamespaces: true, AllNodes: true}, Options{})
	if pods, nodes := c.Targets(); pods != 1 || nodes != 1 {
		t.Errorf("%d pods on %d nodes, want the one with a pod", pods, nodes)
	}
}
