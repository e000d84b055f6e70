package kube

import (
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
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// newScheme registers the types of requests and answers. What is not registered is not linked.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	add := func(gv schema.GroupVersion, types ...runtime.Object) {
		s.AddKnownTypes(gv, types...)
		metav1.AddToGroupVersion(s, gv)
	}
	add(corev1.SchemeGroupVersion,
		&corev1.ConfigMap{}, &corev1.ConfigMapList{}, &corev1.Event{}, &corev1.EventList{},
		&corev1.Namespace{}, &corev1.NamespaceList{}, &corev1.Node{}, &corev1.NodeList{},
		&corev1.Pod{}, &corev1.PodList{}, &corev1.PodLogOptions{},
		&corev1.ReplicationController{}, &corev1.ReplicationControllerList{}, &corev1.Service{}, &corev1.ServiceList{})
	add(appsv1.SchemeGroupVersion,
		&appsv1.ControllerRevision{}, &appsv1.ControllerRevisionList{}, &appsv1.DaemonSet{}, &appsv1.DaemonSetList{},
		&appsv1.Deployment{}, &appsv1.DeploymentList{}, &appsv1.ReplicaSet{}, &appsv1.ReplicaSetList{},
		&appsv1.StatefulSet{}, &appsv1.StatefulSetList{})
	add(batchv1.SchemeGroupVersion, &batchv1.CronJob{}, &batchv1.CronJobList{}, &batchv1.Job{}, &batchv1.JobList{})
	add(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
	add(networkingv1.SchemeGroupVersion, &networkingv1.NetworkPolicy{}, &networkingv1.NetworkPolicyList{})
	add(nodev1.SchemeGroupVersion, &nodev1.RuntimeClass{}, &nodev1.RuntimeClassList{})
	add(rbacv1.SchemeGroupVersion, &rbacv1.ClusterRoleBinding{}, &rbacv1.ClusterRoleBindingList{})
	add(certificatesv1.SchemeGroupVersion,
		&certificatesv1.CertificateSigningRequest{}, &certificatesv1.CertificateSigningRequestList{})
	add(authorizationv1.SchemeGroupVersion, &authorizationv1.SelfSubjectAccessReview{})
	add(authenticationv1.SchemeGroupVersion, &authenticationv1.SelfSubjectReview{})
	return s
}

func newResource[O, L any, T object[O], TL list[L]](g group, name, namespace string) *resource[O, L, T, TL] {
	return &resource[O, L, T, TL]{client: g.client, codec: g.codec, name: name, namespace: namespace}
}

type core struct{ group }

func (g core) ConfigMaps(namespace string) Resource[*corev1.ConfigMap, *corev1.ConfigMapList] {
	return newResource[corev1.ConfigMap, corev1.ConfigMapList](g.group, "configmaps", namespace)
}

func (g core) Events(namespace string) Resource[*corev1.Event, *corev1.EventList] {
	return newResource[corev1.Event, corev1.EventList](g.group, "events", namespace)
}

func (g core) Namespaces() Resource[*corev1.Namespace, *corev1.NamespaceList] {
	return newResource[corev1.Namespace, corev1.NamespaceList](g.group, "namespaces", "")
}

func (g core) Nodes() Resource[*corev1.Node, *corev1.NodeList] {
	return newResource[corev1.Node, corev1.NodeList](g.group, "nodes", "")
}

func (g core) Pods(namespace string) Pods {
	return pods{newResource[corev1.Pod, corev1.PodList](g.group, "pods", namespace)}
}

func (g core) ReplicationControllers(
	namespace string,
) Reader[*corev1.ReplicationController, *corev1.ReplicationControllerList] {
	return newResource[corev1.ReplicationController, corev1.ReplicationControllerList](g.group,
		"replicationcontrollers", namespace)
}

func (g core) Services(namespace string) Resource[*corev1.Service, *corev1.ServiceList] {
	return newResource[corev1.Service, corev1.ServiceList](g.group, "services", namespace)
}

type apps struct{ group }

func (g apps) ControllerRevisions(
	namespace string,
) Reader[*appsv1.ControllerRevision, *appsv1.ControllerRevisionList] {
	return newResource[appsv1.ControllerRevision, appsv1.ControllerRevisionList](g.group, "controllerrevisions",
		namespace)
}

func (g apps) DaemonSets(namespace string) Reader[*appsv1.DaemonSet, *appsv1.DaemonSetList] {
	return newResource[appsv1.DaemonSet, appsv1.DaemonSetList](g.group, "daemonsets", namespace)
}

func (g apps) Deployments(namespace string) Reader[*appsv1.Deployment, *appsv1.DeploymentList] {
	return newResource[appsv1.Deployment, appsv1.DeploymentList](g.group, "deployments", namespace)
}

func (g apps) ReplicaSets(namespace string) Reader[*appsv1.ReplicaSet, *appsv1.ReplicaSetList] {
	return newResource[appsv1.ReplicaSet, appsv1.ReplicaSetList](g.group, "replicasets", namespace)
}

func (g apps) StatefulSets(namespace string) Reader[*appsv1.StatefulSet, *appsv1.StatefulSetList] {
	return newResource[appsv1.StatefulSet, appsv1.StatefulSetList](g.group, "statefulsets", namespace)
}

type batch struct{ group }

func (g batch) CronJobs(namespace string) Reader[*batchv1.CronJob, *batchv1.CronJobList] {
	return newResource[batchv1.CronJob, batchv1.CronJobList](g.group, "cronjobs", namespace)
}

func (g batch) Jobs(namespace string) Resource[*batchv1.Job, *batchv1.JobList] {
	return newResource[batchv1.Job, batchv1.JobList](g.group, "jobs", namespace)
}

type endpoints struct{ group }

func (g endpoints) EndpointSlices(
	namespace string,
) Reader[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList] {
	return newResource[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](g.group, "endpointslices", namespace)
}

type networking struct{ group }

func (g networking) NetworkPolicies(
	namespace string,
) Reader[*networkingv1.NetworkPolicy, *networkingv1.NetworkPolicyList] {
	return newResource[networkingv1.NetworkPolicy, networkingv1.NetworkPolicyList](g.group, "networkpolicies",
		namespace)
}

type node struct{ group }

func (g node) RuntimeClasses() Reader[*nodev1.RuntimeClass, *nodev1.RuntimeClassList] {
	return newResource[nodev1.RuntimeClass, nodev1.RuntimeClassList](g.group, "runtimeclasses", "")
}

type rbac struct{ group }

func (g rbac) ClusterRoleBindings() Reader[*rbacv1.ClusterRoleBinding, *rbacv1.ClusterRoleBindingList] {
	return newResource[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](g.group, "clusterrolebindings", "")
}

type certificates struct{ group }

func (g certificates) CertificateSigningRequests() Resource[*certificatesv1.CertificateSigningRequest,
	*certificatesv1.CertificateSigningRequestList] {
	return newResource[certificatesv1.CertificateSigningRequest,
		certificatesv1.CertificateSigningRequestList](g.group, "certificatesigningrequests", "")
}

// created is a resource without a list.
func created[O any, T object[O]](g group, name string) Creator[T] {
	return newResource[O, metav1.Status, T, *metav1.Status](g, name, "")
}

type authorization struct{ group }

func (g authorization) SelfSubjectAccessReviews() Creator[*authorizationv1.SelfSubjectAccessReview] {
	return created[authorizationv1.SelfSubjectAccessReview](g.group, "selfsubjectaccessreviews")
}

type authentication struct{ group }

func (g authentication) SelfSubjectReviews() Creator[*authenticationv1.SelfSubjectReview] {
	return created[authenticationv1.SelfSubjectReview](g.group, "selfsubjectreviews")
}
