package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestAdvisePolicy observes a client that resolves the name of a server and calls it through its Service, applies the
// advised policies, and enforces them by an enforcer of the test's own (kit.Env.Enforce). The client then works as
// before, the server's probes succeed, and connections that were never made are dropped, in both directions.
func TestAdvisePolicy(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	const called, notCalled = 8080, 8081
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], ReadyPort: called,
			Args:  []string{"serve", "-quiet", "-tcp", ":8080-8081"},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: called}}},
		kit.PodSpec{Namespace: ns, Name: "stranger", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-tcp",
			":8080"}},
	)
	client, server, stranger := pods[0], pods[1], pods[2]
	vip := e.Service(t, ns, "server", "server", false, called, called)
	call := func(from *kit.Pod, to netip.Addr, port uint16) string {
		t.Helper()
		return from.Exec(t, "connect", "-to", netip.AddrPortFrom(to, port).String(), "-syn-retries", "1")[0].Error
	}
	lookup := func() {
		t.Helper()
		client.Exec(t, "dns", "-name", "server."+ns+".svc.cluster.local.", "-network", "ip4")
	}

	tr := e.Trace(t, "advise", "networkpolicy", "-n", ns, "--duration", "0")
	tr.AwaitStreaming(t, 2)
	lookup()
	for range 3 {
		if got := call(client, vip, called); got != "" {
			t.Fatalf("the client cannot call the server: %s", got)
		}
	}
	tr.Stop(t)
	advice := tr.Stdout(t)
	t.Logf("%s%s", tr.Stderr(), advice)
	if !strings.Contains(tr.Stderr(), "warning: the observation is ") {
		t.Error("no warning about the short observation")
	}

	policies := decodePolicies(t, advice)
	for _, p := range policies {
		_, err := e.Client.NetworkingV1().NetworkPolicies(ns).Create(t.Context(), p,
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			t.Fatalf("the API server refuses %s: %v", p.Name, err)
		}
		if _, err := e.Client.NetworkingV1().NetworkPolicies(ns).Create(t.Context(), p,
			metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(policies) != 2 {
		t.Fatalf("%d policies, want those of client and server", len(policies))
	}
	if got := call(client, stranger.IP(t, false), called); got != "" {
		t.Fatalf("before the policies are enforced, a connection fails: %s", got)
	}
	e.Enforce(t, ns)
	enforced := time.Now()
	for range 3 {
		lookup()
		if got := call(client, vip, called); got != "" {
			t.Errorf("the client can no longer call the server: %s", got)
		}
	}
	for what, got := range map[string]string{
		"another pod":                  call(client, stranger.IP(t, false), called),
		"another port of the server":   call(client, server.IP(t, false), notCalled),
		"from a pod that never called": call(stranger, server.IP(t, false), called),
	} {
		if got != "ETIMEDOUT" {
			t.Errorf("%s: the program got %q, want ETIMEDOUT", what, got)
		}
	}
	if d := time.Since(enforced); d < 3*time.Second {
		t.Fatalf("the policies were enforced for %v only: no probe could fail", d)
	}
	now, err := e.Client.CoreV1().Pods(ns).Get(t.Context(), "server", metav1.GetOptions{})
	if err != nil || !slices.ContainsFunc(now.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}) {
		t.Errorf("the server is not ready any more: %v", err)
	}
}

// decodePolicies reads the documents of an advice.
func decodePolicies(t *testing.T, advice string) (policies []*networkingv1.NetworkPolicy) {
	t.Helper()
	for document := range strings.SplitSeq(advice, "---\n") {
		if document == "" {
			continue
		}
		p := &networkingv1.NetworkPolicy{}
		if err := yaml.UnmarshalStrict([]byte(document), p); err != nil {
			t.Fatalf("%v: %s", err, document)
		}
		policies = append(policies, p)
	}
	return policies
}
