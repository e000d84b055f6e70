package plugin

import (
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// pastTargets are the flags of an installation, and of the pods that a question to its agents is about.
type pastTargets struct {
	kube             *kubeFlags
	installNamespace string
	selector         string
	container        string
	node             string
	names            []string
	allNamespaces    bool
}

func (o *pastTargets) bind(flags *pflag.FlagSet) {
	o.kube.AddFlags(flags)
	flags.StringVar(&o.installNamespace, "orb8-namespace", deploy.DefaultNamespace,
		"Namespace that orb8 is installed in")
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "Select the pods of all namespaces that you may see")
	flags.StringVarP(&o.selector, "selector", "l", "", "Select pods with these labels (key=value, !=, in, notin)")
	flags.StringVarP(&o.container, "container", "c", "", "Select only containers of this name")
	flags.StringVar(&o.node, "node", "", "Select only pods on this node")
}

// check refuses targets that cannot be.
func (o *pastTargets) check() error {
	if o.selector != "" {
		if _, err := labels.Parse(o.selector); err != nil {
			return usagef("--selector %q: %s", o.selector, pointAt(o.selector, err))
		}
	}
	return checkNames(o.names, o.allNamespaces)
}

// installation is a cluster with installed agents.
type installation struct {
	rest   *rest.Config
	client kube.Interface
	viewed string // the namespace that tables omit; empty: several are shown
}

// connect reads the kubeconfig. It contacts nothing.
func (o *pastTargets) connect() (i installation, err error) {
	var namespace string
	if i.rest, namespace, err = resolveCluster(o.kube); err != nil {
		return i, err
	}
	i.rest.QPS, i.rest.Burst = 100, 200
	if !o.allNamespaces {
		i.viewed = namespace
	}
	i.client, err = kube.NewForConfig(i.rest)
	return i, err
}

// selection is the part of a query that names the pods. viewed is the namespace; empty: all.
func (o *pastTargets) selection(viewed string) *orbit.Selection {
	s := &orbit.Selection{Names: o.names, Labels: o.selector, Container: o.container, Node: o.node}
	if viewed != "" {
		s.Namespaces = []string{viewed}
	}
	return s
}
