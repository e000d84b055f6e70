package policy

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orb8-dev/kubectl-orb8/event"
)

var update = flag.Bool("update", false, "write testdata")

var began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// pod makes a pod of a Deployment, or a bare one for an empty workload.
func pod(namespace, name, workload string, set map[string]string, ports ...corev1.ContainerPort) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Ports: ports}}}}
	for k, v := range set {
		p.Labels[k] = v
	}
	if workload != "" {
		yes := true
		p.Labels["pod-template-hash"] = "abc"
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: workload + "-abc", Controller: &yes}}
	}
	return p
}

// shop is an application: web calls db, both are Deployments.
func shop() *Inventory {
	node := pod("kube-system", "exporter", "exporter", map[string]string{"app": "exporter"})
	node.Spec.HostNetwork, node.Status.HostIP = true, "10.0.0.2"
	inv := NewInventory([]*corev1.Pod{
		pod("shop", "web-1", "web", map[string]string{"app": "web", "version": "v1"},
			corev1.ContainerPort{Name: "http", ContainerPort: 8080}),
		pod("shop", "web-2", "web", map[string]string{"app": "web", "version": "v2"},
			corev1.ContainerPort{Name: "http", ContainerPort: 8080}),
		pod("shop", "db-1", "db", map[string]string{"app": "db", "team": "data"}),
		pod("shop", "cache-1", "cache", map[string]string{"app": "db", "team": "web"}),
		pod("shop", "bare", "", nil),
		pod("kube-system", "coredns-1", "coredns", map[string]string{"k8s-app": "kube-dns"},
			corev1.ContainerPort{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}),
		node,
	}, []*corev1.Service{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"}, Spec: corev1.ServiceSpec{
			Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromInt32(6443)}}}},
	}, nil)
	inv.podRanges = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
	inv.endpoints = map[Ref][]netip.Addr{{"default", "svc/kubernetes"}: {netip.MustParseAddr("10.0.0.9")}}
	return inv
}

// end makes an end that is a pod of the shop: "web" is deploy/web.
func end(name string, port uint32) *event.Endpoint {
	e := &event.Endpoint{Namespace: "shop", Pod: name + "-1", Workload: "deploy/" + name, Port: port,
		Address: []byte{10, 244, 0, 1}, Comm: name, Node: "n1"}
	switch name {
	case "coredns", "exporter":
		e.Namespace = "kube-system"
	case "bare":
		e.Pod, e.Workload = name, ""
	}
	return e
}

func outside(addr string, port uint32) *event.Endpoint {
	a := netip.MustParseAddr(addr)
	return &event.Endpoint{Address: a.AsSlice(), Port: port}
}

// flow makes a flow that is over. sides are those that were observed: "src", "dst" or "src dst".
func flow(id, sides string, src, dst *event.Endpoint) *event.Event {
	f := &event.Flow{Id: id, Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_CLOSED, Src: src, Dst: dst,
		State: event.TCPState_TCP_STATE_FIN_WAIT2, IsnValid: true, RoleKnown: true, Observed: event.Side_SIDE_DST}
	if strings.Contains(sides, "src") {
		f.SrcCounters = &event.Counters{BytesSent: 100, PacketsReceived: 3}
		f.Observed = event.Side_SIDE_SRC
	}
	if strings.Contains(sides, "dst") {
		f.DstCounters = &event.Counters{BytesReceived: 100, PacketsReceived: 3}
	}
	return &event.Event{Time: uint64(began.UnixNano()), Kind: &event.Event_Flow{Flow: f}}
}

// datagrams makes it a flow of UDP.
func datagrams(ev *event.Event) *event.Event {
	ev.GetFlow().Protocol = event.Protocol_PROTOCOL_UDP
	return ev
}

// refused makes a connection that was refused, and why.
func refused(id string, src, dst *event.Endpoint) []*event.Event {
	ev := flow(id, "src", src, dst)
	f := ev.GetFlow()
	f.State, f.IsnValid, f.SrcCounters = event.TCPState_TCP_STATE_SYN_SENT, false, &event.Counters{PacketsReceived: 1}
	return []*event.Event{ev, {Time: ev.Time, Kind: &event.Event_Tcp{Tcp: &event.Tcp{
		Outcome: event.TCPOutcome_TCP_OUTCOME_REFUSED, Src: src, Dst: dst, Observed: event.Side_SIDE_SRC,
		State: event.TCPState_TCP_STATE_SYN_SENT}}}}
}

func seenOf(events ...*event.Event) *Seen {
	s := New(Options{Selects: func(_, _, workload string) bool { return workload != "deploy/coredns" }})
	for _, ev := range events {
		s.Add(ev)
	}
	return s
}

// text is the policy of a workload, as YAML without what all have.
func text(t *testing.T, a *Advice, workload string) string {
	t.Helper()
	for _, p := range a.Policies {
		if p.Ref.Name != workload {
			continue
		}
		out, err := AppendYAML(nil, p.NetworkPolicy(), p)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	return ""
}

func TestAdvise_WholePolicy(t *testing.T) {
	s := seenOf(
		flow("1", "src dst", end("web", 40000), end("db", 5432)),
		flow("2", "src dst", end("web", 40001), end("db", 5432)),
		flow("3", "dst", outside("203.0.113.7", 50000), end("web", 8080)),
		datagrams(flow("4", "src", end("web", 40002), end("coredns", 53))),
		flow("5", "src", end("web", 40003), outside("198.51.100.4", 443)),
		&event.Event{Kind: &event.Event_Dns{Dns: &event.Dns{Observed: event.Side_SIDE_SRC, Name: "api.example.com.",
			Answers: "198.51.100.4,cname.example."}}},
	)
	for _, ev := range refused("6", end("web", 40004), end("cache", 6379)) {
		s.Add(ev)
	}
	want, err := os.ReadFile("testdata/web.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a := Advise(s, shop())
	got := text(t, a, "deploy/web")
	if *update {
		if err := os.WriteFile("testdata/web.yaml", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if got != string(want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
	for _, want := range []string{"198.51.100.4 is an address of api.example.com now",
		"seen from one side only: deploy/coredns in kube-system:"} {
		if !slices.ContainsFunc(a.Warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("no warning %q in %q", want, a.Warnings)
		}
	}
}

func TestAdvise_Cases(t *testing.T) {
	service := &event.Endpoint{Service: "web", ServiceNamespace: "shop", ServicePort: 80, Port: 80,
		Address: []byte{10, 96, 0, 4}, ServiceAddress: []byte{10, 96, 0, 4}}
	apiServer := &event.Endpoint{Service: "kubernetes", ServiceNamespace: "default", ServicePort: 443, Port: 443,
		Address: []byte{10, 96, 0, 1}}
	kubelet, other := outside("10.0.0.1", 40000), outside("10.0.0.2", 40000)
	kubelet.Node, other.Node = "n1", "n2"
	guess := flow("1", "src", end("web", 8080), end("db", 40000))
	guess.GetFlow().RoleKnown = false
	unknown := flow("1", "src", end("web", 50000), end("db", 40000))
	unknown.GetFlow().RoleKnown = false
	icmp := flow("1", "src", end("web", 0), end("db", 7))
	icmp.GetFlow().Protocol = event.Protocol_PROTOCOL_ICMP
	withheld := end("db", 5432)
	withheld.Redacted = true
	silent := datagrams(flow("1", "src", end("web", 1), end("db", 8125)))
	silent.GetFlow().SrcCounters.PacketsReceived = 0
	upgraded := flow("1", "src", end("bare", 1), service)
	upgraded.GetFlow().Phase = event.Phase_PHASE_NEW
	for name, test := range map[string]struct {
		events   []*event.Event
		workload string
		has      []string // in the policy
		lacks    []string
		warns    string
	}{
		"a Service is its pods": {[]*event.Event{flow("1", "src", end("cache", 1), service)}, "deploy/cache",
			[]string{"port: http", "app: web", "through Service web"}, []string{"ipBlock", "port: 80"}, ""},
		"the API server is an address": {[]*event.Event{flow("1", "src", end("web", 1), apiServer)}, "deploy/web",
			[]string{"cidr: 10.0.0.9/32", "port: 6443"}, []string{"port: 443"}, ""},
		"named ports of own pods": {[]*event.Event{flow("1", "dst", end("db", 1), end("web", 8080))}, "deploy/web",
			[]string{"port: http", "team: data"}, []string{"egress:"}, ""},
		"probes need no rule": {[]*event.Event{flow("1", "dst", kubelet, end("web", 8080))}, "deploy/web",
			[]string{"always allows the node"}, []string{"ingress:"}, ""},
		"another node is an address": {[]*event.Event{flow("1", "dst", other, end("web", 8080))}, "deploy/web",
			[]string{"cidr: 10.0.0.2/32"}, nil, "node n2 is a node"},
		"a pod on the host's network": {[]*event.Event{flow("1", "src", end("web", 1), end("exporter", 9100))},
			"deploy/web", []string{"cidr: 10.0.0.2/32", "port: 9100"}, []string{"app: exporter"}, "hostNetwork"},
		"a target on the host's network": {[]*event.Event{flow("1", "src", end("exporter", 1), end("web", 8080))},
			"deploy/exporter", nil, nil, "it uses the network of its nodes"},
		"a role that was guessed": {[]*event.Event{guess}, "deploy/web", nil, []string{"40000", "egress:"}, ""},
		"a role that is not known": {[]*event.Event{unknown}, "deploy/web",
			[]string{"not allowed: to deploy/db in shop tcp port 40000"}, []string{"egress:"}, "which end opened it"},
		"ICMP": {[]*event.Event{icmp}, "deploy/web", []string{"a NetworkPolicy cannot allow it"}, []string{"egress:"},
			"icmp was seen"},
		"a peer that is withheld": {[]*event.Event{flow("1", "src", end("web", 1), withheld)}, "deploy/web",
			[]string{"you may not see who it is"}, []string{"egress:"}, "you may not see"},
		"datagrams without an answer": {[]*event.Event{silent}, "deploy/web", []string{"1 unanswered"},
			[]string{"egress:"}, ""},
		"a pod that is gone": {[]*event.Event{flow("1", "src", end("web", 1), outside("10.244.9.9", 80))}, "deploy/web",
			[]string{"a pod that is not known by name"}, []string{"ipBlock"}, "10.244.9.9"},
		"no labels": {[]*event.Event{flow("1", "src", end("bare", 1), end("web", 8080))}, "pod/bare",
			[]string{unknownLabels + ": pod.bare"}, nil, "give them one"},
		"a Service, and then its pod": {[]*event.Event{upgraded, flow("1", "src dst", end("bare", 1),
			end("web", 8080))}, "pod/bare", []string{"1 connection of bare"}, []string{"2 connections"}, ""},
		"its own address": {[]*event.Event{flow("1", "src dst", end("web", 1), end("web", 8080))}, "deploy/web", nil,
			[]string{"egress:"}, ""},
		"hostile names": {[]*event.Event{func() *event.Event {
			e := end("web", 1)
			e.Comm = "x\n- ports: []\n\x1b[2J"
			return flow("1", "src", e, end("db", 5432))
		}()}, "deploy/web", []string{`of x - ports: []`}, []string{"\x1b", "\n- ports"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := Advise(seenOf(test.events...), shop())
			got := text(t, a, test.workload)
			for _, want := range test.has {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in %s", want, got)
				}
			}
			for _, no := range test.lacks {
				if strings.Contains(got, no) {
					t.Errorf("%q in %s", no, got)
				}
			}
			if !strings.Contains(strings.Join(a.Warnings, "\n"), test.warns) {
				t.Errorf("no warning %q in %q", test.warns, a.Warnings)
			}
		})
	}
}

func TestAdvise_WithoutCluster(t *testing.T) {
	a := Advise(seenOf(flow("1", "src dst", end("web", 1), end("db", 5432)),
		datagrams(flow("2", "src", end("web", 2), end("coredns", 53)))), &Inventory{})
	got := text(t, a, "deploy/web")
	for _, want := range []string{unknownLabels + ": deploy.web", unknownLabels + ": deploy.db", "k8s-app: kube-dns"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if warnings := strings.Join(a.Warnings, "\n"); !strings.Contains(warnings, "its policy selects no pod until you") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestSelector(t *testing.T) {
	inv := shop()
	for ref, want := range map[string]string{"deploy/web": "map[app:web] ", "deploy/db": "map[app:db team:data] "} {
		s := inv.selector(Ref{"shop", ref})
		if got := mapText(s.labels) + " " + s.doubt; got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
	twins := NewInventory([]*corev1.Pod{pod("shop", "a-1", "a", map[string]string{"app": "x"}),
		pod("shop", "b-1", "b", map[string]string{"app": "x"})}, nil, nil)
	if s := twins.selector(Ref{"shop", "deploy/a"}); !strings.Contains(s.doubt, "also select deploy/b") {
		t.Errorf("%+v", s)
	}
}

func mapText(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+":"+m[k])
	}
	return "map[" + strings.Join(parts, " ") + "]"
}

// TestAdvise_BoundsPorts: tracers choose the ports that they report.
func TestAdvise_BoundsPorts(t *testing.T) {
	const more = 7
	seen := New(Options{})
	for i := range maxPorts + more {
		for _, to := range []*event.Endpoint{end("db", uint32(1+i)), outside("203.0.113.7", uint32(1+i))} {
			seen.Add(flow(fmt.Sprint(to.GetPod(), i), "src", end("web", 40000), to))
		}
	}
	a := Advise(seen, shop())
	for _, p := range a.Policies {
		for _, r := range append(p.Egress, p.Ingress...) {
			if len(r.Ports) > maxPorts || len(r.Evidence) > maxPorts+1 {
				t.Errorf("%s: %d ports, %d lines of evidence", p.Name, len(r.Ports), len(r.Evidence))
			}
		}
	}
	if !slices.ContainsFunc(a.Warnings, func(w string) bool {
		return strings.Contains(w, "14 of them are not allowed")
	}) {
		t.Errorf("warnings: %q", a.Warnings)
	}
}
