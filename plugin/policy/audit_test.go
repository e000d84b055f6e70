package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// traffic is what the tests of audits have observed.
func traffic() *Seen {
	s := seenOf(
		flow("1", "src dst", end("web", 40000), end("db", 5432)),
		flow("2", "src", end("web", 40003), outside("198.51.100.4", 443)),
		datagrams(flow("3", "src", end("web", 40002), end("coredns", 53))),
		flow("4", "dst", outside("203.0.113.7", 50000), end("web", 8080)),
	)
	for _, ev := range refused("5", end("web", 40004), end("cache", 6379)) {
		s.Add(ev)
	}
	return s
}

// TestAudit_OfAdvice finds nothing that the advice of the same traffic drops, and nothing that it allows besides.
func TestAudit_OfAdvice(t *testing.T) {
	s, inv := traffic(), shop()
	var policies []*networkingv1.NetworkPolicy
	for _, p := range Advise(s, inv).Policies {
		policies = append(policies, p.NetworkPolicy())
	}
	for _, f := range Audit(s, inv, policies) {
		if f.Type == FindingStops || f.Type == FindingUnused && strings.Contains(f.Connection, "tcp port 53") {
			continue // the attempt that failed, and TCP for long answers of DNS
		}
		t.Errorf("%+v", f)
	}
}

func TestAudit_Findings(t *testing.T) {
	number := intstr.FromInt32(5432)
	http := intstr.FromString("http")
	web := metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	db := networkingv1.NetworkPolicyPeer{
		PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}
	block := func(cidr string, except ...string) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}
	}
	egress := func(rules ...networkingv1.NetworkPolicyEgressRule) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"},
			Spec: networkingv1.NetworkPolicySpec{PodSelector: web, Egress: rules,
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}}}
	}
	for name, test := range map[string]struct {
		policy *networkingv1.NetworkPolicy
		want   []string
	}{
		"nothing is allowed": {egress(), []string{
			"would-drop egress to deploy/coredns in kube-system udp port 53",
			"would-drop egress to deploy/db in shop tcp port 5432",
			"would-drop egress to 198.51.100.4 tcp port 443",
			"drops-failed egress to deploy/cache in shop tcp port 6379", "not-isolated ingress everything"}},
		"too much is allowed": {egress(networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{
			db, block("192.0.2.0/24")}, Ports: []networkingv1.NetworkPolicyPort{{Port: &number}}},
			networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{block("0.0.0.0/0",
				"198.51.100.0/24")}},
			networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{{
				NamespaceSelector: &metav1.LabelSelector{}}}, Ports: []networkingv1.NetworkPolicyPort{{Port: &http}}}),
			[]string{
				"would-drop egress to 198.51.100.4 tcp port 443",
				"not-known egress to deploy/coredns in kube-system udp port 53",
				"never-seen egress to 192.0.2.0/24 tcp port 5432", "never-seen egress to 0.0.0.0/0 any port",
				"never-seen egress to pods in namespaces (all) tcp port http", "not-isolated ingress everything"}},
		"everything is allowed": {egress(networkingv1.NetworkPolicyEgressRule{}),
			[]string{"not-isolated ingress everything"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range Audit(traffic(), shop(), []*networkingv1.NetworkPolicy{test.policy}) {
				if f.Workload == "deploy/web" || f.Workload == "" {
					got = append(got, fmt.Sprint(f.Type, " ", f.Direction, " ", f.Connection))
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// BenchmarkSeen adds a million flows of 500 pods to 200 peers, each of three events.
func BenchmarkSeen(b *testing.B) {
	const flows = 333_334
	for b.Loop() {
		s := New(Options{})
		src, dst := end("web", 40000), end("db", 5432)
		ev := flow("", "src dst", src, dst)
		f := ev.GetFlow()
		for i := range flows {
			f.Id = fmt.Sprint("flow", i)
			src.Workload, dst.Workload = workloads[i%len(workloads)], workloads[i*7%len(workloads)]
			for _, f.Phase = range []event.Phase{event.Phase_PHASE_NEW, event.Phase_PHASE_UPDATE,
				event.Phase_PHASE_CLOSED} {
				s.Add(ev)
			}
		}
		Advise(s, &Inventory{})
	}
}

var workloads = func() (names []string) {
	for i := range 499 {
		names = append(names, fmt.Sprint("deploy/w", i))
	}
	return names
}()
