//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// TestPersistent_Cost installs orb8 and measures what agents and servers take, and how fast they answer. Each agent
// gets 5,000 events of flows a second: one end of as many connections is on its node.
func TestPersistent_Cost(t *testing.T) {
	e := need(t)
	orb8 := command(t, e)
	orb8("install", "--timeout", "2m")
	defer orb8("uninstall")
	ns, client, server := pair(t, e)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "app", Node: e.Nodes[0], Args: []string{"app", "-server",
		server.IP(t, false).String(), "-tcp", "7000", "-every", "20ms"}})
	<-time.After(30 * time.Second) // idle, and there is no condition to wait for
	row(t, "memory of a server without requests (RSS)", fmt.Sprintf("%.0f MiB", maxRSS(t, e, "server")), "≤ 50 MiB")
	row(t, "memory of an agent on an almost idle node (RSS)", fmt.Sprintf("%.0f MiB", maxRSS(t, e, "agent")), "")

	query := func() time.Duration {
		begin := time.Now()
		orb8("query", "flows", "-n", ns, "--last", "1000", "-o", "json")
		return time.Since(begin)
	}
	firstEvent := func() time.Duration {
		begin := time.Now()
		tr := e.Trace(t, "trace", "network", "app", "-n", ns, "-o", "json", "--mode", "cluster")
		tr.AwaitLines(t, 1)
		took := time.Since(begin)
		tr.Stop(t)
		return took
	}
	const flows, seconds = 5_000, 120
	to := net.JoinHostPort(server.IP(t, false).String(), "7000-7009")
	load := client.Start(t, "flows", "-to", to, "-flows", strconv.Itoa(flows), "-every", "1s", "-for",
		fmt.Sprintf("%ds", seconds))
	if r := load.Next(t); r.Kind != report.Holding {
		t.Fatalf("got %+v, want all connections open", r)
	}
	<-time.After(20 * time.Second) // until the memory is that of this rate
	before, begin := statuses(t, orb8), time.Now()
	cpu := cpuSeconds(t, e, "agent")
	<-time.After((seconds - 40) * time.Second) // the time that is measured
	elapsed := time.Since(begin).Seconds()
	share := 100 * (cpuSeconds(t, e, "agent") - cpu) / float64(len(e.Nodes)) / elapsed
	after := statuses(t, orb8)
	rss := maxRSS(t, e, "agent")
	var rate, perEvent float64
	var lost uint64
	for node, s := range after {
		rate = max(rate, float64(s.Events-before[node].Events)/elapsed)
		lost += s.Lost - before[node].Lost
		perEvent = max(perEvent, float64(s.HistoryBytes)/float64(s.HistoryEvents))
	}
	what := fmt.Sprintf("agent at %.0f events/s, %d lost", rate, lost)
	row(t, what+": share of one CPU", fmt.Sprintf("%.1f %%", share), "≤ 5 %")
	row(t, what+": memory (RSS) with a history of 32 MiB", fmt.Sprintf("%.0f MiB", rss), "≤ 80 MiB")
	row(t, what+": history per event", fmt.Sprintf("%.0f bytes", perEvent), "≤ 40 bytes")
	row(t, what+": `query flows --last 1000`, certificate included (median of 10)",
		fmt.Sprintf("%.2f s", medianOf(query)), "≤ 0.3 s")
	row(t, what+": first event of `trace network POD --mode cluster`, certificate included (median of 10)",
		fmt.Sprintf("%.2f s", medianOf(firstEvent)), "≤ 0.5 s")
	load.Wait(t)
	row(t, "first event of `trace network POD --mode cluster` without this load (median of 10)",
		fmt.Sprintf("%.2f s", medianOf(firstEvent)), "≤ 0.5 s")
	row(t, "`query flows --last 1000` without it (median of 10)", fmt.Sprintf("%.2f s", medianOf(query)), "≤ 0.3 s")
}

// TestPersistent_LiveFlows measures the memory of agents that follow 10,000 connections, and keep nearly no history.
func TestPersistent_LiveFlows(t *testing.T) {
	e := need(t)
	orb8 := command(t, e)
	orb8("install", "--timeout", "2m", "--history-memory", "1Mi")
	defer orb8("uninstall")
	_, client, server := pair(t, e)
	const flows = 10_000
	load := client.Start(t, "flows", "-to", net.JoinHostPort(server.IP(t, false).String(), "7000-7009"),
		"-flows", strconv.Itoa(flows), "-every", "2s", "-for", "60s")
	if r := load.Next(t); r.Kind != report.Holding {
		t.Fatalf("got %+v, want all connections open", r)
	}
	before := statuses(t, orb8)
	<-time.After(40 * time.Second) // until the memory is that of these flows
	rss, lost := maxRSS(t, e, "agent"), uint64(0)
	for node, s := range statuses(t, orb8) {
		if s.Events-before[node].Events < flows {
			t.Errorf("%s has seen %d events of %d flows", node, s.Events-before[node].Events, flows)
		}
		lost += s.Lost - before[node].Lost
	}
	row(t, fmt.Sprintf("memory (RSS) of an agent with %d live flows, %d lost, and a history of 1 MiB", flows, lost),
		fmt.Sprintf("%.0f MiB", rss), "≤ 64 MiB")
	load.Wait(t)
}

// command runs kubectl orb8, and returns its output.
func command(t *testing.T, e *kit.Env) func(args ...string) string {
	return func(args ...string) string {
		t.Helper()
		cmd := exec.Command("../../bin/kubectl-orb8", args...)
		cmd.Env = e.Environ(e.Kubeconfig)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("kubectl orb8 %s: %v", strings.Join(args, " "), err)
		}
		return string(out)
	}
}

// medianOf is the median of ten times, seconds.
func medianOf(measure func() time.Duration) float64 {
	var times []float64
	for range 10 {
		times = append(times, measure().Seconds())
	}
	return median(times)
}

type agentStatus struct{ Events, Lost, HistoryBytes, HistoryEvents uint64 }

// statuses returns the state of each agent by node.
func statuses(t *testing.T, orb8 func(...string) string) map[string]agentStatus {
	t.Helper()
	all := map[string]agentStatus{}
	for d := json.NewDecoder(strings.NewReader(orb8("status", "-o", "json"))); d.More(); {
		var s struct {
			Kind, Node string
			agentStatus
		}
		if err := d.Decode(&s); err != nil {
			t.Fatal(err)
		}
		if s.Node != "" {
			all[s.Node] = s.agentStatus
		}
	}
	return all
}

// pidsOf returns the processes of agents or servers.
func pidsOf(t *testing.T, e *kit.Env, component string) (all []uint32) {
	t.Helper()
	list, err := e.Client.CoreV1().Pods("orb8-system").List(t.Context(), metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/component=" + component})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		all = append(all, kit.PIDsOf(t, list.Items[i].UID, "orb8-"+component)...)
	}
	return all
}

func maxRSS(t *testing.T, e *kit.Env, component string) (largest float64) {
	t.Helper()
	for _, pid := range pidsOf(t, e, component) {
		largest = max(largest, residentMiB(t, int(pid)))
	}
	return largest
}

// cpuSeconds is the CPU time of all processes of a component: fields 14 and 15 of proc_pid_stat(5), in 1/100 s.
func cpuSeconds(t *testing.T, e *kit.Env, component string) (sum float64) {
	t.Helper()
	for _, pid := range pidsOf(t, e, component) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		for _, f := range fields[11:13] {
			n, err := strconv.ParseFloat(f, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n / 100
		}
	}
	return sum
}
