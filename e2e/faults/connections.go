package faults

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

const cartURL = "http://cart:8080/"

// shop declares a client that makes a connection to a URL for each call, twice a second.
func (s *Stage) shop(url string, more ...string) {
	s.client("shop", append([]string{"call", "-fresh", "-every", "500ms", "-timeout", "2s", "-to", url}, more...)...)
}

func loopbackListener(s *Stage) {
	s.serve("cart", 8080, "web", "-listen", "127.0.0.1:8080")
	s.shop(cartURL)
	s.prove(s.called("shop", cartURL, outcome{err: "ECONNREFUSED"}))
}

func wrongTargetPort(s *Stage) {
	s.service("cart", "cart", 8080, 9090)
	s.run("cart", s.two, "web")
	s.shop(cartURL)
	s.prove(s.called("shop", cartURL, outcome{err: "ECONNREFUSED"}))
}

func wrongServicePort(s *Stage) {
	s.serve("cart", 8080, "web")
	url := "http://cart:9090/"
	s.shop(url)
	s.shopFails(url)
}

// shopFails proves that all calls of shop fail. With which error depends on the implementation of Services and on the
// routes of the node.
func (s *Stage) shopFails(url string) {
	s.prove(func(testing.TB) func(testing.TB) {
		since := time.Now()
		return func(t testing.TB) {
			calls, errs, _, _ := s.calls(t, "shop", url, since)
			failed := uint64(0)
			for _, n := range errs {
				failed += n
			}
			if calls == 0 || failed < calls {
				t.Errorf("%d of %d calls to %s fail: %v", failed, calls, url, errs)
			}
			t.Logf("%d calls to %s fail with %v", failed, url, errs)
		}
	})
}

func noEndpoints(s *Stage) {
	s.service("cart", "kart", 8080, 8080)
	s.run("cart", s.two, "web")
	s.shop(cartURL)
	s.prove(s.called("shop", cartURL, outcome{err: "ECONNREFUSED"}))
}

// uncreatedPods has a Deployment whose pods the API server refuses, and the client of its Service.
func uncreatedPods(s *Stage) {
	s.service("cart", "cart", 8080, 8080)
	s.env.Deployment(s.t, s.Namespace, "cart", 0, "web")
	patch := []byte(`{"spec": {"replicas": 1, "template": {"spec": {"serviceAccountName": "cart"}}}}`)
	if _, err := s.env.Client.AppsV1().Deployments(s.Namespace).Patch(s.t.Context(), "cart",
		types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		s.t.Fatal(err)
	}
	s.shop(cartURL)
	s.prove(s.called("shop", cartURL, outcome{err: "ECONNREFUSED"}), func(testing.TB) func(testing.TB) {
		return func(t testing.TB) {
			t.Helper()
			d, err := s.env.Client.AppsV1().Deployments(s.Namespace).Get(t.Context(), "cart", metav1.GetOptions{})
			if err != nil || d.Status.Replicas != 0 || !slices.ContainsFunc(d.Status.Conditions,
				func(c appsv1.DeploymentCondition) bool {
					return c.Type == appsv1.DeploymentReplicaFailure && strings.Contains(c.Message, `"cart" not found`)
				}) {
				t.Errorf("the Deployment has pods, or lacks them for another reason: %+v, %v", d.Status, err)
			}
		}
	})
}

func failingReadiness(s *Stage) {
	change(s.serve("cart", 8080, "web", "-sick"), func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = httpProbe("/healthz", 3)
	})
	s.shop(cartURL)
	s.arm(func() { s.awaitEvent("cart", "Unhealthy", "statuscode: 503") })
	s.prove(s.called("shop", cartURL, outcome{err: "ECONNREFUSED"}),
		s.status("cart", "a container that is not ready", func(c corev1.ContainerStatus) bool { return !c.Ready }))
}

// nowhere is an address for documentation (RFC 5737). No host has it.
var nowhere = netip.MustParseAddr("198.51.100.10")

func unanswered(s *Stage) {
	url := fmt.Sprintf("http://%s:8080/", nowhere)
	s.shop(url)
	wire := &kit.Wire{Loss: 1}
	s.arm(func() { s.env.Wire(s.t, s.one, nowhere, wire) })
	s.prove(s.called("shop", url, outcome{err: "timeout"}),
		s.grows("lost SYNs", 0.5, func(testing.TB) uint64 { return wire.Lost() }))
}

func policyDrop(s *Stage) {
	s.serve("cart", 8080, "web")
	s.shop(cartURL)
	s.arm(func() {
		cart := s.pod("cart")
		s.env.Firewall(s.t, s.two, fmt.Sprintf("ip daddr %s tcp dport 8080 drop", cart.IP(s.t, false)))
	})
	s.prove(s.called("shop", cartURL, outcome{err: "timeout"}))
}

func serverResets(s *Stage) {
	s.serve("cart", 8080, "web", "-reset")
	s.shop(cartURL)
	s.prove(s.called("shop", cartURL, outcome{err: "ECONNRESET"}),
		s.grows("resets that cart sends", 1, s.netstat("cart", "TcpOutRsts")))
}

func fullBacklog(s *Stage) {
	s.serve("cart", 8080, "web", "-backlog", "2", "-accept", "1s")
	s.shop(cartURL, "-parallel", "4")
	s.prove(s.grows("overflows of the accept queue of cart", 1, s.netstat("cart", "TcpExtListenOverflows")),
		s.called("shop", cartURL, outcome{err: "timeout", share: 0.2}))
}

func portsExhausted(s *Stage) {
	s.serve("api", 8080, "web")
	change(s.client("app", "call", "-fresh", "-every", "50ms", "-to", "http://api:8080/"), func(p *corev1.Pod) {
		// 64 ports, each of which stays in TIME_WAIT for a minute.
		p.Spec.SecurityContext = &corev1.PodSecurityContext{
			Sysctls: []corev1.Sysctl{{Name: "net.ipv4.ip_local_port_range", Value: "40000 40063"}}}
	})
	s.arm(func() {
		s.pod("app").Await(s.t, func(r report.Report) bool {
			return r.Kind == report.Calls && len(r.Calls) == 1 && r.Calls[0].Errors["EADDRNOTAVAIL"] > 0
		}, 1)
	})
	s.prove(s.called("app", "http://api:8080/", outcome{err: "EADDRNOTAVAIL", share: 0.5}))
}
