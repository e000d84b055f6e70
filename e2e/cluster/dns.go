package main

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// corefile serves the cluster's own names. There is no upstream server: no other name exists.
const corefile = `.:53 {
    errors
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 5
    }
    file /etc/coredns/root
}
`

// rootZone has no name but its own, so the answer for any other name is NXDOMAIN, which resolvers may cache for 5 s.
const rootZone = `. 5 IN SOA ns.invalid. admin.invalid. 1 3600 600 86400 5
. 5 IN NS ns.invalid.
`

// deployDNS creates kube-proxy's role binding and CoreDNS, at the address that every kubelet configures in its pods.
func (c *cluster) deployDNS(ctx context.Context, client kubernetes.Interface) error {
	const name, namespace = "coredns", metav1.NamespaceSystem
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"k8s-app": "kube-dns"}}
	bind := func(name, role string, subject rbacv1.Subject) error {
		_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{subject},
		}, metav1.CreateOptions{})
		return ignoreExists(err)
	}
	_, roleErr := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e:coredns"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"endpoints", "services", "pods", "namespaces"},
				Verbs: []string{"list", "watch"}},
			{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"},
				Verbs: []string{"list", "watch"}},
		},
	}, metav1.CreateOptions{})
	_, accountErr := client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta},
		metav1.CreateOptions{})
	_, mapErr := client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: meta, Data: map[string]string{"Corefile": corefile, "root": rootZone},
	}, metav1.CreateOptions{})
	dual := corev1.IPFamilyPolicyRequireDualStack
	_, serviceErr := client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Namespace: namespace, Labels: meta.Labels},
		Spec: corev1.ServiceSpec{
			Selector: meta.Labels, ClusterIP: c.dnsIPs()[0], ClusterIPs: c.dnsIPs(), IPFamilyPolicy: &dual,
			Ports: []corev1.ServicePort{
				{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(53)},
			},
		},
	}, metav1.CreateOptions{})
	_, deployErr := client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: meta.Labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels},
				Spec: corev1.PodSpec{
					ServiceAccountName: name, DNSPolicy: corev1.DNSDefault,
					Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					Containers: []corev1.Container{{
						Name: name, Image: corednsImage, ImagePullPolicy: corev1.PullNever,
						Args:         []string{"-conf", "/etc/coredns/Corefile"},
						VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/coredns"}},
						ReadinessProbe: &corev1.Probe{
							ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready",
								Port: intstr.FromInt32(8181)}},
							PeriodSeconds: 1,
						},
					}},
					Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{
						ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{
							Name: name}},
					}}},
				},
			},
		},
	}, metav1.CreateOptions{})
	return errors.Join(
		bind("e2e:kube-proxy", "system:node-proxier", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User",
			Name: "system:kube-proxy"}),
		bind("e2e:coredns", "e2e:coredns", rbacv1.Subject{Kind: "ServiceAccount", Name: name, Namespace: namespace}),
		ignoreExists(roleErr), ignoreExists(accountErr), ignoreExists(mapErr), ignoreExists(serviceErr),
		ignoreExists(deployErr),
	)
}
