package deploy

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// EventGroup is the API group of the virtual resources that stand for kinds of events. Nothing serves it: servers ask
// the API server whether a user may get such a resource.
const EventGroup = "orb8.dev"

// Virtual resources. Those of sensitive kinds are apart, since arguments of programs and of system calls may hold
// secrets.
var (
	viewResources      = []string{"flows", "dns", "tcp", "drops", "resources", "gpus"}
	sensitiveResources = []string{"execs", "signals", "syscalls"}
)

// access are the service accounts and what they and the viewers may do.
func (v *Values) access() []Object {
	return []Object{
		v.serviceAccount(Agent, ComponentAgent), v.serviceAccount(Server, ComponentServer),
		v.clusterRole(Agent, ComponentAgent, agentRules()), v.clusterRole(Server, ComponentServer, serverRules()),
		v.viewRole(), v.clusterRole(ViewSensitive, ComponentAccess, eventRules(sensitiveResources)),
		v.clusterRole(Connect, ComponentAccess, []rbacv1.PolicyRule{
			rule("certificates.k8s.io", "certificatesigningrequests", "create", "get"),
		}),
		v.clusterRole(Metrics, ComponentAccess, []rbacv1.PolicyRule{
			{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}},
		}),
		v.clusterRoleBinding(Agent, ComponentAgent), v.clusterRoleBinding(Server, ComponentServer),
		v.role(Server, ComponentServer, v.authorityRules()),
		v.role(Connect, ComponentAccess, connectRules()),
		v.roleBinding(Server, ComponentServer),
	}
}

// rule grants verbs on one resource.
func rule(group, resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
}

// agentRules let an agent name the pods of its node, and ask whether a scraper may have its metrics.
func agentRules() []rbacv1.PolicyRule {
	return append([]rbacv1.PolicyRule{rule("", "pods", "get", "list", "watch")}, reviewRules()...)
}

// reviewRules let a component ask who a caller is and what the caller may do.
func reviewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("authentication.k8s.io", "tokenreviews", "create"),
		rule("authorization.k8s.io", "subjectaccessreviews", "create"),
	}
}

// serverRules let a server name pods, Services and nodes, resolve workloads that a query names, review its callers,
// and issue the certificates of viewers.
func serverRules() []rbacv1.PolicyRule {
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods", "services", "nodes"},
			Verbs: []string{"get", "list", "watch"}},
		rule("discovery.k8s.io", "endpointslices", "get", "list", "watch"),
		{APIGroups: []string{""}, Resources: []string{"namespaces", "replicationcontrollers"}, Verbs: []string{"get"}},
		{APIGroups: []string{"apps"},
			Resources: []string{"deployments", "statefulsets", "daemonsets", "replicasets"}, Verbs: []string{"get"}},
		{APIGroups: []string{"batch"}, Resources: []string{"jobs", "cronjobs"}, Verbs: []string{"get"}},
	}
	signer := rule("certificates.k8s.io", "signers", "approve", "sign")
	signer.ResourceNames = []string{orbit.ViewerSigner}
	return append(append(rules, reviewRules()...),
		rule("certificates.k8s.io", "certificatesigningrequests", "get", "list", "watch"),
		rule("certificates.k8s.io", "certificatesigningrequests/approval", "update"),
		rule("certificates.k8s.io", "certificatesigningrequests/status", "update"),
		signer,
	)
}

// authorityRules let a server keep the certificate authority. RBAC cannot restrict create to a name.
func (v *Values) authorityRules() (rules []rbacv1.PolicyRule) {
	// An authority that another program makes is only read.
	given := rule("", "secrets", "get")
	given.ResourceNames = []string{cmp.Or(v.AuthoritySecret, Authority)}
	rules = append(rules, given)
	for _, resource := range []string{"secrets", "configmaps"} {
		keep := rule("", resource, "get", "update", "patch")
		keep.ResourceNames = []string{Authority}
		rules = append(rules, rule("", resource, "create"), keep)
	}
	return rules
}

// connectRules let a viewer reach a server by a port-forward, and know it by its certificate authority.
func connectRules() []rbacv1.PolicyRule {
	authority := rule("", "configmaps", "get")
	authority.ResourceNames = []string{Authority}
	return []rbacv1.PolicyRule{
		rule("", "pods", "get", "list"),
		// Kubernetes 1.35 and later check both verbs, older ones one of them.
		rule("", "pods/portforward", "get", "create"),
		authority,
	}
}

func eventRules(resources []string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{EventGroup}, Resources: resources, Verbs: []string{"get"}}}
}

func (v *Values) viewRole() *rbacv1.ClusterRole {
	role := v.clusterRole(View, ComponentAccess, eventRules(viewResources))
	if v.AggregateToView {
		role.Labels["rbac.authorization.k8s.io/aggregate-to-view"] = "true"
	}
	return role
}

func (v *Values) serviceAccount(name, component string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta: typeMeta("v1", "ServiceAccount"), ObjectMeta: v.meta(name, component),
		AutomountServiceAccountToken: new(false),
	}
}

func (v *Values) clusterRole(name, component string, rules []rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		TypeMeta:   typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRole"),
		ObjectMeta: v.clusterMeta(name, component),
		Rules:      rules,
	}
}

func (v *Values) role(name, component string, rules []rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "Role"), ObjectMeta: v.meta(name, component),
		Rules: rules,
	}
}

// clusterRoleBinding grants a ClusterRole to the service account of the same name.
func (v *Values) clusterRoleBinding(name, component string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		TypeMeta:   typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRoleBinding"),
		ObjectMeta: v.clusterMeta(name, component),
		RoleRef:    roleRef("ClusterRole", name),
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: v.Namespace}},
	}
}

// roleBinding grants a Role to the service account of the same name.
func (v *Values) roleBinding(name, component string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta:   typeMeta(rbacv1.SchemeGroupVersion.String(), "RoleBinding"),
		ObjectMeta: v.meta(name, component),
		RoleRef:    roleRef("Role", name),
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: v.Namespace}},
	}
}

func roleRef(kind, name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}
