package tui

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

var start = time.Unix(1_700_000_000, 0)

// world is a model in which a minute has gone by, and its clock.
type world struct {
	*model.Model
	now time.Time
}

func newWorld(topic string) *world {
	return &world{
		Model: model.New(model.TopicByName(topic), model.Options{Started: start}), now: start.Add(time.Minute),
	}
}

func (w *world) node(name string, state event.NodeState, message string) {
	w.Add(&event.Event{
		Node: name, Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{State: state, Message: message}},
	}, start)
}

func (w *world) lose(node string, n uint64) {
	w.Add(&event.Event{
		Node: node, Kind: &event.Event_Lost{Lost: &event.Lost{Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: n}},
	}, start.Add(50*time.Second))
}

// loseTo adds a loss of one pod that another pod caused.
func (w *world) loseTo(node, name, cause string, n uint64) {
	w.Add(&event.Event{Node: node, Namespace: "shop", Pod: name, Kind: &event.Event_Lost{Lost: &event.Lost{
		Stage: event.LossStage_LOSS_STAGE_KERNEL_BUFFER, Source: "flow", Count: n,
		CausedBy: &event.PodRef{Namespace: "shop", Pod: cause},
	}}}, start.Add(50*time.Second))
}

func pod(name string) *event.Endpoint {
	return &event.Endpoint{
		Namespace: "shop", Pod: name + "-7d9f", Container: "main", Workload: "deploy/" + name,
		Node: "node-" + string(name[0]), Comm: name, Port: 8080,
	}
}

// talk is a flow of a minute.
func (w *world) talk(id, from, to string, perSecond uint64, rtt uint32) {
	src, dst := pod(from), pod(to)
	dst.Service, dst.ServiceNamespace, dst.ServicePort = to, "shop", 80
	zero := uint64(0)
	for second := range 60 {
		wave := uint64(float64(perSecond) * (1 + 0.8*math.Sin(float64(second)/6)) * float64(second+1))
		phase := event.Phase_PHASE_UPDATE
		if second == 0 {
			phase = event.Phase_PHASE_NEW
		}
		w.Add(
			&event.Event{
				Node:      src.Node,
				Namespace: src.Namespace,
				Pod:       src.Pod,
				Kind: &event.Event_Flow{Flow: &event.Flow{
					Id: id, Protocol: event.Protocol_PROTOCOL_TCP, Phase: phase, Src: src, Dst: dst,
					StartTime: uint64(start.UnixNano()),
					SrcCounters: &event.Counters{
						BytesSent: wave, BytesReceived: 7 * wave, SrttMicros: &rtt, Retransmits: &zero,
					},
					DstCounters: &event.Counters{BytesSent: 7 * wave, BytesReceived: wave},
				}},
			},
			start.Add(time.Duration(second)*time.Second),
		)
	}
}

func (w *world) refuse(from, to string, times int) {
	src, dst := pod(from), pod(to)
	for i := range times {
		w.Add(
			&event.Event{
				Node:      src.Node,
				Namespace: src.Namespace,
				Pod:       src.Pod,
				Container: "main",
				Workload:  src.Workload,
				Kind: &event.Event_Tcp{Tcp: &event.Tcp{
					Outcome: event.TCPOutcome_TCP_OUTCOME_REFUSED, Src: src, Dst: dst, Observed: event.Side_SIDE_SRC,
				}},
			},
			start.Add(time.Duration(59-i%5)*time.Second),
		)
	}
}

func networkWorld() *world {
	w := newWorld("network")
	w.node("node-w", event.NodeState_NODE_STATE_STREAMING, "")
	w.node("node-d", event.NodeState_NODE_STATE_STREAMING, "")
	w.talk("a", "web", "db", 12_000, 180)
	w.talk("b", "web", "cache", 90_000, 75)
	w.talk("c", "worker", "db", 1_500, 900)
	w.talk("d", "訂單服務", "db", 500, 1200)
	w.refuse("worker", "queue", 9)
	return w
}

func dnsWorld() *world {
	w := newWorld("dns")
	w.node("node-w", event.NodeState_NODE_STATE_STREAMING, "")
	for i := range 400 {
		name, rcode, micros := "db.shop.svc.cluster.local.", "NOERROR", uint64(200+i)
		if i%4 == 0 {
			name, rcode = fmt.Sprintf("db.shop.svc.cluster.local.%d.shop.svc.cluster.local.", i%3), "NXDOMAIN"
		}
		w.Add(&event.Event{Kind: &event.Event_Dns{Dns: &event.Dns{
			Name: name, Type: "A", Rcode: rcode, Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, LatencyMicros: &micros,
			Src: pod("web"), Dst: pod("dns"),
		}}}, start.Add(time.Duration(i)*150*time.Millisecond))
	}
	return w
}

func syscallWorld() *world {
	w := newWorld("syscalls")
	w.node("node-w", event.NodeState_NODE_STATE_STREAMING, "")
	for second := range uint64(60) {
		for i, name := range []string{"futex", "read", "write", "epoll_pwait", "openat"} {
			calls := (second + 1) * uint64(1000>>i)
			total := calls * uint64(3000<<i)
			histogram := make([]uint64, 6+i)
			histogram[4], histogram[5+i] = calls*9/10, calls/10
			w.Add(
				&event.Event{
					Node:      "node-w",
					Namespace: "shop",
					Pod:       "web-7d9f",
					Container: "main",
					Workload:  "deploy/web",
					Kind: &event.Event_SyscallSummary{
						SyscallSummary: &event.SyscallSummary{
							Id: name, Name: name, Calls: calls, Errors: calls / 50 * uint64(i), TotalNanos: &total,
							Histogram: histogram,
						},
					},
				},
				start.Add(time.Duration(second)*time.Second),
			)
		}
	}
	return w
}

// gpuWorld is a minute of five GPUs: at work, held and idle, free, used by one that was not given it, and one that
// tells little and is shared. Processes are on them, of one of which launches are not counted.
func gpuWorld() *world {
	w := newWorld("gpu")
	w.node("gpu-a", event.NodeState_NODE_STATE_STREAMING, "")
	w.node("gpu-b", event.NodeState_NODE_STATE_STREAMING, "")
	number := func(n uint32) *uint32 { return &n }
	big := func(n uint64) *uint64 { return &n }
	for second := range 60 {
		at := start.Add(time.Duration(second) * time.Second)
		for i, user := range []string{
			"ml/train-0/main", "ml/notebook/main", "", "other", "ml/serve-a/main,ml/serve-b/main",
		} {
			wave := 0.5 + 0.4*math.Sin(float64(second)/6+float64(i))
			index, own, all := uint32(i), uint32(1), uint32(1)
			if user == "" || user == "other" {
				own = 0
			}
			if user == "" {
				all = 0
			}
			if user == "other" {
				user = ""
			}
			percent, sm := uint32(100*wave), 90*wave
			if i == 1 || i == 2 {
				percent, sm = 0, 0
			}
			g := &event.Gpu{
				Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE,
				Gpu: &event.GpuDevice{
					Uuid:  fmt.Sprint("GPU-", i),
					Index: &index,
					Name:  "NVIDIA H100 80GB HBM3",
				},
				Memory:       &event.GpuMemory{TotalBytes: big(80 << 30), UsedBytes: big(uint64(all) * 61 << 30)},
				PeriodMicros: big(1e6),
				Processes:    &all,
				OwnProcesses: &own,
				UsedBy:       user,
			}
			uses := []event.GpuUse{
				event.GpuUse_GPU_USE_BUSY, event.GpuUse_GPU_USE_IDLE, event.GpuUse_GPU_USE_FREE,
				event.GpuUse_GPU_USE_BYPASS, event.GpuUse_GPU_USE_UNKNOWN,
			}
			if g.Use = uses[i]; i < 2 {
				g.Allocated, g.AllocatedTo = number(1), user
			}
			if i < 4 {
				pcie := uint64(3e9 * wave)
				tensor, dram := sm/2, sm/3
				g.Activity = &event.GpuActivity{
					GpuPercent: &percent, SmPercent: &sm, TensorPercent: &tensor, DramPercent: &dram,
					PcieReceivedPerSecond: &pcie,
				}
				g.Health = &event.GpuHealth{
					PowerMilliwatts: number(70_000 + percent*6000), PowerLimitMilliwatts: number(700_000),
					TemperatureCelsius: number(35 + percent/3), Throttle: "none",
				}
			}
			node := "gpu-a"
			if i > 2 {
				node = "gpu-b"
			}
			w.Add(&event.Event{Node: node, Kind: &event.Event_Gpu{Gpu: g}}, at)
			for n, name := range strings.Split(g.GetUsedBy(), ",") {
				parts := strings.Split(name, "/")
				if len(parts) < 3 {
					continue
				}
				of := func(what event.GpuEventType) *event.Event {
					return &event.Event{
						Time: uint64(at.UnixNano()), Node: node, Namespace: parts[0], Pod: parts[1],
						Container: parts[2], Workload: "job/" + strings.TrimSuffix(parts[1], "-0"),
						Kind: &event.Event_Gpu{
							Gpu: &event.Gpu{
								Type:         what,
								Proc:         &event.GpuProcess{Pid: uint32(4000 + 10*i + n), Comm: []byte("python3")},
								PeriodMicros: big(1e6),
							},
						},
					}
				}
				process := of(event.GpuEventType_GPU_EVENT_TYPE_PROCESS)
				process.GetGpu().Gpu, process.GetGpu().Proc.MemoryBytes = g.Gpu, big(60<<30)
				if i == 0 {
					process.GetGpu().Proc.SmPercent = &percent
				}
				w.Add(process, at)
				calls := of(event.GpuEventType_GPU_EVENT_TYPE_CALLS)
				so := uint64(second + 1)
				calls.GetGpu().Calls = &event.GpuCalls{
					Since: uint64(start.Add(-time.Second).UnixNano()), HostToDeviceBytes: big(so * 1e9),
					SyncMicros: big(so * 420_000),
				}
				if i != 1 {
					calls.GetGpu().Calls.Launches = big(so * 12_000)
				} else {
					calls.GetGpu().Calls.HostToDeviceBytes, calls.GetGpu().Calls.SyncMicros = big(7), big(0)
				}
				w.Add(calls, at)
			}
		}
	}
	return w
}
