package plugin

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
)

// whyOver passes events to a view, as a session does, and returns its output.
func whyOver(t *testing.T, output, expression string, names []string, events ...*event.Event) (out, errOut string,
	nothing error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	kind := event.KindByName("gpuVerdict")
	rows, err := filter.Compile(expression, []*event.Kind{kind})
	if err != nil {
		t.Fatal(err)
	}
	config := &whyConfig{
		of: whyGPUs,
		traceConfig: &traceConfig{streams: genericiooptions.IOStreams{Out: &stdout, ErrOut: &stderr},
			output: output, viewed: "ml"},
		window: whyWindow,
		rows:   rows,
	}
	for _, name := range whyGPUs.sources {
		config.kinds = append(config.kinds, event.KindByName(name))
	}
	config.query.Names, config.query.Namespace = names, "ml"
	config.open = func() (render.Printer, error) {
		return render.New(render.Options{Out: &stdout, Notices: &stderr, Output: output, Kinds: []*event.Kind{kind},
			Namespace: "ml"})
	}
	all, err := filter.Compile("", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := live.New(t.Context(), live.Config{}, live.Dependencies{})
	v := newWhyView(config, s, intake{reporter: newReporter(&stderr), filter: all})
	for _, ev := range events {
		if err := v.Show(ev); err != nil {
			t.Fatal(err)
		}
	}
	s.End(live.ErrDone) // ^C before the window is over
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), v.nothing
}

// gpuAt is a device with a process of a pod on it, for ten seconds.
func gpuAt(node, pod string, util uint32) (events []*event.Event) {
	for i := range uint64(10) {
		at := 1_790_000_000_000_000_000 + i*1e9
		g := &event.GpuDevice{Uuid: "GPU-" + pod}
		events = append(events,
			&event.Event{Time: at, Node: node, Namespace: "ml", Pod: pod, Container: "c",
				Kind: &event.Event_Gpu{Gpu: &event.Gpu{
					Type: event.GpuEventType_GPU_EVENT_TYPE_PROCESS, Gpu: g,
					Proc:         &event.GpuProcess{Pid: 7, MemoryBytes: proto.Uint64(1 << 30)},
					PeriodMicros: proto.Uint64(1e6),
				}}},
			&event.Event{Time: at, Node: node, Kind: &event.Event_Gpu{Gpu: &event.Gpu{
				Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: g, UsedBy: "ml/" + pod + "/c",
				PeriodMicros: proto.Uint64(1e6),
				Activity:     &event.GpuActivity{GpuPercent: &util},
				Health: &event.GpuHealth{Throttle: "none", PowerMilliwatts: proto.Uint32(300_000),
					PowerLimitMilliwatts: proto.Uint32(400_000)},
			}}},
			containerAt(at, node, pod))
	}
	return events
}

func containerAt(at uint64, node, pod string) *event.Event {
	return &event.Event{Time: at, Node: node, Namespace: "ml", Pod: pod, Container: "c",
		Kind: &event.Event_Resources{Resources: &event.Resources{
			Id: pod, IntervalMicros: proto.Uint64(1e6), Cpu: &event.ResourcesCPU{Millis: proto.Uint64(5)},
		}}}
}

func TestWhy_PrintsVerdictPerPod(t *testing.T) {
	events := append(gpuAt("node1", "busy", 100), gpuAt("node2", "idle", 0)...)
	out, errOut, nothing := whyOver(t, "", "", nil, events...)
	if nothing != nil || !strings.Contains(out,
		"busy on node1, 1 GPU: consistent with work limited by GPU compute") ||
		!strings.Contains(out, "idle on node2, 1 GPU: consistent with an abandoned or waiting process") {
		t.Errorf("%v, %s, %s", nothing, out, errOut)
	}
	out, _, _ = whyOver(t, "json", `verdict == "abandoned"`, nil, events...)
	var row struct {
		Kind, Pod, Verdict, Confidence string
		Shares                         map[string]float64
		Evidence                       map[string]any
	}
	if err := json.Unmarshal([]byte(out), &row); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if row.Kind != "gpuVerdict" || row.Pod != "idle" || row.Shares["abandoned"] != 100 || row.Confidence == "high" ||
		row.Evidence["gpuPercent"] != 0.0 || row.Evidence["launchesPerSecond"] != nil {
		t.Errorf("%s", out)
	}
	if out, _, _ = whyOver(t, "custom-columns=POD:pod,WHY:verdict,SM:evidence.smPercent", "", nil,
		events...); !strings.Contains(out, "n/a") || !strings.Contains(out, "abandoned") {
		t.Errorf("%s", out)
	}
}

func TestWhy_ExplainsMissingVerdict(t *testing.T) {
	at := uint64(1_790_000_000_000_000_000)
	blind := &event.Event{Time: at, Node: "node1",
		Kind: &event.Event_Gpu{Gpu: &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE,
			Message: "no NVIDIA driver on this node"}}}
	other := gpuAt("node1", "other", 5)
	for name, test := range map[string]struct {
		events []*event.Event
		want   string
	}{
		"nothing at all": {nil, "no pod was seen that matches train-0 in namespace"},
		"no GPU on any node": {[]*event.Event{blind, containerAt(at, "node1", "plain"),
			containerAt(at, "node2", "plain-2")},
			"no GPU on the examined nodes: node1: no NVIDIA driver on this node; node2: no GPU was seen"},
		"a pod without a GPU, on a node with": {[]*event.Event{{Time: at, Node: "node1", Kind: other[1].Kind},
			containerAt(at, "node1", "plain")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want == "" { // no traced pod uses the device
				g := proto.CloneOf(test.events[0])
				g.GetGpu().UsedBy = ""
				test.events[0], test.want = g,
					"no GPU of these pods: no process of theirs is on one, and none was seen to be allocated to "+
						"them: ml/plain (1 GPU on node1)"
			}
			out, _, nothing := whyOver(t, "", "", []string{"train-0"}, test.events...)
			if out != "" || nothing == nil || !strings.Contains(nothing.Error(), test.want) {
				t.Errorf("%q, %v; want %q", out, nothing, test.want)
			}
		})
	}
	_, errOut, nothing := whyOver(t, "", "", []string{"other", "plain"},
		append(other, containerAt(at+1e9, "node1", "plain"))...)
	if nothing != nil || !strings.Contains(errOut, "note: ml/plain has no GPU") {
		t.Errorf("%v, %s", nothing, errOut)
	}
}

func TestWhy_SubscribesToAllEvidence(t *testing.T) {
	for _, s := range subjects {
		for _, name := range append(s.sources, s.needs...) {
			if k := event.KindByName(name); k == nil || k.Row {
				t.Errorf("why %s: %s is no kind of event that tracers send", s.name, name)
			}
		}
		if k := event.KindByName(s.rows); k == nil || !k.Row {
			t.Errorf("why %s: %s is no kind of row", s.name, s.rows)
		}
	}
}

// TestWhy_AsksAgents judges pods by what installed agents record, now and of the past.
func TestWhy_AsksAgents(t *testing.T) {
	f := &fakeServer{coverage: coverageOf(whyPods.sources...), events: pastEvents()}
	serveAgents(t, f)
	for _, args := range []string{"--since=10m", "--mode=cluster --window=5s"} {
		_, out, errOut := orb8(t, nil, append([]string{"why", "-n", "shop", "-o", "json"}, strings.Fields(args)...)...)
		verdict := strings.Contains(out, `"pod":"web"`) || args != "--since=10m"
		if strings.Contains(errOut, "only tracers have it") || !verdict {
			t.Errorf("%s: %s%s", args, out, errOut)
		}
	}
}

// TestConnect_ChainsWithinARecording connects verdicts that stand on the same events.
func TestConnect_ChainsWithinARecording(t *testing.T) {
	const start, second = uint64(1_790_000_000_000_000_000), uint64(time.Second)
	w := pods.New(0)
	w.Observe("resources", "flow", "tcp", "dns", "drop", "exec")
	of := func(pod string, at uint64) *event.Event {
		return &event.Event{Time: at, Node: "n1", Namespace: "shop", Pod: pod, PodUid: pod}
	}
	limit, periods, zero := uint64(100), uint64(10), uint64(0)
	for i := range uint64(20) {
		at := start + i*second
		for pod, throttled := range map[string]*uint64{"users": &zero, "web": &zero, "db": &periods} {
			ev := of(pod, at)
			interval, millis := uint64(1_000_000), uint64(100)
			percent := 10 * *throttled
			ev.Kind = &event.Event_Resources{Resources: &event.Resources{Id: pod, IntervalMicros: &interval,
				Cpu: &event.ResourcesCPU{Millis: &millis, LimitMillis: &limit, Periods: &periods,
					ThrottledPeriods: throttled, ThrottledPercent: &percent}}}
			w.Add(ev)
		}
		for client, server := range map[string]string{"users": "web", "web": "db"} {
			ev := of(client, at)
			ev.Kind = &event.Event_Tcp{Tcp: &event.Tcp{Outcome: event.TCPOutcome_TCP_OUTCOME_REFUSED,
				Src:      &event.Endpoint{Namespace: "shop", Pod: client},
				Dst:      &event.Endpoint{Namespace: "shop", Pod: server, Address: []byte{10, 0, 0, 1}, Port: 80},
				Observed: event.Side_SIDE_SRC, RoleKnown: true}}
			w.Add(ev)
		}
	}
	rows := w.Verdicts()
	connect(w, rows)
	for _, ev := range rows {
		v := ev.GetPodVerdict()
		want := map[string]string{"users": "shop/users,shop/web,shop/db", "web": "shop/web,shop/db"}[ev.GetPod()]
		if v.GetChain() != want || want != "" && (v.GetRootPod() != "shop/db" ||
			v.GetRootCause() != event.PodCause_POD_CAUSE_CPU_LIMIT) {
			t.Errorf("%s: %s leads to %q, root %s %s", ev.GetPod(), v.GetVerdict().Word(), v.GetChain(),
				v.GetRootPod(), v.GetRootCause().Word())
		}
	}
}
