package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

const (
	// faultConns is how many connections a pod makes while a fault lasts, one every faultPause.
	faultConns = 150
	faultPause = 50 * time.Millisecond
	// faultTimeout limits each wait.
	faultTimeout = 3 * time.Minute
)

// faulty is an installation whose parts are broken, one after another, while a stream runs and connections are made.
// What was made is delivered, or counted as lost, or was made in a time of which the stream says that nothing was seen.
type faulty struct {
	e      *kit.Env
	ns     string
	client *kit.Pod
	to     netip.AddrPort // of the server
	stream *kit.Trace
}

func agentFaults(t *testing.T, e *kit.Env) {
	ns := e.Namespace(t, nil)
	f := &faulty{e: e, ns: ns}
	f.client, f.to = clientAndServer(t, e, ns, ns, "-quiet", "-tcp", ":7000-7002")
	f.stream = e.Trace(t, "trace", "tcp", "-n", ns, "-o", "json")
	f.stream.AwaitStreaming(t, 2)
	for _, fault := range []struct {
		name string
		hit  func(*testing.T)
		// blind: agents are replaced, or observe anew. What happens meanwhile is not seen.
		blind bool
		// long: it takes minutes.
		long bool
	}{
		{name: "servers killed", hit: func(t *testing.T) { killPods(t, e, "server", "") }},
		{name: "agent killed", hit: func(t *testing.T) { killPods(t, e, "agent", e.Nodes[0]) }, blind: true},
		{name: "agent cut off", hit: f.cutOff},
		{name: "agent slow", hit: f.slowAgent},
		{name: "authority rotated", hit: f.rotate},
		{name: "configuration changed", hit: f.configure, blind: true},
		{name: "certificates expired", hit: f.expire, blind: true, long: true},
		// Last: agents may see new pods only half a minute after it is back, as their watches are retried so seldom.
		{name: "API server down", hit: f.stopAPIServer},
	} {
		if fault.long && os.Getenv("ORB8_E2E_LONG") == "" {
			t.Logf("%s: not tried, for it takes two minutes: make test-faults", fault.name)
			continue
		}
		if !t.Run(fault.name, func(t *testing.T) { f.check(t, fault.hit, fault.blind) }) {
			t.Fatalf("the stream wrote:\n%s", f.stream.Stderr())
		}
	}
	f.stream.Stop(t)
	t.Run("client stalled", f.stallClient)
}

// ended selects what clients saw of the ends of a pod's connections.
func ended(pod string) string {
	return fmt.Sprintf(`map(select(.kind == "tcp" and .pod == %q and .outcome == "closed"))`, pod)
}

// check makes connections from a new pod while a fault lasts.
func (f *faulty) check(t *testing.T, hit func(*testing.T), blind bool) {
	lines, gap := f.gaps(t)
	name := strings.ToLower(strings.ReplaceAll(t.Name()[strings.LastIndex(t.Name(), "/")+1:], "_", "-"))
	done := f.load(t, name)
	hit(t)
	done()
	f.settle(t)
	if blind {
		f.await(t, "a gap", func() bool { n, _ := f.gaps(t); return n > lines })
	} else {
		f.stream.AwaitJQ(t, fmt.Sprintf("%s | length == %d", ended(name), faultConns))
	}
	var before int
	f.stream.JQ(t, &before, ended("client")+" | length")
	f.client.Exec(t, "tcp", "-to", f.to.String(), "-conns", "5", "-send", "100", "-recv", "100")
	f.stream.AwaitJQ(t, fmt.Sprintf("%s | length == %d", ended("client"), before+5))

	var got struct{ Delivered, Repeated int }
	f.stream.JQ(t, &got, ended(name)+` | {delivered: length,
		repeated: (length - (unique_by([.socketCookie, .src.port]) | length))}`)
	_, sum := f.gaps(t)
	gap = sum - gap
	t.Logf("%d of %d connections, nothing seen for %v", got.Delivered, faultConns, gap)
	if got.Repeated > 0 {
		t.Errorf("%d connections are repeated", got.Repeated)
	}
	switch missing := faultConns - got.Delivered; {
	case !blind && (missing != 0 || gap != 0):
		t.Errorf("%d connections are missing, and nothing was seen for %v: want all", missing, gap)
	case blind && (gap == 0 || time.Duration(missing-2)*faultPause > gap):
		t.Errorf("%d connections are missing, and nothing was seen for %v only", missing, gap)
	}
	if blind {
		return
	}
	var found int
	tr := query(t, f.e, f.e.Kubeconfig, 0, "tcp", "-n", f.ns, "-o", "json")
	if tr.JQ(t, &found, ended(name)+" | length"); found != faultConns {
		t.Errorf("a query finds %d of %d connections:\n%s", found, faultConns, tr.Stderr())
	}
}

// load makes connections from a pod of its own, for it goes on without the API server. The function that it returns
// waits until they are made.
func (f *faulty) load(t *testing.T, name string) (done func()) {
	t.Helper()
	pods := f.e.Client.CoreV1().Pods(f.ns)
	pod := kit.PodSpec{Namespace: f.ns, Name: name, Node: f.e.Nodes[0], Args: []string{"tcp", "-to", f.to.String(),
		"-conns", strconv.Itoa(faultConns), "-pause", faultPause.String(), "-send", "100", "-recv", "100"}}.Object()
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	phase := func(want ...corev1.PodPhase) {
		t.Helper()
		f.await(t, fmt.Sprintf("pod %s %v", name, want), func() bool {
			p, err := pods.Get(t.Context(), name, metav1.GetOptions{})
			if err == nil && p.Status.Phase == corev1.PodFailed {
				t.Fatalf("pod %s failed", name)
			}
			for _, w := range want {
				if err == nil && p.Status.Phase == w {
					return true
				}
			}
			return false
		})
	}
	phase(corev1.PodRunning, corev1.PodSucceeded)
	return func() {
		t.Helper()
		phase(corev1.PodSucceeded)
	}
}

func (f *faulty) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, faultTimeout, true,
		func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		t.Fatalf("waited %v for %s", faultTimeout, what)
	}
}

var gapLine = regexp.MustCompile(`nothing was seen from \S+ to \S+ \((\d+\.\d) s\)`)

// gaps returns how many times the stream has reported in which nothing was seen, and their sum.
func (f *faulty) gaps(t *testing.T) (lines int, sum time.Duration) {
	t.Helper()
	all := gapLine.FindAllStringSubmatch(f.stream.Stderr(), -1)
	for _, m := range all {
		d, err := time.ParseDuration(m[1] + "s")
		if err != nil {
			t.Fatal(err)
		}
		sum += d
	}
	return len(all), sum
}

// cutOff cuts an agent off from the servers until they notice.
func (f *faulty) cutOff(t *testing.T) {
	t.Run("cut", func(t *testing.T) {
		before := strings.Count(f.stream.Stderr(), f.e.Nodes[0]+": ")
		f.e.Firewall(t, f.e.Nodes[0], "tcp dport 9090 drop\n tcp sport 9090 drop")
		f.await(t, "a word about "+f.e.Nodes[0], func() bool {
			return strings.Count(f.stream.Stderr(), f.e.Nodes[0]+": ") > before
		})
		// A query says what it lacks.
		tr := query(t, f.e, f.e.Kubeconfig, 3, "tcp", "-n", f.ns, "--last", "5")
		if out := tr.Stderr(); !strings.Contains(out, f.e.Nodes[0]+": ") ||
			!strings.Contains(out, "its events are missing") {
			t.Errorf("the query does not name the node:\n%s", out)
		}
	})
}

// slowAgent stops an agent for a few seconds. The other node's events go on meanwhile.
func (f *faulty) slowAgent(t *testing.T) {
	pids := kit.PIDsOf(t, f.agent(t, f.e.Nodes[1]).UID, "orb8-agent")
	signal := func(s syscall.Signal) {
		for _, pid := range pids {
			if err := syscall.Kill(int(pid), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	var before int
	f.stream.JQ(t, &before, ended("client")+" | length")
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	f.client.Exec(t, "tcp", "-to", f.to.String(), "-conns", "5", "-send", "100", "-recv", "100")
	f.stream.AwaitJQ(t, fmt.Sprintf("%s | length == %d", ended("client"), before+5))
}

func (f *faulty) agent(t *testing.T, node string) *corev1.Pod {
	t.Helper()
	list, err := f.e.Client.CoreV1().Pods("orb8-system").List(t.Context(), metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/component=agent", FieldSelector: "spec.nodeName=" + node})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("the agent of %s: %v, %v", node, list, err)
	}
	return &list.Items[0]
}

// stopAPIServer stops the API server, through which the stream runs, too.
func (f *faulty) stopAPIServer(t *testing.T) {
	f.e.Component(t, "stop", "kube-apiserver")
	defer f.e.Component(t, "start", "kube-apiserver")
	down := 12 * time.Second
	if os.Getenv("ORB8_E2E_LONG") != "" {
		down = time.Minute
	}
	<-time.After(down) // it has to last, and there is no condition to wait for
	tr := query(t, f.e, f.e.Kubeconfig, 1, "tcp", "-n", f.ns)
	if !strings.Contains(tr.Stderr(), "connection refused") {
		t.Errorf("the query says:\n%s", tr.Stderr())
	}
}

// rotate has the servers make another authority, and waits until both are published.
func (f *faulty) rotate(t *testing.T) {
	core := f.e.Client.CoreV1()
	patch := []byte(`{"metadata": {"annotations": {"orb8.dev/rotate": "now"}}}`)
	if _, err := core.Secrets("orb8-system").Patch(t.Context(), "orb8-authority", types.MergePatchType, patch,
		metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.await(t, "two authorities in the bundle", func() bool {
		m, err := core.ConfigMaps("orb8-system").Get(t.Context(), "orb8-authority", metav1.GetOptions{})
		return err == nil && strings.Count(m.Data["ca.crt"], "BEGIN CERTIFICATE") == 2
	})
}

// configure has the agents record programs, too, and makes the kubelets project the configuration at once.
func (f *faulty) configure(t *testing.T) {
	core := f.e.Client.CoreV1()
	patch := []byte(`{"data": {"config.yaml": "kinds: [flow, tcp, dns, drop, resources, gpu, exec]\ninterval: 1s\n"}}`)
	if _, err := core.ConfigMaps("orb8-system").Patch(t.Context(), "orb8-agent", types.MergePatchType, patch,
		metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	lines, _ := f.gaps(t)
	for _, node := range f.e.Nodes {
		touch := []byte(`{"metadata": {"annotations": {"orb8.dev/e2e": "touched"}}}`)
		if _, err := core.Pods("orb8-system").Patch(t.Context(), f.agent(t, node).Name, types.MergePatchType, touch,
			metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	f.await(t, "the agents' new configuration", func() bool { n, _ := f.gaps(t); return n >= lines+2 })
	tr := f.e.Trace(t, "trace", "exec", "-n", f.ns, "-o", "json")
	tr.AwaitStderr(t, "2/2 nodes streaming from installed agents")
	tr.Stop(t)
}

// expire has certificates issued for a minute, and takes the servers, which renew them, away until they have ended.
func (f *faulty) expire(t *testing.T) {
	deployments := f.e.Client.AppsV1().Deployments("orb8-system")
	patch := func(text string) {
		t.Helper()
		if _, err := deployments.Patch(t.Context(), "orb8-server", types.JSONPatchType, []byte(text),
			metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch(`[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--certificate-life=1m"}]`)
	f.settle(t)
	for _, node := range f.e.Nodes {
		killPods(t, f.e, "agent", node)
	}
	f.settle(t)
	patch(`[{"op": "replace", "path": "/spec/replicas", "value": 0}]`)
	<-time.After(70 * time.Second) // the certificates have to end, and there is no condition to wait for
	patch(`[{"op": "replace", "path": "/spec/replicas", "value": 2}]`)
}

// settle waits until two new servers and two agents answer.
func (f *faulty) settle(t *testing.T) {
	t.Helper()
	f.await(t, "two agents and two servers", func() bool {
		d, err := f.e.Client.AppsV1().Deployments("orb8-system").Get(t.Context(), "orb8-server", metav1.GetOptions{})
		if err != nil || d.Status.ObservedGeneration != d.Generation || d.Status.UpdatedReplicas != 2 ||
			d.Status.Replicas != 2 || d.Status.AvailableReplicas != 2 {
			return false
		}
		tr := f.e.TraceAs(t, f.e.Kubeconfig, "status")
		return tr.Wait(t) == 0 && strings.Contains(tr.Stdout(t)+tr.Stderr(), "2/2 agents ready, 2/2 servers ready")
	})
}

// stallClient stops a client while more happens than is held for it. What it gets depends on how long that takes: a
// client that does not answer for 20 s is disconnected, and goes on from the history.
func (f *faulty) stallClient(t *testing.T) {
	// At each end a connection is connected and closed. A client has 28,000 ports for each of the server's.
	const many, perPort, perConn = 24_000, 8_000, 4
	tr := f.e.Trace(t, "trace", "tcp", "-n", f.ns, "-o", "json")
	tr.AwaitStreaming(t, 2)
	tr.Signal(t, syscall.SIGSTOP)
	for port := range uint16(many / perPort) {
		to := netip.AddrPortFrom(f.to.Addr(), f.to.Port()+port).String()
		f.client.Exec(t, "tcp", "-to", to, "-conns", strconv.Itoa(perPort), "-parallel", "16", "-send", "100", "-recv",
			"100")
	}
	tr.Signal(t, syscall.SIGCONT)
	const sums = `{delivered: (map(select(.kind == "tcp")) | length),
		lost: (map(select(.kind == "lost").count) | add // 0)}`
	tr.AwaitJQ(t, fmt.Sprintf("%s | .delivered + .lost >= %d", sums, perConn*many))
	tr.Stop(t)
	var got struct{ Delivered, Lost int }
	tr.JQ(t, &got, sums)
	t.Logf("%d events delivered, %d lost", got.Delivered, got.Lost)
	if got.Delivered+got.Lost != perConn*many {
		t.Errorf("%d delivered and %d lost of %d:\n%s", got.Delivered, got.Lost, perConn*many, tr.Stderr())
	}
}
