// Package clientset adapts client-go's clients of all resources, and their fakes, to the groups of package kube. The
// plugin must not import it: client-go's clients are what package kube avoids.
package clientset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	batchclient "k8s.io/client-go/kubernetes/typed/batch/v1"
	certificatesclient "k8s.io/client-go/kubernetes/typed/certificates/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	networkingclient "k8s.io/client-go/kubernetes/typed/networking/v1"
	nodeclient "k8s.io/client-go/kubernetes/typed/node/v1"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Of returns the groups in use of client-go's clients.
func Of(client kubernetes.Interface) kube.Interface { return groups{client} }

type groups struct{ client kubernetes.Interface }

// IsWatchListSemanticsUnSupported reports that the clients are fakes, which do not stream lists; see package watchlist
// of client-go.
func (g groups) IsWatchListSemanticsUnSupported() bool {
	fake, ok := g.client.(interface{ IsWatchListSemanticsUnSupported() bool })
	return ok && fake.IsWatchListSemanticsUnSupported()
}

func (g groups) ServerVersion(context.Context) (*version.Info, error) {
	return g.client.Discovery().ServerVersion()
}

func (g groups) CoreV1() kube.CoreV1           { return core{g.client.CoreV1()} }
func (g groups) AppsV1() kube.AppsV1           { return apps{g.client.AppsV1()} }
func (g groups) BatchV1() kube.BatchV1         { return batch{g.client.BatchV1()} }
func (g groups) DiscoveryV1() kube.DiscoveryV1 { return discovery{g.client.DiscoveryV1()} }
func (g groups) NodeV1() kube.NodeV1           { return node{g.client.NodeV1()} }
func (g groups) RbacV1() kube.RbacV1           { return rbac{g.client.RbacV1()} }
func (g groups) NetworkingV1() kube.NetworkingV1 {
	return networking{g.client.NetworkingV1()}
}
func (g groups) CertificatesV1() kube.CertificatesV1 {
	return certificates{g.client.CertificatesV1()}
}
func (g groups) AuthorizationV1() kube.AuthorizationV1 {
	return authorization{g.client.AuthorizationV1()}
}
func (g groups) AuthenticationV1() kube.AuthenticationV1 {
	return authentication{g.client.AuthenticationV1()}
}

type core struct{ c coreclient.CoreV1Interface }

func (g core) ConfigMaps(ns string) kube.Resource[*corev1.ConfigMap, *corev1.ConfigMapList] {
	return g.c.ConfigMaps(ns)
}
func (g core) Events(ns string) kube.Resource[*corev1.Event, *corev1.EventList] {
	return g.c.Events(ns)
}
func (g core) Namespaces() kube.Resource[*corev1.Namespace, *corev1.NamespaceList] {
	return g.c.Namespaces()
}
func (g core) Nodes() kube.Resource[*corev1.Node, *corev1.NodeList] { return g.c.Nodes() }
func (g core) Pods(ns string) kube.Pods                             { return g.c.Pods(ns) }
func (g core) ReplicationControllers(
	ns string,
) kube.Reader[*corev1.ReplicationController, *corev1.ReplicationControllerList] {
	return g.c.ReplicationControllers(ns)
}
func (g core) Services(ns string) kube.Resource[*corev1.Service, *corev1.ServiceList] {
	return g.c.Services(ns)
}

type apps struct{ c appsclient.AppsV1Interface }

func (g apps) ControllerRevisions(ns string) kube.Reader[*appsv1.ControllerRevision, *appsv1.ControllerRevisionList] {
	return g.c.ControllerRevisions(ns)
}
func (g apps) DaemonSets(ns string) kube.Reader[*appsv1.DaemonSet, *appsv1.DaemonSetList] {
	return g.c.DaemonSets(ns)
}
func (g apps) Deployments(ns string) kube.Reader[*appsv1.Deployment, *appsv1.DeploymentList] {
	return g.c.Deployments(ns)
}
func (g apps) ReplicaSets(ns string) kube.Reader[*appsv1.ReplicaSet, *appsv1.ReplicaSetList] {
	return g.c.ReplicaSets(ns)
}
func (g apps) StatefulSets(ns string) kube.Reader[*appsv1.StatefulSet, *appsv1.StatefulSetList] {
	return g.c.StatefulSets(ns)
}

type batch struct{ c batchclient.BatchV1Interface }

func (g batch) CronJobs(ns string) kube.Reader[*batchv1.CronJob, *batchv1.CronJobList] {
	return g.c.CronJobs(ns)
}
func (g batch) Jobs(ns string) kube.Resource[*batchv1.Job, *batchv1.JobList] { return g.c.Jobs(ns) }

type discovery struct {
	c discoveryclient.DiscoveryV1Interface
}

func (g discovery) EndpointSlices(
	ns string,
) kube.Reader[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList] {
	return g.c.EndpointSlices(ns)
}

type networking struct {
	c networkingclient.NetworkingV1Interface
}

func (g networking) NetworkPolicies(
	ns string,
) kube.Reader[*networkingv1.NetworkPolicy, *networkingv1.NetworkPolicyList] {
	return g.c.NetworkPolicies(ns)
}

type node struct{ c nodeclient.NodeV1Interface }

func (g node) RuntimeClasses() kube.Reader[*nodev1.RuntimeClass, *nodev1.RuntimeClassList] {
	return g.c.RuntimeClasses()
}

type rbac struct{ c rbacclient.RbacV1Interface }

func (g rbac) ClusterRoleBindings() kube.Reader[*rbacv1.ClusterRoleBinding, *rbacv1.ClusterRoleBindingList] {
	return g.c.ClusterRoleBindings()
}

type certificates struct {
	c certificatesclient.CertificatesV1Interface
}

func (g certificates) CertificateSigningRequests() kube.Resource[*certificatesv1.CertificateSigningRequest,
	*certificatesv1.CertificateSigningRequestList] {
	return g.c.CertificateSigningRequests()
}

type authorization struct {
	c authorizationclient.AuthorizationV1Interface
}

func (g authorization) SelfSubjectAccessReviews() kube.Creator[*authorizationv1.SelfSubjectAccessReview] {
	return g.c.SelfSubjectAccessReviews()
}

type authentication struct {
	c authenticationclient.AuthenticationV1Interface
}

func (g authentication) SelfSubjectReviews() kube.Creator[*authenticationv1.SelfSubjectReview] {
	return g.c.SelfSubjectReviews()
}
