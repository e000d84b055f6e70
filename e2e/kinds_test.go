package e2e

import (
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// TestTrace_SeveralKinds traces all kinds at once. They come in one stream, ordered by time, from one tracer per node.
func TestTrace_SeveralKinds(t *testing.T) {
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	const port, nobody = 7000, 7999
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-tcp", ":7000",
			"-udp", ":7000"}})
	client, server := pods[0], pods[1]
	tr := e.Trace(t, "trace", "network,tcp,dns,drops,exec,syscalls", "--syscall", "execve", "-n", ns, "-o", "json",
		"--fail-on-loss")
	tr.AwaitStreaming(t, 2)
	if n := len(e.Tracers(t)); n != 2 {
		t.Errorf("%d tracers run on two nodes", n)
	}
	to := func(port uint16) string { return netip.AddrPortFrom(server.IP(t, false), port).String() }
	client.Exec(t, "tcp", "-to", to(port), "-send", "1000", "-recv", "1000")
	client.Exec(t, "udp", "-to", to(nobody), "-count", "5", "-size", "100")
	client.Exec(t, "dns", "-name", "kubernetes.default.svc.cluster.local.", "-network", "ip4")
	kinds := []string{"flow", "tcp", "dns", "drop", "exec", "syscall"}
	for _, kind := range kinds {
		tr.AwaitJQ(t, `any(.kind == $kind and (.pod == "client" or .src.pod == "client"))`, "--arg", "kind", kind)
	}
	tr.Stop(t)
	tr.CheckSchema(t)
	// Leave out flows: the end of a flow is printed once both halves are known, which may be after later events.
	var disorder []string
	tr.JQ(t, &disorder,
		`map(select(.kind | IN($kinds[]))) | map(.time) as $t |
		[range(1; $t | length) | select($t[.] < $t[. - 1]) | $t[.]]`,
		"--argjson", "kinds", `["tcp", "dns", "drop", "exec", "syscall"]`)
	if len(disorder) > 0 {
		t.Errorf("events at %v follow later ones", disorder)
	}
}

var (
	tallied = regexp.MustCompile(`(?m)^(\d+) events? from`)
	losses  = regexp.MustCompile(`(\d+) at \S+ \(([a-z-]+)`)
)

// TestLoss_IsExact stops the viewer while a pod makes more system calls than the buffers between them hold. The sum of
// shown and lost events, at any stage, is the number of calls.
func TestLoss_IsExact(t *testing.T) {
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	worker := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "worker", Node: e.Nodes[0]})[0]
	tr := e.Trace(t, "trace", "syscalls", "--syscall", "getppid", "-n", ns, "-o", "custom-columns=name")
	tr.AwaitStreaming(t, 1)
	tr.Signal(t, syscall.SIGSTOP)
	const made = 1_500_000
	load := worker.Start(t, "syscalls", "-getppid", strconv.Itoa(made))
	// A tracer ends if it hears nothing for longer than this.
	goOn := time.AfterFunc(session.HeartbeatTimeout*2/3, func() { tr.Signal(t, syscall.SIGCONT) })
	load.Wait(t)
	if goOn.Stop() {
		tr.Signal(t, syscall.SIGCONT)
	}
	// A tracer has 3 s to send its last events: what waits is shown first.
	deadline := time.Now().Add(time.Minute)
	for before, n := -1, tr.Lines(t); n != before && time.Now().Before(deadline); {
		time.Sleep(time.Second)
		before, n = n, tr.Lines(t)
	}
	tr.Stop(t)

	stderr := tr.Stderr()
	m := tallied.FindStringSubmatch(stderr)
	if m == nil {
		t.Fatalf("no tally in\n%s", stderr)
	}
	shown, _ := strconv.Atoi(m[1])
	_, tally, _ := strings.Cut(stderr[strings.LastIndex(stderr, m[0]):], "LOST")
	lost, stages := 0, map[string]int{}
	for _, l := range losses.FindAllStringSubmatch(tally, -1) {
		n, _ := strconv.Atoi(l[1])
		lost += n
		stages[l[2]] += n
	}
	t.Logf("%d shown, lost %v", shown, stages)
	if lost == 0 || shown == 0 || shown+lost != made {
		t.Errorf("%d shown and %d lost of %d:\n%s", shown, lost, made, tally)
	}
	out, err := os.ReadFile(tr.Output)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), "getppid"); n != shown {
		t.Errorf("%d lines of %d events", n, shown)
	}
}
