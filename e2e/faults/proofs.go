package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// outcome is what all calls to a target in the window have in common.
type outcome struct {
	// err is the error of every call; empty: none.
	err string
	// share is the part of the calls that fails with err; 0: all.
	share float64
	// atLeast and atMost bound the median duration; 0: no bound.
	atLeast, atMost time.Duration
}

// called proves the outcome of a pod's calls to a target.
func (s *Stage) called(pod, url string, want outcome) proof {
	return func(testing.TB) func(testing.TB) {
		since := time.Now()
		return func(t testing.TB) {
			t.Helper()
			calls, errs, shortest, longest := s.calls(t, pod, url, since)
			if calls == 0 {
				t.Errorf("%s has called %s not once", pod, url)
				return
			}
			total := uint64(0)
			for _, n := range errs {
				total += n
			}
			least := calls
			if want.share > 0 {
				least = uint64(float64(calls) * want.share)
			}
			if failed := errs[want.err]; want.err != "" && failed < least || total > failed {
				t.Errorf("%s: %d calls to %s failed with %v, want %d or more with %q only", pod, calls, url, errs,
					least, want.err)
			}
			if want.atLeast > 0 && shortest < want.atLeast {
				t.Errorf("%s: half of the calls to %s took %s, want %s or more", pod, url, shortest, want.atLeast)
			}
			if want.atMost > 0 && longest > want.atMost {
				t.Errorf("%s: half of the calls to %s took %s, want %s or less", pod, url, longest, want.atMost)
			}
			t.Logf("%s: %d calls to %s, median %s to %s, errors %v", pod, calls, url, shortest, longest, errs)
		}
	}
}

// calls sums the reports of a pod's calls to a target since a time. It waits for two reports.
func (s *Stage) calls(t testing.TB, pod, url string, since time.Time) (calls uint64, errs map[string]uint64,
	shortest, longest time.Duration) {
	t.Helper()
	errs = map[string]uint64{}
	for _, r := range s.pod(pod).Await(t, func(r report.Report) bool {
		return r.Kind == report.Calls && r.Start.After(since)
	}, 2) {
		for _, target := range r.Calls {
			if target.URL != url {
				continue
			}
			calls += target.Performance.Requests
			for name, n := range target.Errors {
				errs[name] += n
			}
			median := time.Duration(target.Performance.P50) * time.Microsecond
			if shortest == 0 || median < shortest {
				shortest = median
			}
			longest = max(longest, median)
		}
	}
	return calls, errs, shortest, longest
}

// grows proves that a counter grows by least or more a second.
func (s *Stage) grows(what string, least float64, read func(testing.TB) uint64) proof {
	return func(t testing.TB) func(testing.TB) {
		before, start := read(t), time.Now()
		return func(t testing.TB) {
			t.Helper()
			rate := float64(read(t)-before) / time.Since(start).Seconds()
			if rate < least {
				t.Errorf("%s: %.2f a second, want %.2f or more", what, rate, least)
			}
			t.Logf("%s: %.2f a second", what, rate)
		}
	}
}

// stays proves that a counter stays the same.
func (s *Stage) stays(what string, read func(testing.TB) uint64) proof {
	return func(t testing.TB) func(testing.TB) {
		before := read(t)
		return func(t testing.TB) {
			t.Helper()
			if after := read(t); after != before {
				t.Errorf("%s: %d more", what, after-before)
			}
		}
	}
}

// throttled proves that a pod is throttled in half of the periods of its CPU limit or more.
func (s *Stage) throttled(pod string) proof {
	return func(t testing.TB) func(testing.TB) {
		before := s.pod(pod).CPUStat(t)
		return func(t testing.TB) {
			t.Helper()
			after := s.pod(pod).CPUStat(t)
			n, of := after["nr_throttled"]-before["nr_throttled"], after["nr_periods"]-before["nr_periods"]
			if n == 0 || n*2 < of {
				t.Errorf("%s was throttled in %d of %d periods", pod, n, of)
			}
			t.Logf("%s was throttled in %d of %d periods", pod, n, of)
		}
	}
}

// netstat reads a counter of a pod's network namespace.
func (s *Stage) netstat(pod, counter string) func(testing.TB) uint64 {
	return func(t testing.TB) uint64 { return s.pod(pod).Netstat(t)[counter] }
}

// millisUsed and millisWaited read the CPU time that a pod has used, and that it has waited for CPUs, in ms.
func (s *Stage) millisUsed(pod string) func(testing.TB) uint64 {
	return func(t testing.TB) uint64 {
		used, _ := s.pod(pod).CPUTime(t)
		return uint64(used.Milliseconds())
	}
}

func (s *Stage) millisWaited(pod string) func(testing.TB) uint64 {
	return func(t testing.TB) uint64 {
		_, waited := s.pod(pod).CPUTime(t)
		return uint64(waited.Milliseconds())
	}
}

// calm proves that a pod gets the CPUs for 70 % or more of the time in which it needs them. It proves nothing where the
// rest of the machine leaves too little of them: no scenario that uses it needs three quarters of two CPUs.
func (s *Stage) calm(pod string) proof {
	return func(t testing.TB) func(testing.TB) {
		usedBefore, waitedBefore := s.pod(pod).CPUTime(t)
		totalBefore, idleBefore := kit.MachineCPU(t)
		return func(t testing.TB) {
			t.Helper()
			used, waited := s.pod(pod).CPUTime(t)
			used, waited = used-usedBefore, waited-waitedBefore
			total, idle := kit.MachineCPU(t)
			busy := 100 - 100*(idle-idleBefore)/max(total-totalBefore, 1)
			t.Logf("%s has used CPUs for %s and has waited for them for %s; the machine was busy for %d %%", pod, used,
				waited, busy)
			if waited*7 > used*3 && busy < 75 {
				t.Errorf("%s waits for CPUs", pod)
			}
		}
	}
}

// getsCPUs proves that the threads of a pod, which mostly wait for something else, wait for CPUs in less than a tenth
// of their time.
func (s *Stage) getsCPUs(pod string, threads int) proof {
	return func(t testing.TB) func(testing.TB) {
		start := time.Now()
		_, before := s.pod(pod).CPUTime(t)
		return func(t testing.TB) {
			t.Helper()
			_, waited := s.pod(pod).CPUTime(t)
			share := float64(waited-before) / float64(time.Since(start)) / float64(threads)
			t.Logf("the threads of %s wait for CPUs in %.0f %% of their time", pod, share*100)
			if share > 0.1 {
				t.Errorf("%s waits for CPUs", pod)
			}
		}
	}
}

// pressed proves that some thread of a pod waits for a resource for at least a part of the time. It proves nothing
// where the kernel does not count that.
func (s *Stage) pressed(pod, resource string, least float64) proof {
	return func(t testing.TB) func(testing.TB) {
		before, ok := s.pod(pod).Pressure(t, resource)
		start := time.Now()
		return func(t testing.TB) {
			t.Helper()
			after, _ := s.pod(pod).Pressure(t, resource)
			if !ok {
				t.Logf("this kernel does not count the pressure on %s", resource)
				return
			}
			if share := float64(after-before) / float64(time.Since(start)); share < least {
				t.Errorf("%s waits for %s in %.0f %% of the time, want %.0f", pod, resource, share*100, least*100)
			} else {
				t.Logf("%s waits for %s in %.0f %% of the time", pod, resource, share*100)
			}
		}
	}
}

// status proves that the status of a pod's container is as wanted when the window is over.
func (s *Stage) status(pod, what string, want func(corev1.ContainerStatus) bool) proof {
	return func(testing.TB) func(testing.TB) {
		return func(t testing.TB) {
			t.Helper()
			statuses := s.object(t, pod).Status.ContainerStatuses
			if len(statuses) != 1 || !want(statuses[0]) {
				t.Errorf("%s: %+v, want %s", pod, statuses, what)
			}
		}
	}
}

// event proves that a pod has an event with a reason and a text.
func (s *Stage) event(pod, reason, text string) proof {
	return func(testing.TB) func(testing.TB) {
		return func(t testing.TB) {
			t.Helper()
			if found, err := s.hasEvent(t.Context(), pod, reason, text); !found {
				t.Errorf("%s has no event %s with %q: %v", pod, reason, text, err)
			}
		}
	}
}

// awaitEvent waits for such an event.
func (s *Stage) awaitEvent(pod, reason, text string) {
	s.t.Helper()
	err := wait.PollUntilContextTimeout(s.t.Context(), 500*time.Millisecond, readyTimeout, true,
		func(ctx context.Context) (bool, error) { return s.hasEvent(ctx, pod, reason, text) })
	if err != nil {
		s.t.Fatalf("%s gets no event %s with %q: %v", pod, reason, text, err)
	}
}

func (s *Stage) hasEvent(ctx context.Context, pod, reason, text string) (bool, error) {
	events, err := s.env.Client.CoreV1().Events(s.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fmt.Sprintf("involvedObject.name=%s,reason=%s", pod, reason)})
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
		return strings.Contains(e.Message, text)
	}), nil
}

// logged proves that a text is in the log of the last container of app.
func (s *Stage) logged(text string) proof {
	const pod = "app"
	return func(testing.TB) func(testing.TB) {
		return func(t testing.TB) {
			t.Helper()
			log, err := s.env.Client.CoreV1().Pods(s.Namespace).GetLogs(pod,
				&corev1.PodLogOptions{}).DoRaw(t.Context())
			if err != nil || !strings.Contains(string(log), text) {
				t.Errorf("%s: no %q in its log: %q, %v", pod, text, log, err)
			}
		}
	}
}
