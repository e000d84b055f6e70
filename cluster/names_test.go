package cluster

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// index is a Cluster without watches, for tests that apply objects themselves. Objects pass strip, as those of watches
// do.
type index struct {
	*Cluster
	t *testing.T
}

func newIndex(t *testing.T) *index {
	return &index{t: t, Cluster: &Cluster{
		names: newNames(time.Now), targets: targets.New(func(*corev1.Pod) bool { return false }, ""),
	}}
}

func (x *index) apply(objects ...any) {
	x.t.Helper()
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Pod:
			x.names.applyPod(o)
		case *corev1.Service:
			x.names.applyService(o)
		case *corev1.Node:
			x.names.applyNode(o)
		case *discoveryv1.EndpointSlice:
			x.names.applySlice(o)
		default:
			x.t.Fatalf("object %T", o)
		}
	}
}

// describe formats the names of an address as the text views do.
func (x *index) describe(at string, proto event.Protocol) string {
	x.t.Helper()
	to, err := netip.ParseAddrPort(at)
	if err != nil {
		x.t.Fatal(err)
	}
	n := x.Name(to.Addr(), to.Port(), proto)
	out := ""
	switch {
	case n.Service != "":
		out = "service " + n.Service + " "
	case n.Hint != nil:
		out = fmt.Sprintf("service %s:%d%s ", n.Hint.Service, n.Hint.Port, n.Hint.Note.Mark())
	}
	return fmt.Sprintf("%spod %q node %q", out, n.Pod, n.Node)
}

// node is the node "n1" after a change.
func node(change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.1.0.1"}}
	change(n)
	return n
}

func TestNames_NodeInPodNetwork(t *testing.T) {
	ranges := func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.244.1.0/24", "fd00:244:1::/64"} }
	for name, test := range map[string]struct {
		change func(*corev1.Node)
		addr   string
		want   string
	}{
		"bridge":                {ranges, "10.244.1.1", `pod "" node "n1"`},
		"bridge, IPv6":          {ranges, "fd00:244:1::1", `pod "" node "n1"`},
		"flannel.1":             {ranges, "10.244.1.0", `pod "" node "n1"`},
		"a pod has the address": {ranges, "10.244.1.2", `pod "web-0" node "n1"`},
		"another address":       {ranges, "10.244.1.3", `pod "" node ""`},
		"another node's range":  {ranges, "10.244.2.1", `pod "" node ""`},
		"host bits in the range": {func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.244.1.7/24"} }, "10.244.1.1",
			`pod "" node "n1"`},
		"only the older field": {func(n *corev1.Node) { n.Spec.PodCIDR = "10.244.1.0/24" }, "10.244.1.1",
			`pod "" node "n1"`},
		"a range of one address": {func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.244.1.0/32"} }, "10.244.1.1",
			`pod "" node ""`},
		"a range that is no range": {func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"x"} }, "10.244.1.1",
			`pod "" node ""`},
		"a pod with the gateway's address": {
			func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.244.3.0/24"} }, "10.244.3.1",
			`pod "calico-pod" node "n9"`,
		},
		"Calico's tunnel": {
			func(n *corev1.Node) { n.Annotations["projectcalico.org/IPv4IPIPTunnelAddr"] = "192.168.7.64" },
			"192.168.7.64", `pod "" node "n1"`,
		},
		"Calico does not use the range": {
			func(n *corev1.Node) {
				ranges(n)
				n.Annotations["projectcalico.org/IPv4VXLANTunnelAddr"] = "192.168.7.64"
			}, "10.244.1.1", `pod "" node ""`,
		},
		"cilium_host": {
			func(n *corev1.Node) { n.Annotations["network.cilium.io/ipv4-cilium-host"] = "10.0.1.77" }, "10.0.1.77",
			`pod "" node "n1"`,
		},
		"CiliumInternalIP": {func(n *corev1.Node) {
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: "CiliumInternalIP",
				Address: "10.0.1.78"})
		}, "10.0.1.78", `pod "" node "n1"`},
	} {
		t.Run(name, func(t *testing.T) {
			x := newIndex(t)
			x.apply(node(test.change), pod("demo", "web-0", "n1", "10.244.1.2"),
				pod("demo", "calico-pod", "n9", "10.244.3.1"))
			at := netip.AddrPortFrom(netip.MustParseAddr(test.addr), 40000).String()
			if got := x.describe(at, tcp); got != test.want {
				t.Errorf("%s is %s, want %s", test.addr, got, test.want)
			}
		})
	}
	x := newIndex(t)
	x.apply(node(ranges))
	x.names.deleteNode("n1")
	if got := x.describe("10.244.1.1:1", tcp); got != `pod "" node ""` {
		t.Errorf("the bridge of a deleted node is %s", got)
	}
}

// endpoint is an endpoint with conditions: r(eady), s(erving), t(erminating), capital for true, "-" for all absent.
func endpoint(addr, conditions string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{addr}}
	for _, c := range conditions {
		value := c < 'a'
		switch c {
		case 'r', 'R':
			e.Conditions.Ready = &value
		case 's', 'S':
			e.Conditions.Serving = &value
		case 't', 'T':
			e.Conditions.Terminating = &value
		}
	}
	return e
}

func slicesOf(service string, port int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "demo", Name: service + "-x", Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		Ports:     []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(port), Protocol: ptr(corev1.ProtocolTCP)}},
		Endpoints: endpoints,
	}
}

func webService(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "web"},
		Spec: corev1.ServiceSpec{
			ClusterIPs: []string{"10.96.0.10"},
			Ports:      []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, NodePort: 30080}},
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

func TestNames_EndpointsAsKubeProxy(t *testing.T) {
	const none, zero, one = `service web pod "" node ""`, `service web pod "web-0" node "n1"`,
		`service web pod "web-1" node "n2"`
	internal := func(s *corev1.Service) {
		s.Spec.InternalTrafficPolicy = ptr(corev1.ServiceInternalTrafficPolicyLocal)
	}
	external := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	a, b, vip := "10.2.0.5", "10.3.0.6", "10.96.0.10:80"
	for name, test := range map[string]struct {
		endpoints []discoveryv1.Endpoint
		change    func(*corev1.Service)
		at, want  string
	}{
		"no endpoints":              {nil, nil, vip, none},
		"one without conditions":    {[]discoveryv1.Endpoint{endpoint(a, "-")}, nil, vip, zero},
		"one ready":                 {[]discoveryv1.Endpoint{endpoint(a, "RSt")}, nil, vip, zero},
		"one not ready":             {[]discoveryv1.Endpoint{endpoint(a, "rst")}, nil, vip, none},
		"one not ready, old writer": {[]discoveryv1.Endpoint{endpoint(a, "r")}, nil, vip, none},
		"one ready, one not":        {[]discoveryv1.Endpoint{endpoint(a, "rst"), endpoint(b, "RSt")}, nil, vip, one},
		"two ready":                 {[]discoveryv1.Endpoint{endpoint(a, "RSt"), endpoint(b, "RSt")}, nil, vip, none},
		"one draining":              {[]discoveryv1.Endpoint{endpoint(a, "rST")}, nil, vip, zero},
		"one draining, one not":     {[]discoveryv1.Endpoint{endpoint(a, "rST"), endpoint(b, "rst")}, nil, vip, zero},
		"one draining, one ready":   {[]discoveryv1.Endpoint{endpoint(a, "rST"), endpoint(b, "RSt")}, nil, vip, one},
		"terminating, not serving":  {[]discoveryv1.Endpoint{endpoint(a, "rsT")}, nil, vip, none},
		"serving, not terminating":  {[]discoveryv1.Endpoint{endpoint(a, "rSt")}, nil, vip, none},
		"publishNotReadyAddresses":  {[]discoveryv1.Endpoint{endpoint(a, "RsT")}, nil, vip, zero},
		"the other address family":  {[]discoveryv1.Endpoint{endpoint("fd00:2::5", "RSt")}, nil, vip, none},
		"one of each address family": {[]discoveryv1.Endpoint{endpoint("fd00:2::5", "RSt"), endpoint(a, "RSt")}, nil,
			vip, zero},
		// The client's node is not known.
		"internal traffic stays local": {[]discoveryv1.Endpoint{endpoint(a, "RSt")}, internal, vip, none},
		"external traffic stays local": {[]discoveryv1.Endpoint{endpoint(b, "RSt")}, external, "10.1.0.1:30080",
			none},
		"external traffic is local": {[]discoveryv1.Endpoint{endpoint(a, "RSt")}, external, "10.1.0.1:30080",
			zero},
		"external traffic goes anywhere": {[]discoveryv1.Endpoint{endpoint(b, "RSt")}, nil, "10.1.0.1:30080", one},
		"session affinity": {
			[]discoveryv1.Endpoint{endpoint(a, "RSt"), endpoint(b, "rst")},
			func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }, vip, zero,
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newIndex(t)
			x.apply(
				node(func(*corev1.Node) {}), pod("demo", "web-0", "n1", a, "fd00:2::5"),
				pod("demo", "web-1", "n2", b),
				webService(test.change), slicesOf("web", 8080, test.endpoints...),
			)
			if got := x.describe(test.at, tcp); got != test.want {
				t.Errorf("%s\nwant %s", got, test.want)
			}
			// A flow that began before an endpoint stopped being ready still goes there.
			for _, e := range test.endpoints {
				backend := netip.AddrPortFrom(netip.MustParseAddr(e.Addresses[0]), 8080)
				if !x.Backs(netip.MustParseAddrPort(test.at), backend, tcp) {
					t.Errorf("%s is no backend", backend)
				}
			}
		})
	}
}

func TestNames_EndpointInTwoSlices(t *testing.T) {
	x := newIndex(t)
	second := slicesOf("web", 8080, endpoint("10.2.0.5", "rst"))
	second.Name = "web-y"
	x.apply(pod("demo", "web-0", "n1", "10.2.0.5"), webService(nil), slicesOf("web", 8080, endpoint("10.2.0.5", "RSt")),
		second)
	if got, want := x.describe("10.96.0.10:80", tcp), `service web pod "web-0" node "n1"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestNames_NoSuchPort(t *testing.T) {
	x := newIndex(t)
	headless := webService(func(s *corev1.Service) {
		s.Name, s.Spec.ClusterIPs = "headless",
			[]string{corev1.ClusterIPNone}
	})
	x.apply(
		node(func(*corev1.Node) {}), pod("demo", "web-0", "n1", "10.2.0.5"), headless,
		webService(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.7"} }),
		slicesOf("web", 8080, endpoint("10.2.0.5", "RSt")),
	)
	for _, test := range []struct {
		why, at string
		proto   event.Protocol
		want    string
	}{
		{"its port", "10.96.0.10:80", tcp, `service web pod "web-0" node "n1"`},
		{"another port", "10.96.0.10:81", tcp, `service web:81 (no such port) pod "" node ""`},
		{"the target port", "10.96.0.10:8080", tcp, `service web:8080 (no such port) pod "" node ""`},
		{"another protocol", "10.96.0.10:80", udp, `service web:80 (no such port) pod "" node ""`},
		{"ping", "10.96.0.10:4711", event.Protocol_PROTOCOL_ICMP, `service web:0 pod "" node ""`},
		{"an external address may be another's", "192.0.2.7:81", tcp, `pod "" node ""`},
		{"a node's own port", "10.1.0.1:30081", tcp, `pod "" node "n1"`},
	} {
		if got := x.describe(test.at, test.proto); got != test.want {
			t.Errorf("%s: %s, want %s", test.why, got, test.want)
		}
	}
	x.names.deleteService(types.NamespacedName{Namespace: "demo", Name: "web"})
	if got := x.describe("10.96.0.10:81", tcp); got != `pod "" node ""` {
		t.Errorf("the address of a deleted Service is %s", got)
	}
}

func TestNames_ServiceInferred(t *testing.T) {
	cilium := node(func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Reason: "CiliumIsUp"}}
	})
	agent := pod("kube-system", "anetd", "n1", "10.1.0.1")
	agent.Spec.HostNetwork, agent.Labels = true, map[string]string{"k8s-app": "cilium"}
	other := webService(func(s *corev1.Service) { s.Name, s.Spec.ClusterIPs = "other", []string{"10.96.0.11"} })
	headless := webService(func(s *corev1.Service) { s.Spec.ClusterIPs = []string{corev1.ClusterIPNone} })
	twoPorts := webService(func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "alt", Port: 81, Protocol: corev1.ProtocolTCP})
	})
	alt := slicesOf("web", 8080, endpoint("10.2.0.5", "RSt"))
	alt.Ports = append(alt.Ports, discoveryv1.EndpointPort{Name: ptr("alt"), Port: ptr(int32(8080))})
	web, slice := webService(nil), slicesOf("web", 8080, endpoint("10.2.0.5", "RSt"))
	const inferred, direct = `service web:80 (inferred) pod "web-0" node "n1"`, `pod "web-0" node "n1"`
	for name, test := range map[string]struct {
		objects []any
		at      string
		want    string
	}{
		"one Service":             {[]any{cilium, web, slice}, "10.2.0.5:8080", inferred},
		"the agent's pod":         {[]any{agent, web, slice}, "10.2.0.5:8080", inferred},
		"kube-proxy":              {[]any{web, slice}, "10.2.0.5:8080", direct},
		"another port of the pod": {[]any{cilium, web, slice}, "10.2.0.5:9090", direct},
		"two Services": {[]any{cilium, web, slice, other,
			slicesOf("other", 8080, endpoint("10.2.0.5", "RSt"))}, "10.2.0.5:8080", direct},
		"two with other ports": {[]any{cilium, web, slice, other,
			slicesOf("other", 9090, endpoint("10.2.0.5", "RSt"))}, "10.2.0.5:8080", inferred},
		"a headless Service": {[]any{cilium, headless, slice}, "10.2.0.5:8080", direct},
		"two ports lead to one": {[]any{cilium, twoPorts, alt}, "10.2.0.5:8080",
			`service web:0 (inferred) pod "web-0" node "n1"`},
		"the Service's own address": {[]any{cilium, web, slice}, "10.96.0.10:80", `service web pod "web-0" node "n1"`},
		"a slice that is gone":      {[]any{cilium, web, slice, slicesOf("web", 9090)}, "10.2.0.5:8080", direct},
	} {
		t.Run(name, func(t *testing.T) {
			x := newIndex(t)
			x.apply(append(test.objects, pod("demo", "web-0", "n1", "10.2.0.5"))...)
			if got := x.describe(test.at, tcp); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
