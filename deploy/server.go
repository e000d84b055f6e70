package deploy

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orb8-dev/kubectl-orb8/deploy/podspec"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

const (
	// serverUser is the user and group of servers, who need no rights on their node.
	serverUser = 65532
	// serverGraceSeconds is how long a server has to end its streams, which clients then continue at another one.
	serverGraceSeconds = 15
)

// deployment runs the servers. A rollout starts a new one before it ends an old one.
func (v *Values) deployment() *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta: typeMeta("apps/v1", "Deployment"), ObjectMeta: v.meta(Server, ComponentServer),
		Spec: appsv1.DeploymentSpec{
			Replicas:             new(v.Replicas),
			Selector:             &metav1.LabelSelector{MatchLabels: selector(ComponentServer)},
			RevisionHistoryLimit: new(int32(2)),
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxUnavailable: new(intstr.FromInt(0)), MaxSurge: new(intstr.FromInt(1)),
				},
			},
			Template: corev1.PodTemplateSpec{ObjectMeta: v.podMeta(ComponentServer), Spec: v.serverPod()},
		},
	}
}

func (v *Values) serverPod() corev1.PodSpec {
	volumes, _ := historyVolumes()
	return corev1.PodSpec{
		Volumes:                       volumes,
		ServiceAccountName:            Server,
		AutomountServiceAccountToken:  new(true),
		EnableServiceLinks:            new(false),
		TerminationGracePeriodSeconds: new(int64(serverGraceSeconds)),
		NodeSelector:                  map[string]string{corev1.LabelOSStable: "linux"},
		Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
				Weight: 100,
				PodAffinityTerm: corev1.PodAffinityTerm{
					LabelSelector: &metav1.LabelSelector{MatchLabels: selector(ComponentServer)},
					TopologyKey:   corev1.LabelHostname,
				},
			}},
		}},
		ImagePullSecrets: v.pullSecrets(),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(int64(serverUser)), RunAsGroup: new(int64(serverUser)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{v.serverContainer()},
	}
}

func (v *Values) serverContainer() corev1.Container {
	// Requests may hold half of GOMEMLIMIT together: package server takes it from there.
	limits := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("448Mi"),
	}
	c := corev1.Container{
		Name:            ComponentServer,
		Image:           v.Image,
		ImagePullPolicy: v.ImagePullPolicy,
		Command:         []string{"/orb8-server"},
		Args: append([]string{
			fmt.Sprintf("--listen=:%d", orbit.ServerPort), fmt.Sprintf("--health=:%d", serverHealthPort),
			"--agents=" + Agent, "--authority-secret=" + v.AuthoritySecret, v.metricsAuth(),
		}, v.History.args()...),
		Env: append([]corev1.EnvVar{
			podspec.FieldEnv("ORB8_NODE_NAME", "spec.nodeName"),
			{Name: "GOMEMLIMIT", Value: podspec.GoMemoryLimit(limits[corev1.ResourceMemory])},
		}, podEnv()...),
		Ports: []corev1.ContainerPort{
			{Name: portGRPC, ContainerPort: orbit.ServerPort, Protocol: corev1.ProtocolTCP},
			{Name: portMetrics, ContainerPort: metricsPort, Protocol: corev1.ProtocolTCP},
			{Name: portHealth, ContainerPort: serverHealthPort, Protocol: corev1.ProtocolTCP},
		},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			},
			Limits: limits,
		},
		SecurityContext: &corev1.SecurityContext{
			Privileged: new(false), AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			RunAsNonRoot:   new(true),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
	_, c.VolumeMounts = historyVolumes()
	setProbes(&c)
	return c
}
