// Package kube has clients for the resources of the API server that orb8 uses.
//
// client-go has clients for all resources in one interface, so that a program that calls one of them contains the
// methods, the types and the encodings of all: some 20 MB. Here only the kinds that are used are registered, and
// nothing depends on client-go's typed clients.
package kube

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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// Interface is the API groups in use. Its methods are named after those of client-go's interface.
type Interface interface {
	CoreV1() CoreV1
	AppsV1() AppsV1
	BatchV1() BatchV1
	DiscoveryV1() DiscoveryV1
	NetworkingV1() NetworkingV1
	NodeV1() NodeV1
	RbacV1() RbacV1
	CertificatesV1() CertificatesV1
	AuthorizationV1() AuthorizationV1
	AuthenticationV1() AuthenticationV1
	// ServerVersion returns the version of the API server.
	ServerVersion(ctx context.Context) (*version.Info, error)
}

// Reader reads the objects of one kind, in one namespace or, where that is empty, in all.
type Reader[T, L runtime.Object] interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (T, error)
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// Creator creates objects of one kind.
type Creator[T runtime.Object] interface {
	Create(ctx context.Context, object T, o metav1.CreateOptions) (T, error)
}

// Resource reads and writes the objects of one kind.
type Resource[T, L runtime.Object] interface {
	Reader[T, L]
	Creator[T]
	Update(ctx context.Context, object T, o metav1.UpdateOptions) (T, error)
	Patch(ctx context.Context, name string, kind types.PatchType, patch []byte, o metav1.PatchOptions,
		subresources ...string) (T, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
}

// Pods are the pods of a namespace, and their logs.
type Pods interface {
	Resource[*corev1.Pod, *corev1.PodList]
	GetLogs(name string, o *corev1.PodLogOptions) *rest.Request
}

// CoreV1 is the group of pods.
type CoreV1 interface {
	ConfigMaps(namespace string) Resource[*corev1.ConfigMap, *corev1.ConfigMapList]
	Events(namespace string) Resource[*corev1.Event, *corev1.EventList]
	Namespaces() Resource[*corev1.Namespace, *corev1.NamespaceList]
	Nodes() Resource[*corev1.Node, *corev1.NodeList]
	Pods(namespace string) Pods
	ReplicationControllers(namespace string) Reader[*corev1.ReplicationController, *corev1.ReplicationControllerList]
	Services(namespace string) Resource[*corev1.Service, *corev1.ServiceList]
}

// AppsV1 is the group of Deployments.
type AppsV1 interface {
	ControllerRevisions(namespace string) Reader[*appsv1.ControllerRevision, *appsv1.ControllerRevisionList]
	DaemonSets(namespace string) Reader[*appsv1.DaemonSet, *appsv1.DaemonSetList]
	Deployments(namespace string) Reader[*appsv1.Deployment, *appsv1.DeploymentList]
	ReplicaSets(namespace string) Reader[*appsv1.ReplicaSet, *appsv1.ReplicaSetList]
	StatefulSets(namespace string) Reader[*appsv1.StatefulSet, *appsv1.StatefulSetList]
}

// BatchV1 is the group of Jobs.
type BatchV1 interface {
	CronJobs(namespace string) Reader[*batchv1.CronJob, *batchv1.CronJobList]
	Jobs(namespace string) Resource[*batchv1.Job, *batchv1.JobList]
}

// DiscoveryV1 is the group of EndpointSlices.
type DiscoveryV1 interface {
	EndpointSlices(namespace string) Reader[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList]
}

// NetworkingV1 is the group of NetworkPolicies.
type NetworkingV1 interface {
	NetworkPolicies(namespace string) Reader[*networkingv1.NetworkPolicy, *networkingv1.NetworkPolicyList]
}

// NodeV1 is the group of RuntimeClasses.
type NodeV1 interface {
	RuntimeClasses() Reader[*nodev1.RuntimeClass, *nodev1.RuntimeClassList]
}

// RbacV1 is the group of Roles.
type RbacV1 interface {
	ClusterRoleBindings() Reader[*rbacv1.ClusterRoleBinding, *rbacv1.ClusterRoleBindingList]
}

// CertificatesV1 is the group of CertificateSigningRequests.
type CertificatesV1 interface {
	CertificateSigningRequests() Resource[*certificatesv1.CertificateSigningRequest,
		*certificatesv1.CertificateSigningRequestList]
}

// AuthorizationV1 is the group of access reviews.
type AuthorizationV1 interface {
	SelfSubjectAccessReviews() Creator[*authorizationv1.SelfSubjectAccessReview]
}

// AuthenticationV1 is the group of the user's name.
type AuthenticationV1 interface {
	SelfSubjectReviews() Creator[*authenticationv1.SelfSubjectReview]
}
