package deploy

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// Object is an object of the installation.
type Object interface {
	runtime.Object
	metav1.Object
}

// Ports that event/orbit does not define: those of kubelet's probes, and of metrics.
const (
	metricsPort      = 9091
	agentHealthPort  = 9092
	serverHealthPort = 8081
)

// Objects returns the objects of an installation, in the order to create them. They depend on the values only.
func (v *Values) Objects() []Object {
	objects := []Object{v.namespace(), v.priorityClass()}
	objects = append(objects, v.access()...)
	objects = append(objects,
		v.config(), v.agentPolicy(), v.serverPolicy(), v.agentService(), v.serverService(), v.disruptionBudget(),
		v.daemonSet(), v.deployment())
	return append(objects, v.monitors()...)
}

// Unstructured converts an object for a dynamic client, without the status, which belongs to the API server.
func Unstructured(o Object) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", o.GetName(), err)
	}
	delete(u.Object, "status")
	return u, nil
}

// clusterMeta is the metadata of an object without a namespace.
func (v *Values) clusterMeta(name, component string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: ComponentLabels(component),
		Annotations: map[string]string{AnnotationVersion: v.Version}}
}

// meta is the metadata of an object in the installation's namespace.
func (v *Values) meta(name, component string) metav1.ObjectMeta {
	m := v.clusterMeta(name, component)
	m.Namespace = v.Namespace
	return m
}

func typeMeta(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

// namespace admits agents, which need privileges on their nodes.
func (v *Values) namespace() *corev1.Namespace {
	ns := &corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: v.clusterMeta(v.Namespace, "")}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		ns.Labels[PodSecurityPrefix+mode] = PodSecurityPrivileged
	}
	return ns
}

// The label of a namespace by which Pod Security admits privileged pods is PodSecurityPrefix + "enforce".
const (
	PodSecurityPrefix     = "pod-security.kubernetes.io/"
	PodSecurityPrivileged = "privileged"
)

// agentPriority is above that of pods without a class, and far below the cluster's own components.
const agentPriority = 1_000_000

// priorityClass keeps agents running where a node is short of memory. They evict no pods to be scheduled.
func (v *Values) priorityClass() *schedulingv1.PriorityClass {
	return &schedulingv1.PriorityClass{
		TypeMeta: typeMeta("scheduling.k8s.io/v1", "PriorityClass"), ObjectMeta: v.clusterMeta(Agent, ComponentAgent),
		Value: agentPriority, PreemptionPolicy: new(corev1.PreemptNever),
		Description: "Agents of orb8, one a node.",
	}
}

// config is the configuration of agents, which they read again when it changes.
func (v *Values) config() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta: typeMeta("v1", "ConfigMap"), ObjectMeta: v.meta(Agent, ComponentAgent),
		Data: map[string]string{configKey: v.configText()},
	}
}

// configKey is the key of the agents' configuration, and the name of its file.
const configKey = "config.yaml"

// agentPolicy lets only servers ask agents. Probes of kubelets and scrapes of metrics may come from anywhere.
func (v *Values) agentPolicy() *networkingv1.NetworkPolicy {
	return v.networkPolicy(Agent, ComponentAgent,
		networkingv1.NetworkPolicyIngressRule{
			From: []networkingv1.NetworkPolicyPeer{{
				PodSelector: &metav1.LabelSelector{MatchLabels: selector(ComponentServer)},
			}},
			Ports: tcpPorts(orbit.AgentPort),
		},
		networkingv1.NetworkPolicyIngressRule{Ports: tcpPorts(metricsPort, agentHealthPort)},
	)
}

// serverPolicy lets the cluster's pods ask servers. A port-forward is not subject to network policies.
func (v *Values) serverPolicy() *networkingv1.NetworkPolicy {
	return v.networkPolicy(Server, ComponentServer,
		networkingv1.NetworkPolicyIngressRule{
			From:  []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}},
			Ports: tcpPorts(orbit.ServerPort),
		},
		networkingv1.NetworkPolicyIngressRule{Ports: tcpPorts(metricsPort, serverHealthPort)},
	)
}

func (v *Values) networkPolicy(
	name, component string, ingress ...networkingv1.NetworkPolicyIngressRule,
) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta: typeMeta("networking.k8s.io/v1", "NetworkPolicy"), ObjectMeta: v.meta(name, component),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: selector(component)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     ingress,
		},
	}
}

func tcpPorts(ports ...int) (all []networkingv1.NetworkPolicyPort) {
	for _, port := range ports {
		all = append(all, networkingv1.NetworkPolicyPort{
			Protocol: new(corev1.ProtocolTCP), Port: new(intstr.FromInt(port)),
		})
	}
	return all
}

// agentService is how servers find agents: by its EndpointSlices. It has no address of its own.
func (v *Values) agentService() *corev1.Service {
	s := v.service(Agent, ComponentAgent, orbit.AgentPort)
	s.Spec.ClusterIP = corev1.ClusterIPNone
	return s
}

func (v *Values) serverService() *corev1.Service {
	return v.service(Server, ComponentServer, orbit.ServerPort)
}

func (v *Values) service(name, component string, port int32) *corev1.Service {
	return &corev1.Service{
		TypeMeta: typeMeta("v1", "Service"), ObjectMeta: v.meta(name, component),
		Spec: corev1.ServiceSpec{
			Selector: selector(component),
			Ports: []corev1.ServicePort{
				{Name: portGRPC, Port: port, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString(portGRPC)},
				{Name: portMetrics, Port: metricsPort, Protocol: corev1.ProtocolTCP,
					TargetPort: intstr.FromString(portMetrics)},
			},
		},
	}
}

// Names of the containers' ports.
const (
	portGRPC   = "grpc"
	portHealth = "health"
	// portMetrics is also the name in the Services.
	portMetrics = "metrics"
)

// disruptionBudget lets a drain end one server at a time, also where there is only one.
func (v *Values) disruptionBudget() *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta: typeMeta("policy/v1", "PodDisruptionBudget"), ObjectMeta: v.meta(Server, ComponentServer),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromInt(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: selector(ComponentServer)},
		},
	}
}
