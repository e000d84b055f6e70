package facts

import (
	"context"
	"fmt"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
)

// failedProbe reports whether the kubelet ends a container for a probe: "Container web failed liveness probe, will be
// restarted" (kubelet, kuberuntime_manager.go).
func failedProbe(message string) bool {
	return strings.Contains(message, "failed liveness probe") ||
		strings.Contains(message, "failed startup probe")
}

// maxServices bounds the requests of Endpoints.
const maxServices = 50

// Endpoints reports the endpoints of Services, as far as it may read them.
func Endpoints(
	ctx context.Context,
	client kube.Interface,
	services []pods.Service,
	report func(pods.Service, pods.Endpoints),
) error {
	for _, s := range services[:min(len(services), maxServices)] {
		list, err := client.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, metav1.ListOptions{
			LabelSelector: discoveryv1.LabelServiceName + "=" + s.Name,
		})
		switch {
		case apierrors.IsForbidden(err):
		case err != nil:
			return fmt.Errorf("list endpoint slices of service %s/%s: %w", s.Namespace, s.Name, err)
		default:
			report(s, endpointsOf(list))
		}
	}
	return nil
}

func endpointsOf(list *discoveryv1.EndpointSliceList) (e pods.Endpoints) {
	for i := range list.Items {
		for j := range list.Items[i].Endpoints {
			endpoint := &list.Items[i].Endpoints[j]
			// Unknown means ready (EndpointConditions.Ready).
			if ready := endpoint.Conditions.Ready; ready == nil || *ready {
				e.Ready = true
			} else if pod := endpoint.TargetRef; pod != nil && pod.Kind == "Pod" && (e.NotReady == "" ||
				pod.Name < e.NotReady) {
				e.NotReady = pod.Name
			}
		}
	}
	return e
}
