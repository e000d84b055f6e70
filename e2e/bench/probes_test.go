//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestDNS_AtHalfSaturation sends queries to the cluster's own CoreDNS at half the rate that it can answer, alternately
// with and without a trace of its pod, and compares the CPU time of CoreDNS per query.
func TestDNS_AtHalfSaturation(t *testing.T) {
	e := need(t)
	const system = metav1.NamespaceSystem
	pods, err := e.Client.CoreV1().Pods(system).List(t.Context(),
		metav1.ListOptions{FieldSelector: "status.phase=Running"})
	if err != nil {
		t.Fatal(err)
	}
	var server *corev1.Pod
	for _, p := range pods.Items {
		if strings.HasPrefix(p.Name, "coredns-") {
			server = &p
		}
	}
	if server == nil {
		t.Fatal("the cluster runs no CoreDNS")
	}
	pids := kit.PIDsOf(t, server.UID, "coredns")
	if len(pids) != 1 {
		t.Fatalf("CoreDNS runs as %v", pids)
	}
	ns := e.Namespace(t, nil)
	client := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "client", Node: server.Spec.NodeName})[0]
	to := net.JoinHostPort(server.Status.PodIP, "53")
	const name, length = "kubernetes.default.svc.cluster.local.", "4s"
	query := func(rate float64) (queries uint64, perSecond float64) {
		r := client.Exec(t, "dnsload", "-to", to, "-name", name, "-for", length, "-rate",
			strconv.FormatFloat(rate, 'f', 0, 64))[0]
		return r.Performance.Requests, float64(r.Performance.Requests) / r.End.Sub(r.Start).Seconds()
	}
	query(0)
	var most []float64
	for range 3 {
		calm(t)
		_, perSecond := query(0)
		most = append(most, perSecond)
	}
	half := median(most) / 2
	load := func() (queries uint64, cost float64) {
		calm(t)
		before := cpuTime(t, int(pids[0]))
		queries, _ = query(half)
		return queries, (cpuTime(t, int(pids[0])) - before).Seconds() / float64(queries)
	}
	var asked, seen, lost uint64
	with := func() float64 {
		tr := e.Trace(t, "trace", "dns", server.Name, "-n", system, "-o", "json")
		tr.AwaitStreaming(t, 1)
		queries, cost := load()
		tr.Stop(t)
		asked += queries
		lost += lostEvents(t, tr.Output)
		seen += uint64(count(t, tr.Output, `"address":"`+client.IP(t, false).String()+`"`))
		return cost
	}
	without := func() float64 {
		_, cost := load()
		return cost
	}
	ratios := alternate(without, with)
	low, high := interval(ratios)
	row(t, fmt.Sprintf("CPU time of CoreDNS per query at half its maximum rate (%.0f/s), with a trace relative to "+
		"without (median of %d pairs)", half, pairs),
		fmt.Sprintf("%.1f %% (%.1f–%.1f %%)", 100*median(ratios), 100*low, 100*high), "≤ 103 %")
	row(t, "queries sent and reported in these traces", fmt.Sprintf("%d, %d; %d lost", asked, seen, lost),
		"all, none lost")
}

// count returns the number of lines of a file that contain a text.
func count(t *testing.T, path, text string) (n int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if bytes.Contains(line, []byte(text)) {
			n++
		}
	}
	return n
}

// cpuTime returns the CPU time of a process, including its ended threads. The kernel keeps the exact sum, and reports
// it in ticks of 10 ms.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	var ticks uint64
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// TestSyscalls_50000PerSecond runs a process that makes 50,000 system calls a second for a minute. Each is an event on
// the viewer's stdout, which is a pipe.
func TestSyscalls_50000PerSecond(t *testing.T) {
	e := need(t)
	const perSecond, seconds = 50_000, 60
	ns := e.Namespace(t, nil)
	client := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]})[0]
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	type counted struct{ calls, lost int }
	done := make(chan counted, 1)
	go func() {
		var c counted
		var rest []byte
		b := make([]byte, 1<<20)
		for {
			n, err := out.Read(b)
			if err != nil {
				done <- c
				return
			}
			// Only whole lines are searched: the bytes after the last newline wait.
			rest = append(rest, b[:n]...)
			end := bytes.LastIndexByte(rest, '\n') + 1
			c.calls += bytes.Count(rest[:end], []byte(`"name":"getppid"`))
			c.lost += bytes.Count(rest[:end], []byte(`"kind":"lost"`))
			rest = rest[:copy(rest, rest[end:])]
		}
	}()
	tr := e.TraceTo(t, in, "trace", "syscalls", "client", "-n", ns, "--syscall", "getppid", "-o", "json")
	in.Close()
	tr.AwaitStreaming(t, 1)
	start := time.Now()
	client.Exec(t, "syscalls", "-getppid", strconv.Itoa(perSecond*seconds), "-rate", strconv.Itoa(perSecond))
	elapsed := time.Since(start)
	rss, viewer := tracerRSS(t, e), residentMiB(t, tr.PID())
	tr.Stop(t)
	c := <-done
	row(t, fmt.Sprintf("system calls in %.0f s (%.0f/s) and their events on stdout as JSON", elapsed.Seconds(),
		perSecond*seconds/elapsed.Seconds()),
		fmt.Sprintf("%d, %d; %d reports of loss", perSecond*seconds, c.calls, c.lost), "50,000/s for 60 s, none lost")
	row(t, "memory at the end of this load (RSS)", fmt.Sprintf("tracer %.0f MiB, viewer %.0f MiB", rss, viewer), "")
}
