package faults

import (
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

func packetLoss(s *Stage) {
	const url = "http://store:8080/"
	s.serve("store", 8080, "web")
	s.client("uploader", "call", "-to", url, "-body", "131072")
	wire := &kit.Wire{Loss: 0.02}
	s.arm(func() { s.env.Wire(s.t, s.two, s.pod("store").IP(s.t, false), wire) })
	s.prove(s.called("uploader", url, outcome{}),
		s.grows("lost packets", 2, func(testing.TB) uint64 { return wire.Lost() }),
		s.grows("segments that uploader retransmits", 2, s.netstat("uploader", "TcpRetransSegs")))
}

func distantPeer(s *Stage) {
	const near, far = "http://near:8080/", "http://far:8080/"
	s.serve("near", 8080, "web")
	s.serve("far", 8080, "web")
	s.client("app", "call", "-to", near, "-to", far)
	wire := &kit.Wire{Delay: 50 * time.Millisecond}
	s.arm(func() { s.env.Wire(s.t, s.two, s.pod("far").IP(s.t, false), wire) })
	s.prove(s.called("app", near, outcome{atMost: 20 * time.Millisecond}),
		s.called("app", far, outcome{atLeast: 50 * time.Millisecond}))
}

func slowBackendTLS(s *Stage) {
	const backend, cache = "https://backend:8443/", "https://cache:8443/"
	s.serve("backend", 8443, "web", "-listen", ":8443", "-tls", "-delay", "300ms")
	s.serve("cache", 8443, "web", "-listen", ":8443", "-tls")
	s.client("app", "call", "-to", cache, "-to", backend)
	s.prove(s.called("app", backend, outcome{atLeast: 300 * time.Millisecond}),
		s.called("app", cache, outcome{atMost: 20 * time.Millisecond}))
}

func chain(s *Stage) {
	const frontend, cart, redis = "http://frontend:8080/", "http://cart:8080/", "redis://redis-cart:6379"
	s.serve("redis-cart", 6379, "queue", "-burn", "10ms").CPU = "100m"
	s.serve("cart", 8080, "web", "-call", redis)
	s.serve("frontend", 8080, "web", "-call", cart)
	s.client("users", "call", "-to", frontend, "-parallel", "2")
	slow := outcome{atLeast: 50 * time.Millisecond}
	s.prove(s.throttled("redis-cart"), s.called("users", frontend, slow), s.called("frontend", cart, slow),
		s.called("cart", redis, slow))
}

func busyWeb(s *Stage) {
	s.serve("web", 8080, "web", "-burn", "1ms")
	s.client("users", "call", "-to", webURL, "-every", "20ms", "-parallel", "2")
	s.prove(s.calm("web"), s.called("users", webURL, outcome{atMost: 20 * time.Millisecond}))
}

func longPoll(s *Stage) {
	const url = "http://events:8080/"
	s.serve("events", 8080, "web", "-delay", "30s")
	s.client("app", "call", "-to", url, "-timeout", "1m")
	s.waits("app", url)
}

func blockingPop(seconds string) func(*Stage) {
	return func(s *Stage) {
		s.serve("queue", 6379, "queue")
		s.client("worker", "pop", "-to", "queue:6379", "-wait", seconds)
		s.waits("worker", "queue:6379")
	}
}

// waits proves that a pod has a connection, and that its calls do not fail. They may be longer than the window.
func (s *Stage) waits(pod, url string) {
	s.prove(func(testing.TB) func(testing.TB) {
		since := time.Now()
		return func(t testing.TB) {
			if _, errs, _, _ := s.calls(t, pod, url, since); len(errs) > 0 {
				t.Errorf("%s: calls to %s fail with %v", pod, url, errs)
			}
			if n := s.pod(pod).Netstat(t)["TcpCurrEstab"]; n == 0 {
				t.Errorf("%s has no connection", pod)
			}
		}
	})
}

func idle(s *Stage) {
	s.run("spare", s.two)
	s.prove(func(t testing.TB) func(testing.TB) {
		before := s.millisUsed("spare")(t)
		return func(t testing.TB) {
			if used := s.millisUsed("spare")(t) - before; used > 100 {
				t.Errorf("spare has used %d ms of a CPU", used)
			}
		}
	})
}
