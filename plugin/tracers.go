package plugin

import (
	"cmp"
	"os"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

// envImage names the tracer's image where --image does not.
const envImage = "ORB8_IMAGE"

// tracerOptions are the flags of whatever starts tracers.
type tracerOptions struct {
	kube *kubeFlags

	maxNodes        int
	image           string
	registry        registryOption
	pullPolicy      string
	pullSecrets     []string
	tracerNamespace string
	privileged      bool
	resources       map[string]string
	labels          map[string]string
	annotations     map[string]string
}

func (o *tracerOptions) bind(flags *pflag.FlagSet) {
	o.kube.AddFlags(flags)
	flags.IntVar(&o.maxNodes, "max-nodes", 50, "Start tracers on this many nodes at most")
	flags.StringVar(&o.image, "image", "", "Image of the tracer (default $"+envImage+", else "+version.TracerImage()+
		")")
	o.registry.bind(flags)
	flags.StringVar(&o.pullPolicy, "image-pull-policy", "", "Always, IfNotPresent or Never (default IfNotPresent)")
	flags.StringSliceVar(&o.pullSecrets, "image-pull-secret", nil,
		"Secret in the tracer's namespace with the registry's credentials (may be repeated)")
	flags.StringVar(&o.tracerNamespace, "tracer-namespace", "",
		"Namespace the tracer pods run in (default: the namespace of the command)")
	flags.StringToStringVar(&o.resources, "tracer-resources", nil,
		"Requests and limits of tracers, cpu=QUANTITY,memory=QUANTITY, if a LimitRange or a quota requires others")
	flags.StringToStringVar(&o.labels, "tracer-labels", nil,
		"Labels for the tracers' Jobs and pods, KEY=VALUE, that a policy requires")
	flags.StringToStringVar(&o.annotations, "tracer-annotations", nil,
		"Annotations for the tracers' Jobs and pods, KEY=VALUE, that a policy requires")
	flags.BoolVar(&o.privileged, "privileged", false,
		"Run tracers privileged, for platforms where capabilities are not enough")
}

// tracerConfig is the cluster, and how tracers are started in it.
type tracerConfig struct {
	rest   *rest.Config
	client kube.Interface
	// namespace of the command.
	namespace string
	// gpu is the tracers' GPU configuration and runtimeClass their RuntimeClass; nil: they read no GPUs.
	gpu          *session.GpuConfig
	runtimeClass string

	maxNodes        int
	image           string
	pullPolicy      corev1.PullPolicy
	pullSecrets     []string
	tracerNamespace string
	privileged      bool
	resources       corev1.ResourceList
	labels          map[string]string
	annotations     map[string]string
}

// complete validates the options without any request or file access.
func (o *tracerOptions) complete() (tracerConfig, error) {
	c := tracerConfig{
		maxNodes:        o.maxNodes,
		pullSecrets:     o.pullSecrets,
		pullPolicy:      corev1.PullPolicy(cmp.Or(o.pullPolicy, string(corev1.PullIfNotPresent))),
		tracerNamespace: o.tracerNamespace, privileged: o.privileged,
	}
	if o.maxNodes < 1 {
		return c, usagef("--max-nodes %d: want 1 or more", o.maxNodes)
	}
	switch c.pullPolicy {
	case corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		return c, usagef("--image-pull-policy %q: want Always, IfNotPresent or Never", o.pullPolicy)
	}
	var err error
	if c.image, err = o.registry.image(o.image, os.Getenv(envImage), version.TracerImage()); err != nil {
		return c, err
	}
	return c, c.completeMetadata(o)
}

// connect reads the kubeconfig and makes the client.
func (c *tracerConfig) connect(flags *kubeFlags) error {
	var err error
	if c.rest, c.namespace, err = resolveCluster(flags); err != nil {
		return err
	}
	c.tracerNamespace = cmp.Or(c.tracerNamespace, c.namespace)
	// A session opens a dozen watches at once; the default of 5 requests a second would start it slowly.
	c.rest.QPS, c.rest.Burst = 100, 200
	// Where Pod Security is in warn mode, the API server warns about each Job. Refusals are errors anyway.
	c.rest.WarningHandler = rest.NoWarnings{}
	c.client, err = kube.NewForConfig(c.rest)
	return err
}

// spec is what all tracers have in common, whatever they are started for.
func (c *tracerConfig) spec() launch.Spec {
	spec := launch.Spec{
		Namespace: c.tracerNamespace, Image: c.image, ImagePullPolicy: c.pullPolicy, ImagePullSecrets: c.pullSecrets,
		Privileged: c.privileged, Resources: c.resources, Labels: c.labels, Annotations: c.annotations,
	}
	if c.gpu != nil {
		spec.RuntimeClass = c.runtimeClass
	}
	return spec
}
