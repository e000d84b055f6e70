package cluster

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	k8stesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

func dnsService(namespace, name, portName string, port int32, target intstr.IntOrString) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Spec.Ports = []corev1.ServicePort{{Name: portName, Port: port, TargetPort: target, Protocol: corev1.ProtocolUDP}}
	return s
}

// dnsSlice is an endpoint slice of a Service whose pods have a port for the target port "dns".
func dnsSlice(namespace, service string, port int32) *discoveryv1.EndpointSlice {
	name := "dns"
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
}

func TestDNSPorts(t *testing.T) {
	fixed := intstr.FromInt32
	kube := dnsService("kube-system", "kube-dns", "dns", 53, fixed(8053))
	kube.Spec.Ports = append(kube.Spec.Ports, corev1.ServicePort{
		Name: "metrics", Port: 9153, TargetPort: fixed(9153), Protocol: corev1.ProtocolTCP,
	})
	web := dnsService("demo", "web", "http", 80, fixed(8080))
	onNodes := dnsService("demo", "a", "dns", 53, fixed(53))
	onNodes.Spec.Ports[0].NodePort = 30053
	sctp := dnsService("demo", "a", "dns", 53, fixed(53))
	sctp.Spec.Ports[0].Protocol = corev1.ProtocolSCTP
	// A Service in another namespace with the labels of the cluster's DNS Service.
	posing := dnsService("other", "kube-dns", "dns", 53, fixed(443))
	posing.Labels = map[string]string{"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true"}
	all := []runtime.Object{posing, dnsService("demo", "a", "dns", 3, fixed(4)), kube}
	one := func(s *corev1.Service) []runtime.Object { return []runtime.Object{s} }
	for name, c := range map[string]struct {
		objects   []runtime.Object
		namespace string
		known     []uint32
		want      string
	}{
		"no Services":         {nil, "demo", []uint32{53}, "[]"},
		"numeric target port": {[]runtime.Object{kube, web}, "demo", []uint32{53}, "[53 8053]"},
		"target port 53": {one(dnsService("demo", "a", "x", 5354, fixed(53))), "demo", []uint32{53},
			"[5354 53]"},
		"port of --dns-port": {one(dnsService("demo", "a", "x", 5354, fixed(54))), "demo", []uint32{5354},
			"[5354 54]"},
		"port named dns-tcp":     {one(dnsService("demo", "a", "dns-tcp", 5, fixed(6))), "demo", []uint32{53}, "[5 6]"},
		"port of nodes":          {one(onNodes), "demo", []uint32{53}, "[53 30053]"},
		"no DNS":                 {one(web), "demo", []uint32{53}, "[]"},
		"SCTP":                   {one(sctp), "demo", []uint32{53}, "[]"},
		"the cluster's come 1st": {all, "demo", []uint32{53}, "[53 8053 3 4]"},
		"all namespaces":         {all, "", []uint32{53}, "[53 8053]"},
		"named target port": {
			[]runtime.Object{
				dnsService("demo", "a", "dns", 53, intstr.FromString("dns")), dnsSlice("demo", "a", 1053),
				dnsSlice("demo", "b", 1054), dnsSlice("other", "a", 1055),
			}, "demo", []uint32{53}, "[53 1053]",
		},
		"OpenShift": {
			[]runtime.Object{
				dnsService("openshift-dns", "dns-default", "dns", 53, intstr.FromString("dns")),
				dnsSlice("openshift-dns", "dns-default", 5353),
			}, "", []uint32{53}, "[53 5353]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DNSPorts(t.Context(), kubefake.New(c.objects...), c.namespace, c.known)
			if fmt.Sprint(got) != c.want || err != nil {
				t.Errorf("ports %v, want %s; error %v", got, c.want, err)
			}
		})
	}
}

func TestDNSPorts_WithoutRights(t *testing.T) {
	fixed := intstr.FromInt32
	objects := []runtime.Object{
		dnsService("kube-system", "kube-dns", "dns", 53, fixed(8053)),
		dnsService("demo", "a", "dns", 3, intstr.FromString("x")), dnsService("demo", "b", "dns", 5, fixed(6)),
	}
	for name, c := range map[string]struct {
		// refused are resources and namespaces that may not be listed.
		refused, want, wantErr string
	}{
		"the cluster's Services": {"services kube-system", "[3 5 6]",
			"may not list services in namespace \"kube-system\""},
		"endpoints":             {"endpointslices demo", "[53 8053 3 5 6]", "list endpointslices of Service demo/a: "},
		"OpenShift's namespace": {"services openshift-dns", "[53 8053 3 5 6]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := kubefake.New(objects...)
			client.PrependReactor("list", "*", func(a k8stesting.Action) (bool, runtime.Object, error) {
				resource := a.GetResource().Resource
				if resource+" "+a.GetNamespace() != c.refused {
					return false, nil, nil
				}
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", fmt.Errorf("no"))
			})
			got, err := DNSPorts(t.Context(), client, "demo", []uint32{53})
			if fmt.Sprint(got) != c.want {
				t.Errorf("ports %v, want %s", got, c.want)
			}
			if (err != nil) != (c.wantErr != "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("error %v, want %q", err, c.wantErr)
			}
		})
	}
}
