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
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

func dnsService(namespace, name, portName string, port int32, target intstr.IntOrString) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if namespace == metav1.NamespaceSystem {
		s.Labels = map[string]string{"k8s-app": "kube-dns"}
	}
	s.Spec.Ports = []corev1.ServicePort{{Name: portName, Port: port, TargetPort: target, Protocol: corev1.ProtocolUDP}}
	return s
}

func TestDNSPorts(t *testing.T) {
	named, numbered := "dns", int32(1053)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "other", Name: "s", Labels: map[string]string{discoveryv1.LabelServiceName: "named"},
		},
		Ports: []discoveryv1.EndpointPort{{Name: &named, Port: &numbered}},
	}
	metrics := dnsService(metav1.NamespaceSystem, "kube-dns", "dns", 53, intstr.FromInt32(8053))
	metrics.Spec.Ports = append(metrics.Spec.Ports, corev1.ServicePort{
		Name: "metrics", Port: 9153, TargetPort: intstr.FromInt32(9153), Protocol: corev1.ProtocolTCP,
	})
	web := dnsService("demo", "web", "http", 80, intstr.FromInt32(8080))
	byName := dnsService("other", "named", "dns", 5353, intstr.FromString("dns"))
	fixed := intstr.FromInt32
	three := []runtime.Object{
		dnsService("a", "a", "dns", 1, fixed(2)), dnsService("demo", "a", "dns", 3, fixed(4)), metrics,
	}
	one := func(s *corev1.Service) []runtime.Object { return []runtime.Object{s} }
	for name, c := range map[string]struct {
		objects   []runtime.Object
		known     []uint32
		forbidden bool
		want      string
	}{
		"no Services":           {nil, []uint32{53}, false, "[]"},
		"numeric target port":   {[]runtime.Object{metrics, web}, []uint32{53}, false, "[53 8053]"},
		"target port 53":        {one(dnsService("demo", "a", "x", 5354, fixed(53))), []uint32{53}, false, "[5354 53]"},
		"port of --dns-port":    {one(dnsService("demo", "a", "x", 5354, fixed(54))), []uint32{5354}, false, "[5354 54]"},
		"named target port":     {[]runtime.Object{byName, slice}, []uint32{53}, false, "[5353 1053]"},
		"own server, then demo": {three, []uint32{53}, false, "[53 8053 3 4 1 2]"},
		"only some namespaces":  {three, []uint32{53}, true, "[53 8053 3 4]"},
		"a Service of no DNS":   {one(web), []uint32{53}, false, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(c.objects...)
			client.PrependReactor("list", "services", func(a k8stesting.Action) (bool, runtime.Object, error) {
				if !c.forbidden || a.GetNamespace() != "" {
					return false, nil, nil
				}
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "", fmt.Errorf("no"))
			})
			got, err := DNSPorts(t.Context(), client, "demo", c.known)
			if fmt.Sprint(got) != c.want {
				t.Errorf("ports %v, want %s", got, c.want)
			}
			if (err != nil) != c.forbidden || err != nil && !strings.HasPrefix(err.Error(), "list services: ") {
				t.Errorf("error %v", err)
			}
		})
	}
}
