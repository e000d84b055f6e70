package stores

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/agent/metrics"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// node is an agent's table with events of every kind. Each step counts on.
type node struct {
	name  string
	table *metrics.Table
	step  uint64
	// sent and received are the bytes of all flows.
	sent, received uint64
}

func newNode(name string) *node {
	n := &node{name: name, table: metrics.NewTable(metrics.Options{DCGMCompat: true})}
	n.table.ApplyPods(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{{Uid: "uid-" + name, Namespace: "shop",
		Name: "web-" + name, Workload: "deploy/web"}}})
	return n
}

// Bytes of a step.
const sentStep, receivedStep = 12_345, 678

// feed counts one more step.
func (n *node) feed(t *testing.T) {
	t.Helper()
	n.step++
	n.sent += 2 * sentStep
	n.received += 2 * receivedStep
	var encoded [][]byte
	for _, ev := range append(append(n.network(), n.processes()...), n.gpus()...) {
		ev.Time, ev.Node = uint64(time.Now().UnixNano()), n.name
		if ev.GetLost() == nil && (ev.GetGpu() == nil || ev.GetGpu().GetProc() != nil) {
			ev.Namespace, ev.Pod, ev.PodUid, ev.Workload = "shop", "web-"+n.name, "uid-"+n.name, "deploy/web"
		}
		text, err := proto.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		encoded = append(encoded, text)
	}
	n.table.Observe(encoded)
}

// network are events of a pod's network: a TCP flow that lives, a UDP flow of its own for each step, and others.
func (n *node) network() (all []*event.Event) {
	pod, peer := &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 40_000}, &event.Endpoint{
		Address: []byte{10, 0, 0, 2}, Port: 80}
	phase := event.Phase_PHASE_UPDATE
	if n.step == 1 {
		phase = event.Phase_PHASE_NEW
	}
	counters := func(steps uint64) *event.Counters {
		return &event.Counters{BytesSent: sentStep * steps, BytesReceived: receivedStep * steps,
			PacketsSent: 20 * steps, PacketsReceived: 10 * steps, Retransmits: new(steps),
			SrttMicros: new(uint32(300)), Dropped: new(steps)}
	}
	responses := &event.ResponseTimes{
		Histogram: event.AppendResponses(nil, event.ResponseBucket(1_000), n.step), MaxMicros: 1_000,
		TotalMicros: 1_000 * n.step,
	}
	asked := counters(n.step)
	asked.Responses = responses
	for _, f := range []*event.Flow{
		{Protocol: event.Protocol_PROTOCOL_TCP, Phase: phase, SocketCookie: 1, StartTime: 1, SrcCounters: asked,
			Observed: event.Side_SIDE_SRC},
		{Protocol: event.Protocol_PROTOCOL_UDP, Phase: event.Phase_PHASE_CLOSED, SocketCookie: 1 + n.step, StartTime: 1,
			SrcCounters: counters(1), Observed: event.Side_SIDE_SRC},
		// It answers, and counts no bytes.
		{Protocol: event.Protocol_PROTOCOL_TCP, Phase: phase, SocketCookie: 1 << 40, StartTime: 1,
			DstCounters: &event.Counters{Responses: responses}, Observed: event.Side_SIDE_DST},
	} {
		f.Src, f.Dst = pod, peer
		all = append(all, &event.Event{Kind: &event.Event_Flow{Flow: f}})
	}
	for _, outcome := range []event.TCPOutcome{event.TCPOutcome_TCP_OUTCOME_CONNECTED,
		event.TCPOutcome_TCP_OUTCOME_REFUSED, event.TCPOutcome_TCP_OUTCOME_TIMEOUT} {
		all = append(all, &event.Event{Kind: &event.Event_Tcp{Tcp: &event.Tcp{Outcome: outcome,
			Observed: event.Side_SIDE_SRC, HandshakeMicros: new(uint64(500))}}})
	}
	for _, side := range []event.Side{event.Side_SIDE_SRC, event.Side_SIDE_DST} {
		for _, d := range []*event.Dns{
			{Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, Rcode: "NOERROR", LatencyMicros: new(uint64(2_000))},
			{Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, Rcode: "SERVFAIL", LatencyMicros: new(uint64(2_000))},
			{Outcome: event.DnsOutcome_DNS_OUTCOME_TIMEOUT},
		} {
			d.Observed = side
			all = append(all, &event.Event{Kind: &event.Event_Dns{Dns: d}})
		}
	}
	return append(all,
		&event.Event{Kind: &event.Event_Drop{Drop: &event.Drop{Id: "d", Observed: event.Side_SIDE_DST,
			Reason: "NO_SOCKET", Packets: 3 * n.step, Bytes: 180 * n.step}}},
		&event.Event{Kind: &event.Event_Lost{Lost: &event.Lost{Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: 1,
			Source: "flow"}}})
}

// processes are events of a pod's processes and its container.
func (n *node) processes() []*event.Event {
	v := func(of uint64) *uint64 { return new(of * n.step) }
	return []*event.Event{
		{Kind: &event.Event_Exec{Exec: &event.Exec{Phase: event.ExecPhase_EXEC_PHASE_EXEC}}},
		{Kind: &event.Event_Exec{Exec: &event.Exec{Phase: event.ExecPhase_EXEC_PHASE_EXIT,
			Outcome: event.ExecOutcome_EXEC_OUTCOME_EXITED}}},
		{Kind: &event.Event_Signal{Signal: &event.Signal{Signal: "SIGTERM"}}},
		{Kind: &event.Event_Syscall{Syscall: &event.Syscall{Phase: event.SyscallPhase_SYSCALL_PHASE_RETURNED,
			Name: "openat", Errno: "ENOENT", DurationNanos: new(uint64(1_000))}}},
		{Kind: &event.Event_Resources{Resources: &event.Resources{Id: "c",
			Cpu: &event.ResourcesCPU{Micros: v(1e5), LimitMillis: new(uint64(500)), Periods: v(10),
				ThrottledPeriods: v(1), ThrottledMicros: v(1e3)},
			RunQueue: &event.ResourcesRunQueue{DelayMicros: v(100)},
			Locks:    &event.ResourcesLocks{WaitedMicros: v(100)},
			Memory: &event.ResourcesMemory{Bytes: new(uint64(2 << 20)), WorkingSetBytes: new(uint64(1 << 20)),
				LimitBytes: new(uint64(4 << 20)), OomKills: new(uint64(0))},
			Pressure: &event.ResourcesPressure{CpuSomeMicros: v(10), MemorySomeMicros: v(10), MemoryFullMicros: v(10),
				IoSomeMicros: v(10), IoFullMicros: v(10)},
			Io: &event.ResourcesIO{ReadRequests: v(10), ReadBytes: v(1e4), ReadMicros: v(100), WriteRequests: v(10),
				WriteBytes: v(1e4), WriteMicros: v(100)},
		}}},
	}
}

// gpus are events of a device with one holder.
func (n *node) gpus() []*event.Event {
	device := &event.GpuDevice{Uuid: "GPU-" + n.name, Index: new(uint32(0)), Name: "H200", Minor: new(uint32(0))}
	percent, rate, v := new(50.), new(uint64(1e6)), func(of uint64) *uint64 { return new(of * n.step) }
	of := func(g *event.Gpu) *event.Event {
		g.Gpu = device
		return &event.Event{Kind: &event.Event_Gpu{Gpu: g}}
	}
	process := &event.GpuProcess{Pid: 7, MemoryBytes: new(uint64(1 << 30)), SmPercent: new(uint32(40))}
	return []*event.Event{
		of(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Processes: new(uint32(1)),
			Allocated: new(uint32(1)), AllocatedTo: "shop/web-" + n.name + "/main",
			Memory: &event.GpuMemory{TotalBytes: new(uint64(80 << 30)), UsedBytes: new(uint64(1 << 30)),
				ReservedBytes: new(uint64(1 << 20))},
			Activity: &event.GpuActivity{GpuPercent: new(uint32(50)), MemoryPercent: new(uint32(20)),
				SmPercent: percent, OccupancyPercent: percent, TensorPercent: percent, DramPercent: percent,
				PcieSentPerSecond: rate, PcieReceivedPerSecond: rate, NvlinkSentPerSecond: rate,
				NvlinkReceivedPerSecond: rate},
			Health: &event.GpuHealth{PowerMilliwatts: new(uint32(3e5)), PowerLimitMilliwatts: new(uint32(7e5)),
				TemperatureCelsius: new(uint32(60)), SmMhz: new(uint32(1980)), MemoryMhz: new(uint32(3201)),
				Throttle: "power", EccCorrected: new(uint64(1)), EccUncorrected: new(uint64(0)),
				RetiredPages: new(uint32(0)), RemappedRows: new(uint32(0))}}),
		of(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_XID, Xid: new(uint32(79))}),
		of(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_PROCESS, Proc: process}),
		of(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_CALLS, Proc: process, Calls: &event.GpuCalls{Since: 1,
			Launches: v(100), GraphLaunches: v(1), Copies: v(10), HostToDeviceBytes: v(1e6), DeviceToHostBytes: v(1e5),
			DeviceToDeviceBytes: v(1e4), CopyMicros: v(100), Syncs: v(10), SyncMicros: v(100), Allocations: v(1),
			Failures: v(1), Collectives: v(1)}}),
	}
}
