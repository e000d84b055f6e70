package faults

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// payments is a name outside the cluster, with fewer dots than a pod's default for names to be tried as they are.
const payments = "http://payments.example.com:8080/"

// outsideNames declares a server of names outside the cluster, all with the address of the pod api, and a client that
// uses no other server and makes a connection for each call.
func (s *Stage) outsideNames(server, api []string, search ...string) *kit.PodSpec {
	address := s.service("api", "api", 8080, 8080)
	s.run("api", s.two, append([]string{"web"}, api...)...)
	resolver := s.service("resolver", "resolver", 53, 53, corev1.ProtocolUDP, corev1.ProtocolTCP)
	s.run("resolver", s.two, append([]string{"dnsserver", "-address", address.String()}, server...)...)
	ndots := "5"
	app := s.client("app", "call", "-fresh", "-to", payments)
	change(app, func(p *corev1.Pod) {
		p.Spec.DNSPolicy = corev1.DNSNone
		p.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{resolver.String()}, Searches: search,
			Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &ndots}}}
	})
	return app
}

func unreachableDNS(s *Stage) {
	seconds, attempts := "1", "2"
	change(s.outsideNames([]string{"-silent"}, nil), func(p *corev1.Pod) {
		p.Spec.DNSConfig.Options = append(p.Spec.DNSConfig.Options,
			corev1.PodDNSConfigOption{Name: "timeout", Value: &seconds},
			corev1.PodDNSConfigOption{Name: "attempts", Value: &attempts})
	})
	s.prove(s.called("app", payments, outcome{err: "DNS timeout"}))
}

func slowDNS(s *Stage) {
	s.outsideNames([]string{"-delay", "400ms"}, nil)
	s.prove(s.called("app", payments, outcome{atLeast: 350 * time.Millisecond}))
}

// answerDelay is a usual response time of a DNS server outside the cluster.
const answerDelay = 15 * time.Millisecond

func searchPath(s *Stage) {
	s.outsideNames([]string{"-delay", answerDelay.String()}, nil,
		s.Namespace+".svc.cluster.local", "svc.cluster.local", "cluster.local")
	// Three names that do not exist come before the one that does, with a query for each address family.
	s.prove(s.called("app", payments, outcome{atLeast: 4 * answerDelay}),
		s.grows("datagrams that app sends", 8*4, s.netstat("app", "UdpOutDatagrams")))
}

func unknownName(s *Stage) {
	s.serve("inventory", 8080, "web")
	s.client("app", "call", "-fresh", "-every", "500ms", "-to", "http://inventroy:8080/")
	s.prove(s.called("app", "http://inventroy:8080/", outcome{err: "NXDOMAIN"}))
}

func slowDNSAndPeer(s *Stage) {
	s.outsideNames([]string{"-delay", "400ms"}, []string{"-delay", "500ms"})
	s.prove(s.called("app", payments, outcome{atLeast: 850 * time.Millisecond}))
}

// chattyDNS looks a name up for each call, with a dot at its end, which keeps the search path out.
func chattyDNS(s *Stage) {
	s.serve("web", 8080, "web")
	url := fmt.Sprintf("http://web.%s.svc.cluster.local.:8080/", s.Namespace)
	s.client("app", "call", "-fresh", "-every", "50ms", "-to", url)
	s.prove(s.called("app", url, outcome{atMost: 50 * time.Millisecond}),
		s.grows("datagrams that app sends", 20, s.netstat("app", "UdpOutDatagrams")))
}
