package deploy

import (
	"k8s.io/apimachinery/pkg/labels"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// DefaultNamespace is where an installation is unless the user names another namespace.
const DefaultNamespace = "orb8-system"

// Names of objects.
const (
	// Agent is the name of the DaemonSet, its Service, ConfigMap, ServiceAccount, ClusterRole and PriorityClass.
	Agent = "orb8-agent"
	// Server is the name of the Deployment, its Service, ServiceAccount and ClusterRole.
	Server = "orb8-server"
	// Authority is the name of the Secret with the keys of the certificate authority, and of the ConfigMap with its
	// certificates. Servers make both.
	Authority = orbit.AuthorityName
	// View and ViewSensitive are ClusterRoles for those who may see events. Connect is a ClusterRole and a Role for
	// those who reach a server.
	View          = "orb8-view"
	ViewSensitive = "orb8-view-sensitive"
	Connect       = "orb8-connect"
	// Metrics is a ClusterRole for those who scrape agents and servers.
	Metrics = "orb8-metrics"
)

// Labels of all objects, also of those that servers make.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelComponent = "app.kubernetes.io/component"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	Name           = "orb8"
	ManagedBy      = "orb8"
)

// Values of LabelComponent.
const (
	ComponentAgent  = "agent"
	ComponentServer = "server"
	ComponentAccess = "access"
)

// AnnotationVersion holds the version of the program that made an object.
const AnnotationVersion = "orb8.dev/version"

// Labels returns the labels of every object of an installation.
func Labels() labels.Set { return labels.Set{LabelName: Name, LabelManagedBy: ManagedBy} }

// ComponentLabels returns the labels of the objects of a component.
func ComponentLabels(component string) labels.Set {
	set := Labels()
	if component != "" {
		set[LabelComponent] = component
	}
	return set
}

// selector returns the labels that select the pods of a component.
func selector(component string) map[string]string {
	return map[string]string{LabelName: Name, LabelComponent: component}
}
