package plugin

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
)

// specsTime bounds the requests for the specs of observed pods.
const specsTime = 10 * time.Second

// containerSpecs are the specs of containers by their workload, of its newest pod.
type containerSpecs map[manifest.Owner]map[string]containerSpec

// containerSpec is a container as Kubernetes has it now.
type containerSpec struct {
	init      bool
	resources corev1.ResourceRequirements
	// oomKilled: some pod's container was killed for want of memory before its last restart.
	oomKilled bool
	created   metav1.Time
}

// find is the spec of a container; nil: Kubernetes has none now, or did not answer.
func (s containerSpecs) find(of manifest.Owner, container string) *containerSpec {
	if spec, ok := s[of][container]; ok {
		return &spec
	}
	return nil
}

// isInit reports whether a container is an init container. What is not known is none.
func (s containerSpecs) isInit(of manifest.Owner, container string) bool {
	spec := s.find(of, container)
	return spec != nil && spec.init
}

// readSpecs reads the specs of the pods of workloads. With an error, they are those that could be read.
func (c *adviseConfig) readSpecs(parent context.Context, owners []manifest.Owner) (containerSpecs, error) {
	specs := containerSpecs{}
	if c.client == nil {
		return specs, fmt.Errorf("no cluster to read pods from: %w", c.offline)
	}
	wanted := map[string]bool{}
	for _, o := range owners {
		wanted[o.Namespace] = true
	}
	// ^C ends an observation, not its advice.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), specsTime)
	defer cancel()
	for namespace := range wanted {
		list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return specs, fmt.Errorf("read the pods of namespace %s: %w", namespace, err)
		}
		for i := range list.Items {
			specs.add(&list.Items[i])
		}
	}
	return specs, nil
}

func (s containerSpecs) add(pod *corev1.Pod) {
	of := manifest.Owner{Namespace: pod.Namespace, Workload: targets.Workload(pod)}
	if of.Workload == "" {
		of.Pod = pod.Name
	}
	if s[of] == nil {
		s[of] = map[string]containerSpec{}
	}
	for _, list := range []struct {
		init       bool
		containers []corev1.Container
	}{{false, pod.Spec.Containers}, {true, pod.Spec.InitContainers}} {
		for i := range list.containers {
			container := &list.containers[i]
			known, ok := s[of][container.Name]
			if !ok || !pod.CreationTimestamp.Before(&known.created) {
				known.init, known.resources, known.created = list.init, container.Resources, pod.CreationTimestamp
			}
			known.oomKilled = known.oomKilled || oomKilled(pod, container.Name)
			s[of][container.Name] = known
		}
	}
}

// oomKilled reports whether a container of a pod was killed for want of memory before its last restart.
func oomKilled(pod *corev1.Pod, container string) bool {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			for _, ended := range []*corev1.ContainerStateTerminated{
				list[i].LastTerminationState.Terminated, list[i].State.Terminated,
			} {
				if list[i].Name == container && ended != nil && ended.Reason == "OOMKilled" {
					return true
				}
			}
		}
	}
	return false
}
