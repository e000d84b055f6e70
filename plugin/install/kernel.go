package install

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/internal/capabilities"
)

// oldestKernel returns the release of the oldest kernel of the selected nodes whose agents need more capabilities than
// those on a current kernel; nothing where there are none, or where the user may not list nodes. All agents of the
// DaemonSet have the same capabilities.
func (i *Installer) oldestKernel(ctx context.Context, values *deploy.Values) string {
	nodes, err := i.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(values.NodeSelector).String(), ResourceVersion: "0",
	})
	if err != nil {
		return ""
	}
	gpu := slices.Contains(values.Kinds, "gpu")
	oldest, least := "", [2]int{}
	for n := range nodes.Items {
		info := &nodes.Items[n].Status.NodeInfo
		var have [2]int
		if _, err := fmt.Sscanf(info.KernelVersion, "%d.%d", &have[0], &have[1]); err != nil ||
			info.OperatingSystem != "linux" || !needsMore(info.KernelVersion, gpu && cluster.HasGPUs(&nodes.Items[n])) {
			continue
		}
		if oldest == "" || slices.Compare(have[:], least[:]) < 0 {
			oldest, least = info.KernelVersion, have
		}
	}
	return oldest
}

// needsMore reports whether an agent needs more capabilities on a kernel than on a current one.
func needsMore(kernel string, gpu bool) bool {
	return !slices.Equal(capabilities.For(kernel, gpu), capabilities.For("", gpu))
}
