package deploy

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Values are what an installation can vary in. Zero fields are the defaults of Default.
type Values struct {
	// Namespace of the installation.
	Namespace string `json:"-"`
	// Version of the program that makes the objects.
	Version string `json:"-"`

	// Image holds both binaries.
	Image            string            `json:"image,omitempty"`
	ImagePullPolicy  corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	ImagePullSecrets []string          `json:"imagePullSecrets,omitempty"`
	// Replicas is the number of servers.
	Replicas int32 `json:"replicas"`
	// HistoryMemory bounds the history that each agent holds in memory.
	HistoryMemory resource.Quantity `json:"historyMemory"`
	// Kinds are the kinds of events that agents record, by their JSON names.
	Kinds []string `json:"kinds"`
	// NodeSelector selects the nodes of agents, besides Linux.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations of agents; none: all taints.
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// AggregateToView gives everyone who has the ClusterRole view the right to see events, except sensitive ones.
	AggregateToView bool `json:"aggregateToView,omitempty"`
	// MetricsAuth is who may scrape agents and servers: kubernetes (whom the API server allows to) or none (everyone);
	// empty: kubernetes.
	MetricsAuth string `json:"metricsAuth,omitempty"`
	// ServiceMonitor and PodMonitor add objects by which the Prometheus Operator scrapes agents and servers: one of
	// them.
	ServiceMonitor bool `json:"serviceMonitor,omitempty"`
	PodMonitor     bool `json:"podMonitor,omitempty"`
	// OldestKernel is the release of the nodes' oldest kernel, which decides about capabilities; empty: a current one.
	OldestKernel string `json:"oldestKernel,omitempty"`
	// Privileged runs agents privileged, for platforms where capabilities are not enough.
	Privileged bool `json:"privileged,omitempty"`
	// GPURuntimeClass is the RuntimeClass of agents, which gives them the devices of GPUs; empty: the default one.
	GPURuntimeClass string `json:"gpuRuntimeClass,omitempty"`
	// AuthoritySecret is a Secret in the namespace with the certificate authority, which another program makes, as
	// cert-manager does; empty: servers make their own.
	AuthoritySecret string `json:"authoritySecret,omitempty"`
	// OTLP is the export of events; nil: off.
	OTLP *OTLP `json:"otlp,omitempty"`
	// History is the store of what agents hold no more; nil: none.
	History *History `json:"history,omitempty"`
}

// kinds are the kinds that an agent can record, and whether it does by default. Arguments of programs and of system
// calls may hold secrets.
var kinds = []struct {
	name  string
	usual bool
}{
	{"flow", true}, {"tcp", true}, {"dns", true}, {"drop", true}, {"resources", true}, {"gpu", true},
	{"exec", false}, {"signal", false}, {"syscall", false},
}

// Kinds returns the kinds that an agent can record.
func Kinds() []string {
	var all []string
	for _, k := range kinds {
		all = append(all, k.name)
	}
	return all
}

// DefaultKinds returns the kinds that an agent records by default.
func DefaultKinds() []string {
	var usual []string
	for _, k := range kinds {
		if k.usual {
			usual = append(usual, k.name)
		}
	}
	return usual
}

// Default returns the values of an installation without any flag.
func Default(namespace, version, image string) *Values {
	return &Values{
		Namespace: namespace, Version: version, Image: image, Replicas: 2, Kinds: DefaultKinds(),
		HistoryMemory: resource.MustParse("32Mi"),
	}
}

// Values of MetricsAuth.
const (
	MetricsAuthKubernetes = "kubernetes"
	MetricsAuthNone       = "none"
)

// metricsAuth is the argument of agents and servers.
func (v *Values) metricsAuth() string {
	return "--metrics-auth=" + cmp.Or(v.MetricsAuth, MetricsAuthKubernetes)
}

const (
	// maxReplicas bounds the number of servers: each holds a connection to every agent.
	maxReplicas = 16
	minHistory  = 1 << 20
	maxHistory  = 16 << 30
)

// kernelRelease matches a release as uname prints it.
var kernelRelease = regexp.MustCompile(`^[0-9]+\.[0-9]+`)

// ValueError reports a wrong value.
type ValueError struct {
	// Field is the JSON name.
	Field string
	// Value is what it was, Want what it should be.
	Value, Want string
}

func (e *ValueError) Error() string { return fmt.Sprintf("%s %q: want %s", e.Field, e.Value, e.Want) }

// Validate returns a *ValueError for the first wrong value.
func (v *Values) Validate() error {
	for _, k := range v.Kinds {
		if !slices.Contains(Kinds(), k) {
			return &ValueError{"kinds", k, "some of " + strings.Join(Kinds(), ", ")}
		}
	}
	selector := slices.Sorted(maps.Keys(v.NodeSelector))
	for _, key := range selector {
		if problems := validation.IsQualifiedName(key); len(problems) > 0 {
			return &ValueError{"nodeSelector", key + "=" + v.NodeSelector[key], "a label: " + problems[0]}
		}
		if problems := validation.IsValidLabelValue(v.NodeSelector[key]); len(problems) > 0 {
			return &ValueError{"nodeSelector", key + "=" + v.NodeSelector[key], "a label: " + problems[0]}
		}
	}
	history := v.HistoryMemory.Value()
	switch {
	case len(validation.IsDNS1123Label(v.Namespace)) > 0:
		return &ValueError{"namespace", v.Namespace, "the name of a namespace"}
	case v.Image == "" || strings.ContainsAny(v.Image, " \t\n\""):
		return &ValueError{"image", v.Image, "the reference of an image"}
	case len(v.Kinds) == 0:
		return &ValueError{"kinds", "", "some of " + strings.Join(Kinds(), ", ")}
	case !slices.Contains([]string{"", MetricsAuthKubernetes, MetricsAuthNone}, v.MetricsAuth):
		return &ValueError{"metricsAuth", v.MetricsAuth, MetricsAuthKubernetes + " or " + MetricsAuthNone}
	case v.ServiceMonitor && v.PodMonitor:
		return &ValueError{"podMonitor", "true", "one of serviceMonitor and podMonitor: both would scrape twice"}
	case v.Replicas < 1 || v.Replicas > maxReplicas:
		return &ValueError{"replicas", fmt.Sprint(v.Replicas), fmt.Sprintf("1 to %d", maxReplicas)}
	case history < minHistory || history > maxHistory:
		return &ValueError{"historyMemory", v.HistoryMemory.String(), "1Mi to 16Gi"}
	case v.AuthoritySecret == Authority:
		return &ValueError{"authoritySecret", v.AuthoritySecret, "a Secret that servers do not write themselves"}
	case v.AuthoritySecret != "" && len(validation.IsDNS1123Subdomain(v.AuthoritySecret)) > 0:
		return &ValueError{"authoritySecret", v.AuthoritySecret, "the name of a Secret"}
	case v.OldestKernel != "" && !kernelRelease.MatchString(v.OldestKernel):
		return &ValueError{"oldestKernel", v.OldestKernel, "a release such as 5.10"}
	}
	if v.OTLP != nil {
		if err := v.OTLP.validate(v.Kinds); err != nil {
			return err
		}
	}
	if v.History != nil {
		return v.History.validate()
	}
	return nil
}

// gpu reports whether agents read GPUs.
func (v *Values) gpu() bool { return slices.Contains(v.Kinds, "gpu") }
