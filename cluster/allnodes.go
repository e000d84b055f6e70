package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// gpuLabels are labels of nodes with GPUs: of NVIDIA's feature discovery, and of GKE.
var gpuLabels = []string{"nvidia.com/gpu.present", "cloud.google.com/gke-accelerator"}

// HasGPUs reports whether a node has GPUs by its capacity (nvidia.com/gpu, nvidia.com/mig-…), or by a label where pods
// get them in another way.
func HasGPUs(node *corev1.Node) bool {
	for name, quantity := range node.Status.Capacity {
		if strings.HasPrefix(string(name), "nvidia.com/") && !quantity.IsZero() {
			return true
		}
	}
	return slices.ContainsFunc(gpuLabels, func(label string) bool {
		value := node.Labels[label]
		return value != "" && value != "false"
	})
}

// addNodes makes all nodes targets, nodes with GPUs first, so that --max-nodes prefers them.
func (c *Cluster) addNodes(ctx context.Context) error {
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return nil // the watch for names reports it
	}
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	nodes := list.Items
	slices.SortFunc(nodes, func(a, b corev1.Node) int {
		x, y := HasGPUs(&a), HasGPUs(&b)
		switch {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	for i := range nodes {
		c.targets.AddNode(nodes[i].Name)
	}
	return nil
}
