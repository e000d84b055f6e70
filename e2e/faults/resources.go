package faults

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

const webURL = "http://web:8080/"

// slowReads is the rate of a slow disk, in reads a second.
const slowReads = 200

func requestCPU(cpu string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
}

func cpuLimit(s *Stage) {
	// Two requests at a time, 10 ms of a CPU each, and 10 ms in 100 to spend.
	s.serve("web", 8080, "web", "-burn", "10ms").CPU = "100m"
	s.client("users", "call", "-to", webURL, "-parallel", "2")
	s.prove(s.throttled("web"), s.called("users", webURL, outcome{atLeast: 50 * time.Millisecond}))
}

func crowdedNode(s *Stage) {
	change(s.serve("web", 8080, "web", "-burn", "10ms"), requestCPU("10m"))
	change(s.run("greedy", s.two, "burn", "-ready", "-threads", "3", "-for", "1h"), requestCPU("500m"))
	s.client("users", "call", "-to", webURL)
	s.prove(s.grows("ms that web waits for a CPU", 200, s.millisWaited("web")),
		s.grows("ms that greedy uses", 200, s.millisUsed("greedy")),
		s.called("users", webURL, outcome{atLeast: 30 * time.Millisecond}))
}

func lockContention(s *Stage) {
	const threads = 8
	// It uses 200m. Without a request it would wait for the CPUs that other pods of the node ask for.
	// Each wake-up may wait for a slice of another pod's, some ms, so there are few.
	change(s.run("worker", s.two, "lock", "-threads", fmt.Sprint(threads), "-hold", "100ms", "-think", "100ms"),
		requestCPU("400m"))
	s.prove(func(testing.TB) func(testing.TB) {
		since := time.Now()
		return func(t testing.TB) {
			for _, r := range s.pod("worker").Await(t, func(r report.Report) bool {
				return r.Kind == report.Usage && r.Start.After(since)
			}, 2) {
				share := float64(r.WaitedNs) / threads / float64(r.End.Sub(r.Start))
				if share < 0.5 {
					t.Errorf("the threads of worker wait for the mutex in %.0f %% of the time", share*100)
				}
				t.Logf("the threads of worker wait for the mutex in %.0f %% of the time", share*100)
			}
		}
	}, s.getsCPUs("worker", threads), s.stays("throttled periods of worker", func(t testing.TB) uint64 {
		return s.pod("worker").CPUStat(t)["nr_throttled"]
	}))
}

func (s *Stage) refaults(pod string) func(testing.TB) uint64 {
	return func(t testing.TB) uint64 { return s.pod(pod).Refaults(t) }
}

func memoryLimit(s *Stage) {
	s.run("store", s.two, "reread", "-bytes", fmt.Sprint(56<<20)).Memory = "40Mi"
	s.arm(func() { s.pod("store").SlowReads(s.t, slowReads) })
	s.prove(s.grows("pages that store reads once more", 50, s.refaults("store")))
}

func memoryPressure(s *Stage) {
	// Half of the file fits into what the pods without requests are left with on this node.
	s.run("store", s.two, "reread", "-bytes", fmt.Sprint(64<<20))
	s.arm(func() {
		s.pod("store").ShrinkNeighbourhood(s.t, 32<<20)
		s.pod("store").SlowReads(s.t, slowReads)
	})
	s.prove(s.grows("pages that store reads once more", 50, s.refaults("store")))
}

func oomKilledChild(s *Stage) {
	spec := s.run("resizer", s.one, "spawn", "-pause", "5s", "-count", "1000", "hog", "-bytes", fmt.Sprint(256<<20))
	spec.Memory = "64Mi"
	s.prove(func(t testing.TB) func(testing.TB) {
		before := s.oomKills(t)
		return func(t testing.TB) {
			if after := s.oomKills(t); after <= before {
				t.Errorf("the kernel has killed no process of resizer beyond %d", before)
			}
		}
	})
}

// oomKills counts the processes of resizer that were killed. Where the kubelet lets the kernel kill all of a container
// (cgroup v2), these are its restarts.
func (s *Stage) oomKills(t testing.TB) uint64 {
	if c := s.object(t, "resizer").Status.ContainerStatuses[0]; c.RestartCount > 0 {
		if last := c.LastTerminationState.Terminated; last != nil && last.Reason == "OOMKilled" {
			return uint64(c.RestartCount)
		}
	}
	return s.pod("resizer").OOMKills(t)
}

func slowDisk(s *Stage) {
	s.run("archive", s.one, "disk", "-ready", "-count", "256", "-for", "1h")
	s.arm(func() { s.pod("archive").SlowReads(s.t, 20) })
	s.prove(s.pressed("archive", "io", 0.5), s.stays("refaults of archive", s.refaults("archive")))
}
