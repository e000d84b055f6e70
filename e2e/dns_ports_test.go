package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// dnsServiceOf creates a Service for DNS over UDP and TCP. Its target ports may be names.
func dnsServiceOf(t *testing.T, e *kit.Env, namespace, app string, port int32, udp, tcp intstr.IntOrString) netip.Addr {
	t.Helper()
	return e.ServiceOf(t, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": app}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{
				{Name: "udp", Protocol: corev1.ProtocolUDP, Port: port, TargetPort: udp},
				{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: port, TargetPort: tcp},
			},
		},
	})
}

// TestDNSPorts_OneEventPerQuery queries servers whose Service has a port other than their pods', or that have no
// Service, also from clients whose address is not the pod's. There is no --dns-port: the trace finds the Services'
// ports.
func TestDNSPorts_OneEventPerQuery(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "asker", Node: e.Nodes[0], Sidecar: "other"},
		kit.PodSpec{Namespace: ns, Name: "host-a", Node: e.Nodes[0], HostNetwork: true},
		kit.PodSpec{Namespace: ns, Name: "host-b", Node: e.Nodes[1], HostNetwork: true},
		kit.PodSpec{Namespace: ns, Name: "names", Node: e.Nodes[1], Args: []string{"dnsserver", "-listen", ":53"}},
		kit.PodSpec{
			Namespace: ns, Name: "named", Node: e.Nodes[1], Args: []string{"dnsserver", "-listen", ":5454"},
			Ports: []corev1.ContainerPort{
				{Name: "questions", ContainerPort: 5454, Protocol: corev1.ProtocolUDP},
				{Name: "streams", ContainerPort: 5454, Protocol: corev1.ProtocolTCP},
			},
		})
	asker, hostA, hostB, names, named := pods[0], pods[1], pods[2], pods[3], pods[4]
	at := func(a netip.Addr, port uint16) string { return netip.AddrPortFrom(a, port).String() }
	p53 := intstr.FromInt32(53)
	service := at(dnsServiceOf(t, e, ns, "names", 5354, p53, p53), 5354)
	byName := at(dnsServiceOf(t, e, ns, "named", 53, intstr.FromString("questions"), intstr.FromString("streams")), 53)
	direct, moved := at(names.IP(t, false), 53), at(named.IP(t, false), 5454)

	all := e.Trace(t, "trace", "dns", "-n", ns, "-o", "json", "--fail-on-loss")
	main := e.Trace(t, "trace", "dns", "-n", ns, "-o", "json", "--fail-on-loss", "-c", "workload")
	all.AwaitStreaming(t, 2)
	main.AwaitStreaming(t, 2)

	type query struct {
		from            *kit.Pod
		container       string
		to, pod, viaSvc string // viaSvc is the Service's name, or empty for a pod's address
	}
	var asked []query
	var commands []*kit.Command
	for _, q := range []query{
		{asker, "workload", service, "names", "names"},
		{asker, "workload", byName, "named", "named"},
		{asker, "workload", moved, "named", ""},
		{names, "workload", "127.0.0.1:53", "names", ""},
		{names, "workload", "[::1]:53", "names", ""},
		{named, "workload", "127.0.0.1:5454", "named", ""},
		{hostA, "workload", direct, "names", ""},
		{hostA, "workload", service, "names", "names"},
		{hostB, "workload", direct, "names", ""},
		{hostB, "workload", service, "names", "names"},
		{asker, "other", direct, "names", ""},
		{asker, "other", service, "names", "names"},
	} {
		for _, protocol := range []string{"udp", "tcp"} {
			args := []string{"dnsask", "-to", q.to}
			if protocol == "tcp" {
				args = append(args, "-tcp")
			}
			args = append(args, fmt.Sprintf("q%d.example.", len(asked)))
			commands = append(commands, q.from.StartIn(t, q.container, args...))
			asked = append(asked, q)
		}
	}
	for i, c := range commands {
		if r := c.Wait(t); len(r) != 1 || r[0].Error != "" {
			t.Fatalf("%s/%s asked %s: %+v", asked[i].from.Name, asked[i].container, asked[i].to, r)
		}
	}
	all.Stop(t)
	main.Stop(t)

	for title, tr := range map[string]*kit.Trace{"all containers": all, "-c workload": main} {
		t.Run(title, func(t *testing.T) {
			var got []dnsEvent
			tr.JQ(t, &got, `map(select(.kind == "dns"))`)
			if len(got) != len(asked) {
				t.Errorf("%d events of %d queries", len(got), len(asked))
			}
			for i, q := range asked {
				name := fmt.Sprintf("q%d.example.", i)
				mine := slices.DeleteFunc(slices.Clone(got), func(d dnsEvent) bool { return d.Name != name })
				if len(mine) != 1 {
					t.Errorf("%d events of %s/%s asking %s (%s)", len(mine), q.from.Name, q.container, q.to, name)
					continue
				}
				d := mine[0]
				observed, pod, viaSvc := "src", q.from.Name, q.viaSvc
				if tr == main && q.container != "workload" {
					observed, pod, viaSvc = "dst", q.pod, "" // only the server's end is observed, behind the Service
				}
				if d.Observed != observed || d.Pod != pod || d.Outcome != "answered" || *d.Rcode != "NOERROR" ||
					deref(d.Src.Pod) != q.from.Name || deref(d.Dst.Pod) != q.pod || deref(d.Dst.Service) != viaSvc {
					t.Errorf("%s/%s asking %s: observed %s by %s, %s -> %s/%s %s", q.from.Name, q.container, q.to,
						d.Observed, d.Pod,
						deref(d.Src.Pod), deref(d.Dst.Service), deref(d.Dst.Pod), d.Outcome)
				}
			}
		})
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
