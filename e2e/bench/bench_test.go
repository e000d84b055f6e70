//go:build bench

package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// results are the entries of the page, in the order in which they were measured.
var results bytes.Buffer

// row adds an entry to the page: a list item, since rows of a table would be wider than 120 columns. goal may be empty.
func row(t *testing.T, what, value, goal string) {
	t.Helper()
	t.Logf("%s: %s (goal: %s)", what, value, goal)
	item := fmt.Sprintf("%s: **%s**", what, value)
	if goal != "" {
		item += fmt.Sprintf(" (goal: %s)", goal)
	}
	results.WriteString(wrap("- "+item, "  "))
}

func need(t *testing.T) *kit.Env {
	t.Helper()
	return kit.NeedOwn(t)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if path := os.Getenv("ORB8_BENCH"); path != "" && results.Len() > 0 {
		if err := write(path); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			code = 1
		}
	}
	os.Exit(code)
}

const (
	begin = "<!-- results: written by make bench -->\n"
	end   = "<!-- end of results -->\n"
)

// write replaces the results in the page.
func write(path string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no place for results", path)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	machine := fmt.Sprintf("%s, Linux %s, %d CPUs, both nodes of the cluster and the viewer on this one machine; %s.",
		cpuModel(), unix.ByteSliceToString(uts.Release[:]), runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly))
	text := wrap(machine, "") + "\n" + results.String()
	return os.WriteFile(path, []byte(before+begin+text+end+after), 0o644)
}

// cpuModel returns the model of the CPU, or the architecture.
func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	if m := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(b); m != nil {
		return string(m[1])
	}
	return runtime.GOARCH
}

// pair creates two pods on two nodes: an idle client, and a server on ports 7000 to 7009 that reports nothing.
func pair(t *testing.T, e *kit.Env) (ns string, client, server *kit.Pod) {
	t.Helper()
	return pairOn(t, e, e.Nodes[0], e.Nodes[1])
}

func pairOn(t *testing.T, e *kit.Env, first, second string) (ns string, client, server *kit.Pod) {
	t.Helper()
	ns = e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: first},
		kit.PodSpec{Namespace: ns, Name: "server", Node: second, Args: []string{"serve", "-quiet", "-tcp", ":7000-7009",
			"-udp", ":7000-7009"}},
	)
	return ns, pods[0], pods[1]
}

func at(server *kit.Pod, t *testing.T) string {
	t.Helper()
	return net.JoinHostPort(server.IP(t, false).String(), "7000")
}

func TestFirstEvent_Delay(t *testing.T) {
	e := need(t)
	ns, _, server := pair(t, e)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "app", Node: e.Nodes[0],
		Args: []string{"app", "-server", server.IP(t, false).String(), "-tcp", "7000", "-every", "20ms"}})
	var bare, first, ratio []float64
	for i := range 10 {
		start := time.Now()
		e.Pods(t, kit.PodSpec{Namespace: ns, Name: fmt.Sprintf("bare-%d", i)})
		pod := time.Since(start)

		start = time.Now()
		tr := e.Trace(t, "trace", "network", "app", "-n", ns, "-o", "json")
		tr.AwaitLines(t, 1)
		event := time.Since(start)
		tr.Stop(t)
		bare, first, ratio = append(bare, pod.Seconds()), append(first, event.Seconds()),
			append(ratio, event.Seconds()/pod.Seconds())
	}
	row(t, "time from command to first event, image present (median of 10)", fmt.Sprintf("%.2f s", median(first)), "")
	row(t, "start of a bare pod, measured alternately", fmt.Sprintf("%.2f s", median(bare)), "")
	row(t, "ratio of the first event to the bare pod (median of pairs)", fmt.Sprintf("%.2f", median(ratio)), "≤ 1.5")
}

// TestFirstEvent_Distance measures how much later the first event comes from an API server that is far away.
func TestFirstEvent_Distance(t *testing.T) {
	e := need(t)
	ns, _, server := pair(t, e)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "app", Node: e.Nodes[0],
		Args: []string{"app", "-server", server.IP(t, false).String(), "-tcp", "7000", "-every", "20ms"}})
	roundTrips := []time.Duration{0, 100 * time.Millisecond, 250 * time.Millisecond}
	var proxies []*kit.Proxy
	for _, rtt := range roundTrips {
		proxies = append(proxies, e.FarProxy(t, rtt))
	}
	later := make([][]float64, len(roundTrips))
	for range 7 {
		var near float64
		for i, p := range proxies {
			start := time.Now()
			tr := e.TraceAs(t, p.Kubeconfig, "trace", "network", "app", "-n", ns, "-o", "json")
			tr.AwaitLines(t, 1)
			took := time.Since(start).Seconds()
			tr.Stop(t)
			if i == 0 {
				near = took
			}
			later[i] = append(later[i], took-near)
		}
	}
	row(t, "first event later with a round trip of 100 ms to the API server (median of 7)",
		fmt.Sprintf("%.2f s", median(later[1])), "≤ 0.9 s")
	row(t, "first event later with a round trip of 250 ms", fmt.Sprintf("%.2f s", median(later[2])), "≤ 2.2 s")
}

func TestVersion_Duration(t *testing.T) {
	need(t)
	var times []float64
	for range 20 {
		start := time.Now()
		if out, err := exec.Command("../../bin/kubectl-orb8", "version").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		times = append(times, time.Since(start).Seconds()*1000)
	}
	row(t, "`kubectl-orb8 version` (median of 20)", fmt.Sprintf("%.0f ms", median(times)), "≤ 50 ms")
}

// pairs is the number of runs of a load with a trace, and of runs without.
const pairs = 20

// compare runs a load in pairs, with and without a trace of so many nodes, and returns the ratios of the pairs. The
// order changes from pair to pair. Each run waits until the machine is idle, since pods start and end between runs.
func compare(t *testing.T, e *kit.Env, ns string, nodes int, load func() float64) []float64 {
	t.Helper()
	return compareWith(t, e, nodes, load, "trace", "network", "-n", ns, "-o", "json")
}

// compareWith does so with another command.
func compareWith(t *testing.T, e *kit.Env, nodes int, load func() float64, command ...string) []float64 {
	t.Helper()
	load() // the first run fills the neighbour table, the routes and the caches
	without := func() float64 {
		calm(t)
		return load()
	}
	with := func() float64 {
		tr := e.Trace(t, command...)
		tr.AwaitStreaming(t, nodes)
		calm(t)
		v := load()
		tr.Stop(t)
		return v
	}
	return alternate(without, with)
}

// alternate returns the ratios of pairs of measurements, with relative to without, whose order changes from pair to
// pair.
func alternate(without, with func() float64) (ratios []float64) {
	for i := range pairs {
		var traced, untraced float64
		if i%2 == 0 {
			untraced = without()
			traced = with()
		} else {
			traced = with()
			untraced = without()
		}
		ratios = append(ratios, traced/untraced)
	}
	return ratios
}

// calm waits until the CPUs have been at least 90 % idle for half a second.
func calm(t *testing.T) {
	t.Helper()
	const interval = 100 * time.Millisecond
	quiet, deadline := 0, time.Now().Add(20*time.Second)
	for busy, all := cpuTicks(t); quiet < 5; {
		if time.Now().After(deadline) {
			t.Fatal("the machine is not idle: other processes would distort the measurement")
		}
		time.Sleep(interval)
		b, a := cpuTicks(t)
		if 10*(b-busy) <= a-all {
			quiet++
		} else {
			quiet = 0
		}
		busy, all = b, a
	}
}

// cpuTicks returns the busy ticks and all ticks of all CPUs since the boot.
func cpuTicks(t *testing.T) (busy, all uint64) {
	t.Helper()
	all, idle := kit.MachineCPU(t)
	return all - idle, all
}

// arrangements are placements of client and server. On one node there is one tracer, and a packet runs its programs
// once on the way out and once on the way in, as on a cluster whose nodes have a kernel each. The two nodes of the test
// cluster share a kernel, so a packet runs the programs of both tracers at either end: twice as many.
func arrangements(e *kit.Env) []struct {
	name          string
	first, second string
	tracers       int
} {
	return []struct {
		name          string
		first, second string
		tracers       int
	}{
		{"one tracer per kernel", e.Nodes[0], e.Nodes[0], 1},
		{"two tracers on one kernel", e.Nodes[0], e.Nodes[1], 2},
	}
}

func TestBulk_Throughput(t *testing.T) {
	e := need(t)
	for _, a := range arrangements(e) {
		ns, client, server := pairOn(t, e, a.first, a.second)
		to := at(server, t)
		ratios := compare(t, e, ns, a.tracers, func() float64 {
			// The speed of a stream depends on the CPUs that the scheduler chooses for its ends at the start.
			var runs []float64
			for range 5 {
				runs = append(runs, client.Exec(t, "bulk", "-to", to, "-for", "600ms")[0].Performance.BytesPerSecond)
			}
			return median(runs)
		})
		low, high := interval(ratios)
		goal := ""
		if a.tracers == 1 {
			goal = "≥ 97 %"
		}
		row(t, fmt.Sprintf("bulk TCP throughput with a trace relative to without, %s (median of %d pairs)", a.name,
			pairs), fmt.Sprintf("%.1f %% (%.1f–%.1f %%)", 100*median(ratios), 100*low, 100*high), goal)
	}
}

func TestRequest_Latency(t *testing.T) {
	e := need(t)
	for _, a := range arrangements(e) {
		ns, client, server := pairOn(t, e, a.first, a.second)
		to := at(server, t)
		var p50 []float64
		ratios := compare(t, e, ns, a.tracers, func() float64 {
			var runs []float64
			for range 3 {
				p := client.Exec(t, "load", "-to", to, "-conns", "4", "-for", "1s")[0].Performance
				p50 = append(p50, p.P50)
				runs = append(runs, p.P99)
			}
			return median(runs)
		})
		low, high := interval(ratios)
		goal := ""
		if a.tracers == 1 {
			goal = "≤ 105 %"
		}
		row(t, fmt.Sprintf("p99 latency of a request with a trace relative to without, %s (median of %d pairs; p50 is "+
			"%.0f µs)", a.name, pairs, median(p50)),
			fmt.Sprintf("%.1f %% (%.1f–%.1f %%)", 100*median(ratios), 100*low, 100*high), goal)
	}
}

// TestFlows_EventRate changes many connections in every interval, and counts the events on the viewer's stdout.
func TestFlows_EventRate(t *testing.T) {
	e := need(t)
	for _, load := range []struct {
		connections    int
		interval, goal string
		// loopback: both ends are in one pod. On two CPUs the way between nodes takes more of them than a tracer and
		// the viewer do.
		loopback bool
	}{
		{10_000, "1s", "none lost", false},
		{10_000, "400ms", "≥ 20,000/s, none lost", false},
		{19_000, "300ms", "≥ 50,000/s, none lost", true},
	} {
		n, interval := load.connections, load.interval
		ns, client, server := pair(t, e)
		to := net.JoinHostPort(server.IP(t, false).String(), "7000-7009")
		tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json", "--interval", interval)
		tr.AwaitStreaming(t, 2)
		from, where := client, ""
		if load.loopback {
			from, where = server, " in one pod"
		}
		running := from.Start(t, "flows", "-to", to, "-flows", strconv.Itoa(n), "-every", interval, "-for", "15s")
		if r := running.Next(t); r.Kind != report.Holding {
			t.Fatalf("got %+v, want all connections open", r)
		}
		before, start := tr.Lines(t), time.Now()
		sent := 0
		for _, r := range running.Wait(t) {
			sent += int(r.Performance.Requests)
		}
		events, elapsed := tr.Lines(t)-before, time.Since(start)
		rss := tracerRSS(t, e)
		viewer := residentMiB(t, tr.PID())
		tr.Stop(t)
		lost := lostEvents(t, tr.Output)
		row(t, fmt.Sprintf("flow events on stdout as JSON, %d connections%s that change every %s", n, where, interval),
			fmt.Sprintf("%.0f/s of %.0f changes/s, %d lost", float64(events)/elapsed.Seconds(),
				float64(sent)/elapsed.Seconds(), lost), load.goal)
		memory := "tracer ≤ 40 MiB"
		if load.loopback {
			memory = "" // a larger ring buffer
		}
		row(t, "memory during this load (RSS)", fmt.Sprintf("tracer %.0f MiB, viewer %.0f MiB", rss, viewer), memory)
	}
}

// lostEvents sums the losses that a trace reports. It reads line by line, since such a trace does not fit into memory.
func lostEvents(t *testing.T, path string) uint64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lost uint64
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(`"kind":"lost"`)) {
			continue
		}
		var e struct{ Count uint64 }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if lost == 0 {
			t.Logf("the first loss: %s", lines.Bytes())
		}
		lost += e.Count
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return lost
}

// tracerRSS returns the RSS of the largest tracer in MiB.
func tracerRSS(t *testing.T, e *kit.Env) float64 {
	t.Helper()
	var largest float64
	for _, p := range e.Tracers(t) {
		for _, pid := range kit.PIDsOf(t, p.UID, "orb8-tracer") {
			largest = max(largest, residentMiB(t, int(pid)))
		}
	}
	return largest
}

func residentMiB(t *testing.T, pid int) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no VmRSS of process %d", pid)
	}
	kib, _ := strconv.ParseFloat(string(m[1]), 64)
	return kib / 1024
}

// TestPacket_Cost compares the kernel's run times of our cgroup_skb programs with those of an empty program on the same
// hook, under the same traffic.
//
// Both pods are on one node, so there is one tracer with both in its scope. The nodes share a kernel: the programs of a
// second tracer would return at once and lower the mean.
func TestPacket_Cost(t *testing.T) {
	e := need(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[0], Args: []string{"serve", "-quiet", "-tcp", ":7000",
			"-udp", ":7000"}},
	)
	client, server := pods[0], pods[1]
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	empty := attachEmpty(t)
	others := cgroupPrograms(t)
	tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json")
	tr.AwaitStreaming(t, 1)
	ours := map[ebpf.ProgramID]*ebpf.Program{}
	for id, p := range cgroupPrograms(t) {
		if others[id] == nil {
			ours[id] = p
		}
	}
	if len(ours) == 0 {
		t.Fatal("no cgroup_skb program of the tracer is loaded")
	}
	ip := server.IP(t, false).String()
	for _, load := range []struct {
		name string
		args []string
		goal string
	}{
		{"TCP", []string{"load", "-to", net.JoinHostPort(ip, "7000"), "-conns", "4", "-for", "5s"}, "≤ 25 ns"},
		{"UDP, one established flow", []string{"udp", "-to", net.JoinHostPort(ip, "7000"), "-count", "100000", "-size",
			"100", "-reply", "100"}, "≤ 120 ns"},
		{"UDP, one connected flow", []string{"udp", "-connected", "-to", net.JoinHostPort(ip, "7000"), "-count",
			"100000", "-size", "100", "-reply", "100"}, "≤ 120 ns"},
		{"UDP, 20,000 flows of 20 packets", []string{"udp", "-sockets", "20000", "-to", net.JoinHostPort(ip, "7000"),
			"-count", "10", "-size", "100", "-reply", "100"}, "≤ 250 ns"},
	} {
		emptyBefore, oursBefore := runtimes(t, empty), runtimes(t, ours)
		client.Exec(t, load.args...)
		e, o := runtimes(t, empty).since(emptyBefore), runtimes(t, ours).since(oursBefore)
		row(t, "cost per packet beyond an empty program, "+load.name,
			fmt.Sprintf("%.0f ns (%.0f against %.0f; %d packets)",
				o.mean()-e.mean(), o.mean(), e.mean(), o.count), load.goal)
	}
	tr.Stop(t)
}

// ran is the run time and the number of runs that the kernel counted for some programs.
type ran struct {
	time  time.Duration
	count uint64
}

func (r ran) since(before ran) ran { return ran{r.time - before.time, r.count - before.count} }

// mean in ns per run.
func (r ran) mean() float64 { return float64(r.time) / float64(max(r.count, 1)) }

func runtimes(t *testing.T, programs map[ebpf.ProgramID]*ebpf.Program) ran {
	t.Helper()
	var sum ran
	for _, p := range programs {
		s, err := p.Stats()
		if err != nil {
			t.Fatal(err)
		}
		sum.time += s.Runtime
		sum.count += s.RunCount
	}
	return sum
}

// cgroupPrograms opens all loaded cgroup_skb programs.
func cgroupPrograms(t *testing.T) map[ebpf.ProgramID]*ebpf.Program {
	t.Helper()
	programs := map[ebpf.ProgramID]*ebpf.Program{}
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return programs
		}
		if err != nil {
			t.Fatal(err)
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it has just ended
		}
		if p.Type() != ebpf.CGroupSKB {
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		closeAtEnd(t, p)
		programs[id] = p
	}
}

// closeAtEnd closes c when the test ends.
func closeAtEnd(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// attachEmpty attaches an empty program to the hooks of ours: ingress and egress of the root of cgroup v2.
func attachEmpty(t *testing.T) map[ebpf.ProgramID]*ebpf.Program {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
		root = filepath.Join(root, "unified")
	}
	programs := map[ebpf.ProgramID]*ebpf.Program{}
	for _, way := range []ebpf.AttachType{ebpf.AttachCGroupInetIngress, ebpf.AttachCGroupInetEgress} {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "empty", Type: ebpf.CGroupSKB, AttachType: way, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
		})
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, p)
		l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: way, Program: p})
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, l)
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		programs[id] = p
	}
	return programs
}
