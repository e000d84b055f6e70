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

// Paths in the agents' container.
const (
	configDir    = "/etc/orb8"
	authorityDir = "/var/run/orb8/authority"
	tokenDir     = "/var/run/secrets/orb8"
	tokenFile    = "token"
	stateDir     = "/var/lib/orb8/state"
)

const (
	// tokenSeconds is the life of an agent's token for servers, which the kubelet renews.
	tokenSeconds = 3600
	// agentGraceSeconds is how long an agent has to end its streams and to write its state.
	agentGraceSeconds = 10
)

// daemonSet runs one agent a node.
func (v *Values) daemonSet() *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		TypeMeta: typeMeta("apps/v1", "DaemonSet"), ObjectMeta: v.meta(Agent, ComponentAgent),
		Spec: appsv1.DaemonSetSpec{
			Selector:             &metav1.LabelSelector{MatchLabels: selector(ComponentAgent)},
			RevisionHistoryLimit: new(int32(2)),
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type: appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{
					MaxUnavailable: new(intstr.FromInt(1)), MaxSurge: new(intstr.FromInt(0)),
				},
			},
			Template: corev1.PodTemplateSpec{ObjectMeta: v.podMeta(ComponentAgent), Spec: v.AgentPod()},
		},
	}
}

// podMeta is the metadata of a component's pods.
func (v *Values) podMeta(component string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Labels:      podspec.Merge(podspec.OptOutLabels(), ComponentLabels(component)),
		Annotations: podspec.Merge(podspec.OptOutAnnotations(), map[string]string{AnnotationVersion: v.Version}),
	}
}

// AgentPod returns the pods of agents.
func (v *Values) AgentPod() corev1.PodSpec {
	tolerations := v.Tolerations
	if len(tolerations) == 0 {
		tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	spec := corev1.PodSpec{
		ServiceAccountName:            Agent,
		AutomountServiceAccountToken:  new(true),
		EnableServiceLinks:            new(false),
		HostPID:                       true,
		PriorityClassName:             Agent,
		TerminationGracePeriodSeconds: new(int64(agentGraceSeconds)),
		NodeSelector:                  podspec.Merge(v.NodeSelector, map[string]string{corev1.LabelOSStable: "linux"}),
		Affinity:                      realNodes(),
		Tolerations:                   tolerations,
		ImagePullSecrets:              v.pullSecrets(),
		SecurityContext:               podspec.PodSecurityContext(),
		Containers:                    []corev1.Container{v.agentContainer()},
		Volumes: []corev1.Volume{
			podspec.Volume(),
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: Agent},
			}}},
			// The first server makes it after the first agent has started.
			{Name: "authority", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: Authority}, Optional: new(true),
			}}},
			{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: v.Credentials(),
			}}},
			{Name: "state", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
				SizeLimit: new(resource.MustParse("16Mi")),
			}}},
		},
	}
	if v.gpu() && v.GPURuntimeClass != "" {
		spec.RuntimeClassName = new(v.GPURuntimeClass)
	}
	return spec
}

// Credentials are the files in tokenDir.
func (v *Values) Credentials() []corev1.VolumeProjection {
	return append([]corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
		Audience: orbit.TokenAudience, ExpirationSeconds: new(int64(tokenSeconds)), Path: tokenFile,
	}}}, v.OTLP.secrets()...)
}

// realNodes avoids nodes that run no containers of their own, or none of a DaemonSet.
func realNodes() *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: "eks.amazonaws.com/compute-type", Operator: corev1.NodeSelectorOpNotIn,
					Values: []string{"fargate"}},
				{Key: "type", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"virtual-kubelet"}},
			}}},
		},
	}}
}

func (v *Values) pullSecrets() (all []corev1.LocalObjectReference) {
	for _, name := range v.ImagePullSecrets {
		all = append(all, corev1.LocalObjectReference{Name: name})
	}
	return all
}

// agentResources returns what an agent is given: what a tracer takes, and its history.
func (v *Values) agentResources() corev1.ResourceRequirements {
	request, limit := resource.MustParse("64Mi"), resource.MustParse("224Mi")
	request.Add(v.HistoryMemory)
	limit.Add(v.HistoryMemory)
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: request},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: limit},
	}
}

func (v *Values) agentContainer() corev1.Container {
	resources := v.agentResources()
	c := corev1.Container{
		Name:            ComponentAgent,
		Image:           v.Image,
		ImagePullPolicy: v.ImagePullPolicy,
		Command:         []string{"/orb8-agent"},
		Args: []string{
			"--config=" + configDir + "/" + configKey,
			"--history-memory=" + v.HistoryMemory.String(),
			"--state-dir=" + stateDir,
			fmt.Sprintf("--server=%s.%s.svc:%d", Server, v.Namespace, orbit.ServerPort),
			"--authority=" + authorityDir + "/" + orbit.AuthorityKey,
			"--token=" + tokenDir + "/" + tokenFile,
			v.metricsAuth(),
		},
		Env: append(podspec.Env(resources.Limits[corev1.ResourceMemory]), podEnv()...),
		Ports: []corev1.ContainerPort{
			{Name: portGRPC, ContainerPort: orbit.AgentPort, Protocol: corev1.ProtocolTCP},
			{Name: portMetrics, ContainerPort: metricsPort, Protocol: corev1.ProtocolTCP},
			{Name: portHealth, ContainerPort: agentHealthPort, Protocol: corev1.ProtocolTCP},
		},
		Resources: resources,
		SecurityContext: podspec.Privileges{
			Privileged: v.Privileged, Kernel: v.OldestKernel, GPU: v.gpu(),
		}.SecurityContext(),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		VolumeMounts: []corev1.VolumeMount{
			podspec.Mount(),
			{Name: "config", MountPath: configDir, ReadOnly: true},
			{Name: "authority", MountPath: authorityDir, ReadOnly: true},
			{Name: "token", MountPath: tokenDir, ReadOnly: true},
			{Name: "state", MountPath: stateDir},
		},
	}
	setProbes(&c)
	if v.gpu() {
		c.Env = append(c.Env, podspec.GPUEnv()...)
	}
	return c
}

// podEnv returns the variables that name the pod, besides its node.
func podEnv() []corev1.EnvVar {
	return []corev1.EnvVar{
		podspec.FieldEnv("ORB8_POD_NAME", "metadata.name"),
		podspec.FieldEnv("ORB8_POD_UID", "metadata.uid"),
		podspec.FieldEnv("ORB8_NAMESPACE", "metadata.namespace"),
		podspec.FieldEnv("ORB8_POD_IP", "status.podIP"),
	}
}

// setProbes sets the kubelet's probes. Loading probes into the kernel of a busy node takes its time, so the container
// has two minutes to start.
func setProbes(c *corev1.Container) {
	get := func(path string) corev1.ProbeHandler {
		return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString(portHealth)}}
	}
	c.StartupProbe = &corev1.Probe{ProbeHandler: get("/healthz"), PeriodSeconds: 2, FailureThreshold: 60}
	c.LivenessProbe = &corev1.Probe{
		ProbeHandler: get("/healthz"), PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 6,
	}
	c.ReadinessProbe = &corev1.Probe{
		ProbeHandler: get("/readyz"), PeriodSeconds: 5, TimeoutSeconds: 5, FailureThreshold: 2,
	}
}
