package e2e

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf/flows"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// followedSockets exceeds the number of sockets that a tracer with the default memory limit follows for network, tcp
// and syscalls, without the reserve: a fifth of 256 MiB, with 448 bytes for network, 448 for tcp and 1,216 for
// syscalls.
const followedSockets = 26_000

// TestFlood_StaysBelowMemoryLimit floods all budgets of a tracer at once from one pod, while a quiet pod uses a little
// of each. The memory of the tracer, including the kernel memory charged to it, stays below the limit of its container.
// All events of the quiet pod arrive, and the losses name the flooding pod only.
func TestFlood_StaysBelowMemoryLimit(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "hostile", Node: e.Nodes[0], CPU: "800m"},
		kit.PodSpec{Namespace: ns, Name: "quiet", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-tcp",
			":7000"}})
	hostile, quiet, server := pods[0], pods[1], netip.AddrPortFrom(pods[2].IP(t, false), 7000)

	tr := e.Trace(t, "trace", "network,tcp,dns,drops,exec,syscalls", "--syscall", "getppid", "-n", ns, "hostile",
		"quiet",
		"-o", "json", "--filter", `pod == "quiet"`)
	tr.AwaitStreaming(t, 1)
	tracers := e.Tracers(t)
	if len(tracers) != 1 {
		t.Fatalf("%d tracers run, want 1", len(tracers))
	}
	uid := tracers[0].UID
	pid, idle, _ := rss(t, uid)
	memory := kit.MemoryCgroupOf(t, pid)
	before := memory.Read(t)

	flooded := floodBudgets(t, hostile)
	spawned := beQuiet(t, quiet, server)
	flooded()
	// The tracer may be late, since the flood uses the CPU.
	tr.AwaitJQ(t, `(map(select(.kind == "exec" and .phase == "exit" and .containerPid == $pid)) | length > 0) and
		(map(select(.kind == "flow" and .protocol == "tcp" and .phase == "closed") | .id) | unique | length == $n)`,
		"--argjson", "pid", strconv.Itoa(spawned[quietCount-1].PID), "--argjson", "n", strconv.Itoa(quietCount))

	now, current, peak := rss(t, uid)
	after := memory.Read(t)
	t.Logf("idle: RSS %s, cgroup %s, of which kernel %s", mib(idle), mib(before.Usage), mib(before.Kernel))
	t.Logf("flooded: RSS %s, peak %s; cgroup %s, of which kernel %s, peak %s; limit %s",
		mib(current), mib(peak), mib(after.Usage), mib(after.Kernel), mib(after.Peak), mib(after.Limit))
	if now != pid || after.OOMKills != 0 || e.Tracers(t)[0].UID != uid {
		t.Errorf("the tracer was process %d and is %d; its cgroup had %d OOM kills", pid, now, after.OOMKills)
	}
	if after.Limit != tracerLimit || after.Peak >= after.Limit {
		t.Errorf("the tracer's cgroup held %s at its peak, want less than its limit of %s", mib(after.Peak),
			mib(after.Limit))
	}
	tr.Stop(t)
	tr.CheckSchema(t)
	checkQuiet(t, tr, spawned)
	_, closing, _ := strings.Cut(tr.Stderr(), "LOST")
	t.Logf("LOST%s", closing)
	if strings.Contains(closing, "pod "+ns+"/quiet lost ") || !strings.Contains(closing, "pod "+ns+"/hostile lost ") {
		t.Errorf("the closing line does not name losses of the flooding pod only:\n%s", closing)
	}
}

// TestFlood_StaysBelowLeastMemory floods the tables of flows and sockets of a tracer with the least memory.
func TestFlood_StaysBelowLeastMemory(t *testing.T) {
	const least, followed = 64 << 20, 29_959 // launch.MinMemory, and the sockets that it has room for
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	hostile := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "hostile", Node: e.Nodes[0], CPU: "800m"})[0]
	tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json", "--filter", `src.pid == 0`,
		"--tracer-resources", "memory=64Mi")
	tr.AwaitStreaming(t, 1)
	tracers := e.Tracers(t)
	if len(tracers) != 1 {
		t.Fatalf("%d tracers run, want 1", len(tracers))
	}
	pid, _, _ := rss(t, tracers[0].UID)
	memory := kit.MemoryCgroupOf(t, pid)
	before := memory.Read(t)
	holding := append([]*kit.Command{holdFlows(t, hostile)}, holdSockets(t, hostile, "udp", followed)...)
	now, _, peak := rss(t, tracers[0].UID)
	after := memory.Read(t)
	release(t, holding)
	t.Logf("idle: cgroup %s, of which kernel %s; flooded: RSS peak %s, cgroup %s, of which kernel %s, peak %s; "+
		"limit %s",
		mib(before.Usage), mib(before.Kernel), mib(peak),
		mib(after.Usage), mib(after.Kernel), mib(after.Peak), mib(after.Limit))
	if now != pid || after.OOMKills != 0 || after.Limit != least || after.Peak >= least {
		t.Errorf("the tracer was process %d and is %d; its cgroup: %+v", pid, now, after)
	}
	tr.Stop(t)
}

func mib(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// holdSockets opens n sockets of a protocol in a pod and keeps them open, in as many processes as the limit of open
// files requires. Each process has its own loopback address.
func holdSockets(t *testing.T, pod *kit.Pod, protocol string, n uint64) []*kit.Command {
	t.Helper()
	const maxProcesses = 32
	var holding []*kit.Command
	for held := uint64(0); held < n; {
		if len(holding) == maxProcesses {
			t.Fatalf("%d processes hold %d of %d sockets: raise the containers' limit of open files", maxProcesses,
				held, n)
		}
		c := pod.Start(t, "sockets", "-protocol", protocol, "-count", strconv.FormatUint(min(n-held, 20_000), 10),
			"-address", fmt.Sprintf("127.0.%d.1", len(holding)+1))
		holding = append(holding, c)
		held += c.Next(t).Sockets
	}
	return holding
}

// holdFlows makes more flows of unconnected sockets in a pod than the tracer's table holds. They use IPv6, since the
// table for IPv4 is allocated when the trace begins.
func holdFlows(t *testing.T, pod *kit.Pod) *kit.Command {
	t.Helper()
	spray := pod.Start(t, "spray", "-to", "::1", "-sockets", "3", "-ports", "60000")
	if r := spray.Next(t); r.DatagramsSent < 150_000 {
		t.Errorf("%d datagrams of IPv6 were sent, want 180,000", r.DatagramsSent)
	}
	return spray
}

func release(t *testing.T, holding []*kit.Command) {
	t.Helper()
	for _, c := range holding {
		c.Resume(t)
		c.Wait(t)
	}
}

// floodBudgets fills the tables of flows and sockets, then starts all other floods. It returns a function that waits
// for their ends.
func floodBudgets(t *testing.T, pod *kit.Pod) (wait func()) {
	t.Helper()
	holding := append([]*kit.Command{holdFlows(t, pod)}, holdSockets(t, pod, "tcp", followedSockets)...)
	var running []*kit.Command
	for _, flood := range []string{
		"flood -to 127.0.0.1:9 -for 3s",       // sockets beyond the table, and drops, each with its own port
		"flood -to 127.0.0.1:53 -dns -for 3s", // DNS queries without an answer
		"stall -conns 2000 -for 3s",           // incomplete messages of DNS over TCP
		"spawn -count 100 noop flood",         // processes
		"syscalls -getppid 1000000",           // system calls
	} {
		running = append(running, pod.Start(t, strings.Fields(flood)...))
	}
	return func() {
		t.Helper()
		for _, c := range running {
			c.Wait(t)
		}
		release(t, holding)
	}
}

const quietCount = 10

// beQuiet makes a pod do a little of all that is traced. It returns the processes that the pod started.
func beQuiet(t *testing.T, pod *kit.Pod, server netip.AddrPort) (spawned []report.Report) {
	t.Helper()
	count := strconv.Itoa(quietCount)
	pod.Exec(t, "tcp", "-to", server.String(), "-conns", count, "-send", "100", "-recv", "100")
	pod.Exec(t, "udp", "-to", "127.0.0.1:9", "-count", count)
	pod.Exec(t, "dns", "-name", "kubernetes.default.svc.cluster.local.", "-network", "ip4", "-count", count)
	pod.Exec(t, "syscalls", "-getppid", count)
	return pod.Exec(t, "spawn", "-count", count, "noop", "quiet")
}

// checkQuiet compares the events of the quiet pod with its activity.
func checkQuiet(t *testing.T, tr *kit.Trace, spawned []report.Report) {
	t.Helper()
	pids := make([]string, len(spawned))
	for i, r := range spawned {
		pids[i] = strconv.Itoa(r.PID)
	}
	var got map[string]int
	tr.JQ(t, &got, `map(select(.pod == "quiet" and .kind != "lost")) | {
		connections: map(select(.kind == "flow" and .protocol == "tcp" and .phase == "closed" and .bytesSent == 100)
			| .id)
			| unique | length,
		connected: map(select(.kind == "tcp" and .outcome == "connected")) | length,
		closed: map(select(.kind == "tcp" and .outcome == "closed")) | length,
		datagrams: map(select(.kind == "flow" and .dst.port == 9 and .phase == "closed") | .packetsSent) | add,
		drops: map(select(.kind == "drop" and .dst.port == 9)) | group_by(.id) | map(map(.packets) | max) | add,
		queries: map(select(.kind == "dns" and .rcode == "NOERROR")) | length,
		calls: map(select(.kind == "syscall" and .name == "getppid" and .phase == "returned")) | length,
		execs: map(select(.kind == "exec" and .phase == "exec" and (.containerPid | IN($pids[])))) | length,
		exits: map(select(.kind == "exec" and .phase == "exit" and (.containerPid | IN($pids[])))) | length}`,
		"--argjson", "pids", "["+strings.Join(pids, ",")+"]")
	for what, n := range got {
		if n != quietCount {
			t.Errorf("%d %s of the quiet pod came, want %d", n, what, quietCount)
		}
	}
}

// TestSocketStorage_BytesPerSocket measures the memory that the kernel charges a tracer for each socket that it
// follows. It compares this with flows.SocketBytes, which bounds the number of sockets.
func TestSocketStorage_BytesPerSocket(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	pod := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "holder", Node: e.Nodes[0]})[0]
	tr := e.Trace(t, "trace", "network,tcp", "-n", ns, "-o", "json", "--filter", `src.pid == 0`)
	tr.AwaitStreaming(t, 1)
	tracers := e.Tracers(t)
	if len(tracers) != 1 {
		t.Fatalf("%d tracers run, want 1", len(tracers))
	}
	pid, _, _ := rss(t, tracers[0].UID)
	memory := kit.MemoryCgroupOf(t, pid)
	for _, c := range []struct {
		protocol string
		probes   int
	}{{"udp", 1}, {"tcp", 2}} {
		const n = 18_000
		before := memory.Read(t).Kernel
		holding := holdSockets(t, pod, c.protocol, n)
		each := float64(int64(memory.Read(t).Kernel-before)) / n
		release(t, holding)
		t.Logf("%s: %.0f bytes for each socket; probes that follow it: %d", c.protocol, each, c.probes)
		// The kernel also charges a pointer for each of its objects.
		if most := float64(c.probes*flows.SocketBytes) * 1.05; each > most || each < most/2 {
			t.Errorf("%s: %.0f bytes for each socket, want at most %.0f", c.protocol, each, most)
		}
	}
	tr.Stop(t)
}
