package render

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

var update = flag.Bool("update", false, "write the golden files")

const base = uint64(1_700_000_000_123_456_789)

func flowKind() []*event.Kind { return []*event.Kind{event.KindByName("flow")} }

// sample are events of the shapes that a trace of the network makes.
func sample() []*event.Event {
	joined := &event.Event{
		Time: base, Node: "node-1", Namespace: "demo", Pod: "client-6c7f9d5b8-x2x9z", Container: "client",
		Kind: &event.Event_Flow{Flow: &event.Flow{
			Id: "a1b2c3d4e5f60718", Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_UPDATE,
			State: event.TCPState_TCP_STATE_ESTABLISHED, Observed: event.Side_SIDE_SRC,
			Src: &event.Endpoint{
				Address: []byte{10, 244, 0, 5}, Port: 43210, Pid: 4242, Comm: "curl", Namespace: "demo",
				Pod: "client-6c7f9d5b8-x2x9z", Container: "client", Workload: "deploy/client", Node: "node-1",
			},
			Dst: &event.Endpoint{
				Address: []byte{10, 244, 1, 7}, Port: 8080, Pid: 99, Comm: "nginx", Namespace: "demo",
				Pod: "api-7d9f5c6b7-abcde", Container: "nginx", Workload: "deploy/api", Node: "node-2",
				Service: "api", ServiceNamespace: "demo", ServiceAddress: []byte{10, 96, 0, 10}, ServicePort: 80,
			},
			SrcCounters: &event.Counters{
				BytesSent: 1_234_567, BytesReceived: 987, PacketsSent: 900, PacketsReceived: 450,
				Retransmits: proto.Uint64(3), SrttMicros: proto.Uint32(1240),
			},
			DstCounters: &event.Counters{
				BytesSent: 987, BytesReceived: 1_234_567, PacketsSent: 450, PacketsReceived: 897,
				Retransmits: proto.Uint64(1), SrttMicros: proto.Uint32(87),
			},
			StartTime: base - 5e9, LastTime: base - 1e6,
		}},
	}
	outside := &event.Event{
		Time: base + 1e6, Node: "node-1", Namespace: "demo", Pod: "client-6c7f9d5b8-x2x9z",
		Kind: &event.Event_Flow{Flow: &event.Flow{
			Id: "0000000000000001", Protocol: event.Protocol_PROTOCOL_UDP, Phase: event.Phase_PHASE_NEW,
			Observed: event.Side_SIDE_SRC,
			Src: &event.Endpoint{
				Address: netip6("fd00::5"), Port: 40000, Comm: "日本\x1b[2J", Namespace: "demo",
				Pod: "client-6c7f9d5b8-x2x9z",
			},
			Dst:         &event.Endpoint{Address: netip6("2001:db8::1"), Port: 53},
			SrcCounters: &event.Counters{BytesSent: 40, PacketsSent: 1},
		}},
	}
	other := &event.Event{
		Time: base + 2e6, Node: "node-2", Namespace: "other", Pod: "db-0", Container: "pg",
		Kind: &event.Event_Flow{Flow: &event.Flow{
			Id: "0000000000000002", Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_CLOSED,
			State: event.TCPState_TCP_STATE_CLOSE, Observed: event.Side_SIDE_DST,
			Src: &event.Endpoint{Address: []byte{172, 18, 0, 3}, Port: 50000, Node: "node-1"},
			Dst: &event.Endpoint{Address: []byte{10, 244, 1, 9}, Port: 5432, Pid: 7, Comm: "postgres",
				Namespace: "other", Pod: "db-0"},
			DstCounters: &event.Counters{BytesSent: 5 << 30, BytesReceived: 12, PacketsSent: 4_000_000,
				PacketsReceived: 9},
		}},
	}
	lost := &event.Event{Time: base + 3e6, Node: "node-2", Kind: &event.Event_Lost{Lost: &event.Lost{
		Stage: event.LossStage_LOSS_STAGE_KERNEL_BUFFER, Count: 12, Source: "flows",
	}}}
	failed := &event.Event{Time: base + 4e6, Node: "node-3",
		Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{
			State: event.NodeState_NODE_STATE_FAILED, Message: "no BTF\n\u202efdp.exe",
		}}}
	return []*event.Event{joined, outside, other, lost, failed}
}

func print(t *testing.T, o Options, events ...*event.Event) (out, notices string) {
	t.Helper()
	var b, n bytes.Buffer
	o.Out, o.Notices, o.Location = &b, &n, time.UTC
	if o.Kinds == nil {
		o.Kinds = flowKind()
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if err := p.Print(ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), n.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("output differs from %s (write it with -update):\n%s", path, got)
	}
}

func TestFormats_MatchGoldenFiles(t *testing.T) {
	for name, o := range map[string]Options{
		"table":             {Namespace: "demo"},
		"table-all":         {Output: "table"},
		"table-no-headers":  {Output: "table", NoHeaders: true},
		"wide":              {Output: "wide", Namespace: "demo"},
		"json":              {Output: "json"},
		"yaml":              {Output: "yaml"},
		"jsonpath":          {Output: `jsonpath={.src.pod}{"\t"}{.dst.service}{"\t"}{.bytesSent}{"\n"}`},
		"custom-columns":    {Output: "custom-columns=FROM:.src.pod,TO:.dst.pod,BYTES:.bytesSent,RETR:.retransmits"},
		"sort-by":           {Output: "custom-columns=bytesSent,protocol", SortBy: ".bytesSent"},
		"sort-by-down":      {Output: "custom-columns=bytesSent,retransmits", SortBy: "-retransmits"},
		"table-every-kind":  {Output: "table", Kinds: event.Kinds()},
		"custom-every-kind": {Output: "custom-columns=kind,count,protocol,message", Kinds: event.Kinds()},
	} {
		t.Run(name, func(t *testing.T) {
			out, notices := print(t, o, sample()...)
			golden(t, name+".golden", out)
			if notices != "" {
				golden(t, name+".notices", notices)
			}
		})
	}
}
