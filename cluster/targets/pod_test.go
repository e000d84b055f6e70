package targets

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWorkloadOf_UsesKubectlNames(t *testing.T) {
	for want, owner := range map[string]metav1.OwnerReference{
		"":                {},
		"deploy/web":      {Kind: "ReplicaSet", Name: "web-5d4f"},
		"rs/lone":         {Kind: "ReplicaSet", Name: "lone"},
		"sts/db":          {Kind: "StatefulSet", Name: "db"},
		"ds/agent":        {Kind: "DaemonSet", Name: "agent"},
		"job/train":       {Kind: "Job", Name: "train"},
		"pytorchjob/bert": {Kind: "PyTorchJob", Name: "bert"},
	} {
		p := runningPod("x")
		p.Labels = map[string]string{"pod-template-hash": "5d4f"}
		if owner.Kind != "" {
			owner.Controller = new(true)
			p.OwnerReferences = []metav1.OwnerReference{owner}
		}
		if got := Workload(p); got != want {
			t.Errorf("workload %q, want %q", got, want)
		}
	}
	mirror := runningPod("etcd-n1")
	mirror.OwnerReferences = []metav1.OwnerReference{{Kind: "Node", Name: "n1", Controller: new(true)}}
	mirror.Annotations = map[string]string{configHash: "0123456789abcdef0123456789abcdef"}
	if d := Describe(mirror, ""); d.Workload != "" || d.ConfigHash != "0123456789abcdef0123456789abcdef" {
		t.Errorf("mirror pod described as %v", d)
	}
}

func TestDescribe_RestartedContainerHasBothIDs(t *testing.T) {
	p := runningPod("web-0")
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", ContainerID: "containerd://id-web-0"}}
	p.Spec.InitContainers = []corev1.Container{{Name: "setup"}}
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{
		{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
	p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "debug", ContainerID: "cri-o://dd"}}
	p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
		ContainerID: "containerd://before"}
	var got []string
	for _, c := range Describe(p, "main").Containers {
		got = append(got, fmt.Sprintf("%s=%s/%v", c.Name, c.Id, c.Target))
	}
	want := "setup=/false main=before/true main=id-web-0/true debug=dd/false"
	if strings.Join(got, " ") != want {
		t.Errorf("containers %v\nwant       %s", got, want)
	}
}
