package facts

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

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

// maxWorkloads bounds the workloads that are examined for a Service.
const maxWorkloads = 500

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
			e := endpointsOf(list)
			if !e.Ready && e.NotReady == "" {
				e.NotReady = workloadOf(ctx, client, s)
			}
			report(s, e)
		}
	}
	return nil
}

// workloadOf is the workload whose pods a Service selects, as events have it; empty where none is found. A user without
// the right to list workloads may still get one by name: that of the Service is tried.
func workloadOf(ctx context.Context, client kube.Interface, s pods.Service) string {
	service, err := client.CoreV1().Services(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil || len(service.Spec.Selector) == 0 {
		return ""
	}
	selector := labels.SelectorFromSet(service.Spec.Selector)
	for _, kind := range []string{"Deployment", "StatefulSet"} {
		all, err := controllersOf(ctx, client, kind, s.Namespace)
		if err != nil {
			if c, err := controllerOf(ctx, client, kind, s.Namespace, s.Name); err == nil && c != nil {
				all = append(all, c)
			}
		}
		for _, c := range all {
			if selector.Matches(labels.Set(c.labels)) {
				return c.workload()
			}
		}
	}
	return ""
}

// controllersOf lists the Deployments or the StatefulSets of a namespace, with their names and labels.
func controllersOf(ctx context.Context, client kube.Interface, kind, namespace string) (all []*controller, err error) {
	some := metav1.ListOptions{Limit: maxWorkloads}
	add := func(meta *metav1.ObjectMeta, template *corev1.PodTemplateSpec) {
		all = append(all, &controller{kind: kind, meta: meta, labels: template.Labels})
	}
	if kind == "Deployment" {
		list, err := client.AppsV1().Deployments(namespace).List(ctx, some)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			add(&list.Items[i].ObjectMeta, &list.Items[i].Spec.Template)
		}
		return all, nil
	}
	list, err := client.AppsV1().StatefulSets(namespace).List(ctx, some)
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		add(&list.Items[i].ObjectMeta, &list.Items[i].Spec.Template)
	}
	return all, nil
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
