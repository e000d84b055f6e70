package pods

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	start  = uint64(1_790_000_000_000_000_000)
	second = uint64(1_000_000_000)
	window = 30
)

// sample is what a container uses in a second.
type sample struct {
	millis, limit, throttled, delayMicros, switches uint64
	memory, memoryLimit, psiMemory, psiIO           uint64
	ooms, cache                                     uint64
	lockWaiters                                     float64
	node                                            uint64 // 0: not known
	overflows                                       uint64 // a second; 0: not known
}

// world makes the events of a pod.
type world struct{ events []*event.Event }

func (w *world) add(second int, ev *event.Event) {
	ev.Time, ev.Node, ev.Namespace, ev.Pod = start+uint64(second)*1e9, "n1", "shop", "web"
	ev.Workload = "deploy/web"
	w.events = append(w.events, ev)
}

// uses adds a sample for each second of the window.
func (w *world) uses(s sample) *world {
	var delay, runs, cpu uint64
	for i := range window + 1 {
		delay += s.delayMicros
		runs += s.switches
		cpu += s.millis * 1000
		r := &event.Resources{
			Id: "c1", IntervalMicros: proto.Uint64(1e6),
			Cpu:      &event.ResourcesCPU{Micros: proto.Uint64(cpu), Millis: proto.Uint64(s.millis)},
			RunQueue: &event.ResourcesRunQueue{DelayMicros: proto.Uint64(delay), Runs: proto.Uint64(runs)},
			Locks:    &event.ResourcesLocks{Waiters: proto.Float64(s.lockWaiters)},
			Memory: &event.ResourcesMemory{WorkingSetBytes: proto.Uint64(s.memory),
				Bytes: proto.Uint64(s.memory + s.cache), OomKills: proto.Uint64(0)},
			Pressure: &event.ResourcesPressure{
				MemorySomePercent: proto.Uint64(s.psiMemory), IoSomePercent: proto.Uint64(s.psiIO),
			},
		}
		if s.node > 0 {
			r.Cpu.NodePercent = proto.Uint64(s.node)
		}
		if s.limit > 0 {
			r.Cpu.LimitMillis, r.Cpu.ThrottledPercent = proto.Uint64(s.limit), proto.Uint64(s.throttled)
		}
		if s.memoryLimit > 0 {
			r.Memory.LimitBytes = proto.Uint64(s.memoryLimit)
			r.Memory.Percent = proto.Uint64(100 * s.memory / s.memoryLimit)
		}
		if i > window/2 {
			r.Memory.OomKills = proto.Uint64(s.ooms)
		}
		if s.overflows > 0 {
			r.Network = &event.ResourcesNetwork{ListenOverflows: proto.Uint64(1000 + s.overflows*uint64(i))}
		}
		w.add(i, &event.Event{Kind: &event.Event_Resources{Resources: r}})
	}
	return w
}

func end(last byte, port uint32) *event.Endpoint {
	return &event.Endpoint{Address: []byte{10, 0, 0, last}, Port: port}
}

func service(name string, port uint32) *event.Endpoint {
	return &event.Endpoint{Address: []byte{10, 0, 0, 9}, Port: port, Service: name, ServiceNamespace: "shop",
		ServicePort: port}
}

// connects adds an attempt each second; change changes each.
func (w *world) connects(to *event.Endpoint, outcome event.TCPOutcome, change func(i int, t *event.Tcp)) *world {
	for i := range window {
		t := &event.Tcp{
			Outcome: outcome, Src: end(1, 40000+uint32(i)), Dst: to, Observed: event.Side_SIDE_SRC, RoleKnown: true,
			SocketCookie: uint64(1000 + i),
		}
		if change != nil {
			change(i, t)
		}
		w.add(i, &event.Event{Kind: &event.Event_Tcp{Tcp: t}})
	}
	return w
}

// looksUp adds lookups each second, of which change changes each.
func (w *world) resolves(perSecond int, names []string, change func(i int, d *event.Dns)) *world {
	for i := range window * perSecond {
		d := &event.Dns{
			Src: end(1, 40000), Dst: service("kube-dns", 53), Observed: event.Side_SIDE_SRC,
			Name: names[i%len(names)], Type: "A", Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, Rcode: "NOERROR",
			LatencyMicros: proto.Uint64(300), Attempts: 1,
		}
		if change != nil {
			change(i, d)
		}
		w.add(i/perSecond, &event.Event{Kind: &event.Event_Dns{Dns: d}})
	}
	return w
}

// sends adds a connection that sends segments each second, some of them twice.
func (w *world) sends(id string, to *event.Endpoint, segments, retransmits uint64) *world {
	for i := range window + 1 {
		n := uint64(i)
		w.add(i, &event.Event{Kind: &event.Event_Flow{Flow: &event.Flow{
			Id: id, Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_UPDATE,
			Src: &event.Endpoint{Namespace: "shop", Pod: "web", Address: []byte{10, 0, 0, 1}, Port: 40000}, Dst: to,
			SrcCounters: &event.Counters{
				PacketsSent:     n * segments,
				PacketsReceived: n + 1,
				Retransmits:     proto.Uint64(n * retransmits),
			},
		}}})
	}
	return w
}

// waits adds a connection on which a response is waited for each second.
func (w *world) waits(id string, to *event.Endpoint, micros uint64) *world {
	for i := range window + 1 {
		n := uint64(i)
		responses := &event.ResponseTimes{TotalMicros: n * micros, MaxMicros: micros}
		if n > 0 {
			responses.Histogram = event.AppendResponses(nil, event.ResponseBucket(micros), n)
		}
		w.add(i, &event.Event{Kind: &event.Event_Flow{Flow: &event.Flow{
			Id: id, Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_UPDATE,
			Src: &event.Endpoint{Namespace: "shop", Pod: "web", Address: []byte{10, 0, 0, 1}, Port: 40000}, Dst: to,
			SrcCounters: &event.Counters{PacketsSent: n, PacketsReceived: n, Responses: responses},
		}}})
	}
	return w
}

func (w *world) drops(reason string, observed event.Side, other *event.Endpoint) *world {
	d := &event.Drop{
		Id:       "d",
		Protocol: event.Protocol_PROTOCOL_TCP,
		Src:      end(1, 40000),
		Dst:      other,
		Observed: observed,
		Reason:   reason,
		Packets:  30,
	}
	w.add(20, &event.Event{Kind: &event.Event_Drop{Drop: d}})
	return w
}

// fails adds a process that fails to open a file and ends.
func (w *world) fails(path, errno string, containerPID, code uint32) *world {
	for i := 5; i < window; i += 5 {
		w.add(i, &event.Event{Kind: &event.Event_Syscall{Syscall: &event.Syscall{
			Pid: uint32(100 + i), Name: "openat", Path: []byte(path), Errno: errno, Result: proto.Int64(-2),
		}}})
		w.add(i, &event.Event{Kind: &event.Event_Exec{Exec: &event.Exec{
			Phase: event.ExecPhase_EXEC_PHASE_EXIT, Pid: uint32(100 + i), ContainerPid: containerPID,
			Outcome: event.ExecOutcome_EXEC_OUTCOME_EXITED, ExitCode: &code,
		}}})
	}
	return w
}

var allSources = []string{"resources", "flow", "tcp", "dns", "drop", "exec", "syscall"}

// judge returns the verdict about the pod.
func judge(t *testing.T, w *world, change func(*Watch)) *event.PodVerdict {
	t.Helper()
	watch := New(window * time.Second)
	watch.Observe(allSources...)
	// The events of a node are in the order of time.
	for i := range window + 1 {
		for _, ev := range w.events {
			if ev.GetTime() == start+uint64(i)*second {
				watch.Add(ev)
			}
		}
	}
	watch.SetFacts(&Facts{Namespace: "shop", Name: "web", Node: "n1", Ready: true, Old: true, Running: true})
	if change != nil {
		change(watch)
	}
	rows := watch.Verdicts()
	for _, ev := range rows {
		if ev.GetPod() == "web" {
			return ev.GetPodVerdict()
		}
	}
	t.Fatalf("verdicts %v", rows)
	return nil
}

var calm = sample{millis: 20, delayMicros: 200, switches: 50, memory: 20 << 20, memoryLimit: 100 << 20}

func TestVerdicts_NameTheCause(t *testing.T) {
	refusedBy := func(e *event.Endpoint) *world {
		return new(world).uses(calm).connects(e, event.TCPOutcome_TCP_OUTCOME_REFUSED, nil)
	}
	rejected := func(e *event.Endpoint) *world {
		return new(world).uses(calm).connects(e, event.TCPOutcome_TCP_OUTCOME_REFUSED, func(_ int, x *event.Tcp) {
			x.Cause = event.TCPCause_TCP_CAUSE_ICMP
		})
	}
	noPort := service("api", 81)
	noPort.ServiceNote = event.ServiceNote_SERVICE_NOTE_NO_SUCH_PORT
	retries := func(i int, x *event.Tcp) {
		x.State, x.SynRetransmits = event.TCPState_TCP_STATE_SYN_SENT, proto.Uint32(3)
		x.SocketCookie = uint64(i / 10)
	}
	for name, c := range map[string]struct {
		world  *world
		change func(*Watch)
		want   event.PodCause
		peer   string
	}{
		"idle": {world: new(world).uses(calm), want: idle},
		"busy, unlimited": {world: new(world).uses(sample{millis: 950, delayMicros: 40_000, switches: 100}),
			want: busy},
		"a CPU limit": {world: new(world).uses(sample{millis: 200, limit: 200, throttled: 95, delayMicros: 5000}),
			want: cpuLimit},
		"a node with idle CPUs": {
			world: new(world).uses(sample{millis: 200, delayMicros: 800_000, node: 55}), want: idle,
		},
		"a lock, on a node with idle CPUs": {
			world: new(world).uses(sample{millis: 200, delayMicros: 800_000, node: 70, lockWaiters: 6}), want: lock,
		},
		"a busy node": {
			world: new(world).uses(sample{millis: 200, delayMicros: 800_000, node: 97}), want: crowdedNode,
		},
		"a crowded node": {world: new(world).uses(sample{millis: 200, delayMicros: 800_000}), want: crowdedNode},
		"throttled, and the threads wait": {
			world: new(world).uses(sample{millis: 200, limit: 200, throttled: 95, delayMicros: 800_000}),
			want:  cpuLimit},
		"a cache that fills the limit": {world: new(world).uses(sample{millis: 100, memory: 10 << 20, cache: 89 << 20,
			memoryLimit: 100 << 20, psiIO: 5}), want: idle},
		"pages that do not fit": {world: new(world).uses(sample{millis: 17, memory: 25 << 20, cache: 74 << 20,
			memoryLimit: 100 << 20, psiMemory: 7, psiIO: 87}), want: memoryLimit},
		"a memory limit": {world: new(world).uses(sample{millis: 100, memory: 97 << 20, memoryLimit: 100 << 20,
			psiMemory: 60, psiIO: 70}), want: memoryLimit},
		"a node without memory": {world: new(world).uses(sample{millis: 100, memory: 10 << 20, memoryLimit: 100 << 20,
			psiMemory: 60, psiIO: 40}), want: memoryPressure},
		"an OOM kill": {world: new(world).uses(sample{millis: 20, memory: 99 << 20, memoryLimit: 100 << 20, ooms: 1}),
			want: oomKilled},
		"a slow disk": {world: new(world).uses(sample{millis: 20, psiIO: 90}), want: diskWait},

		"DNS is dead": {world: new(world).uses(calm).resolves(1, []string{"api.example.com."},
			func(_ int, d *event.Dns) {
				d.Outcome, d.Rcode, d.LatencyMicros = event.DnsOutcome_DNS_OUTCOME_TIMEOUT, "", nil
			}), want: dnsTimeout, peer: "service shop/kube-dns:53"},
		"DNS fails": {world: new(world).uses(calm).resolves(1, []string{"api.example.com."},
			func(_ int, d *event.Dns) { d.Rcode = "SERVFAIL" }), want: dnsTimeout, peer: "service shop/kube-dns:53"},
		"DNS is slow": {world: new(world).uses(calm).resolves(2, []string{"api.example.com."},
			func(_ int, d *event.Dns) { d.LatencyMicros = proto.Uint64(300_000) }), want: dnsSlow,
			peer: "service shop/kube-dns:53"},
		"a search path": {world: new(world).uses(calm).resolves(40, []string{"api.example.com.shop.svc.cluster.local.",
			"api.example.com.svc.cluster.local.", "api.example.com.cluster.local.", "api.example.com."},
			func(_ int, d *event.Dns) {
				if strings.Contains(d.GetName(), "cluster") {
					d.Rcode = "NXDOMAIN"
				}
			}), want: dnsSearch},
		"few external names": {world: new(world).uses(calm).resolves(4, []string{
			"api.example.com.shop.svc.cluster.local.", "api.example.com.svc.cluster.local.",
			"api.example.com.cluster.local.", "api.example.com."}, func(_ int, d *event.Dns) {
			if strings.Contains(d.GetName(), "cluster") {
				d.Rcode = "NXDOMAIN"
			}
		}), want: idle},
		"a wrong name": {world: new(world).uses(calm).resolves(2, []string{"databse.shop.svc.cluster.local."},
			func(_ int, d *event.Dns) { d.Rcode = "NXDOMAIN" }), want: dnsNotFound,
			peer: "databse.shop.svc.cluster.local"},
		"chatty DNS": {world: new(world).uses(calm).resolves(100, []string{"db.shop.svc.cluster.local."}, nil),
			want: idle},

		"refused":    {world: refusedBy(end(7, 5432)), want: refused, peer: "10.0.0.7:5432"},
		"wrong port": {world: refusedBy(noPort), want: wrongPort, peer: "service shop/api:81"},
		"no endpoints": {world: refusedBy(service("api", 80)), want: noEndpoints, peer: "service shop/api:80",
			change: func(w *Watch) {
				for _, s := range w.Failing() {
					w.SetEndpoints(s, Endpoints{})
				}
			}},
		"a Service that has endpoints": {world: refusedBy(service("api", 80)), want: refused,
			peer: "service shop/api:80"},
		"a Service that a rule rejects": {world: rejected(service("api", 80)), want: noEndpoints,
			peer: "service shop/api:80"},
		"a Service that was scaled to none": {world: rejected(service("api", 80)).connects(service("api", 80),
			event.TCPOutcome_TCP_OUTCOME_CONNECTED, nil), want: idle},
		"an address that a policy rejects": {world: rejected(end(7, 80)), want: policyDrop, peer: "10.0.0.7:80"},
		"no port left for any": {world: new(world).uses(calm).connects(end(7, 80),
			event.TCPOutcome_TCP_OUTCOME_FAILED, nil), want: churn, peer: "10.0.0.7:80"},
		"a Service that a policy rejects": {world: rejected(service("api", 80)), want: policyDrop,
			peer:   "service shop/api:80",
			change: func(w *Watch) { w.SetEndpoints(Service{"shop", "api"}, Endpoints{Ready: true}) }},
		"a little waiting": {world: new(world).uses(sample{millis: 13, delayMicros: 80_000}), want: idle},
		"a name of a Service": {world: new(world).uses(calm).resolves(2, []string{
			"db-0.db.shop.svc.cluster.local.shop.svc.cluster.local.",
			"db-0.db.shop.svc.cluster.local.svc.cluster.local.",
			"db-0.db.shop.svc.cluster.local.cluster.local.", "db-0.db.shop.svc.cluster.local."},
			func(i int, d *event.Dns) {
				if i%4 != 3 {
					d.Rcode = "NXDOMAIN"
				}
			}), want: idle},
		"a Service of another namespace": {world: new(world).uses(calm).resolves(2, []string{
			"db.other.shop.svc.cluster.local.", "db.other.svc.cluster.local."}, func(i int, d *event.Dns) {
			if i%2 == 0 {
				d.Rcode = "NXDOMAIN"
			}
		}), want: idle},
		"nobody answers": {world: new(world).uses(calm).connects(end(7, 80), event.TCPOutcome_TCP_OUTCOME_RETRANSMITS,
			retries), want: unanswered, peer: "10.0.0.7:80"},
		"a policy": {world: new(world).uses(calm).connects(end(7, 80),
			event.TCPOutcome_TCP_OUTCOME_RETRANSMITS, retries).
			drops("NETFILTER_DROP", event.Side_SIDE_SRC, end(7, 80)), want: policyDrop, peer: "10.0.0.7:80"},
		"resets": {world: new(world).uses(calm).connects(end(7, 80), event.TCPOutcome_TCP_OUTCOME_CONNECTED, nil).
			connects(end(7, 80), event.TCPOutcome_TCP_OUTCOME_RESET, func(_ int, x *event.Tcp) {
				x.ResetBy = event.TCPEnd_TCP_END_PEER
			}), want: reset, peer: "10.0.0.7:80"},
		"its own resets": {world: new(world).uses(calm).connects(end(7, 80), event.TCPOutcome_TCP_OUTCOME_RESET,
			func(_ int, x *event.Tcp) { x.ResetBy = event.TCPEnd_TCP_END_LOCAL }), want: idle},
		"no port left": {world: new(world).uses(calm).connects(end(7, 80), event.TCPOutcome_TCP_OUTCOME_CONNECTED, nil).
			connects(end(7, 80), event.TCPOutcome_TCP_OUTCOME_FAILED, func(_ int, x *event.Tcp) {
				x.Error = ""
			}), want: churn, peer: "10.0.0.7:80"},
		"a full queue": {world: new(world).uses(calm).connects(end(1, 8080), event.TCPOutcome_TCP_OUTCOME_ACCEPTED,
			func(_ int, x *event.Tcp) { x.Observed = event.Side_SIDE_DST }).
			drops("TCP_LISTEN_OVERFLOW", event.Side_SIDE_DST, end(1, 8080)), want: backlogFull},
		"a full queue, by its counter": {world: new(world).uses(sample{millis: 20, memory: calm.memory, overflows: 3}).
			connects(end(1, 8080), event.TCPOutcome_TCP_OUTCOME_ACCEPTED,
				func(_ int, x *event.Tcp) { x.Observed = event.Side_SIDE_DST }), want: backlogFull},
		"losses": {world: new(world).uses(calm).sends("f1", end(7, 80), 100, 2).sends("f2", end(8, 80), 100, 0),
			want: packetLoss, peer: "10.0.0.7:80"},
		"a slow peer": {world: new(world).uses(calm).waits("f1", end(7, 80), 300_000).waits("f2", end(8, 80), 900),
			want: slowPeer, peer: "10.0.0.7:80"},
		"quick peers": {world: new(world).uses(calm).waits("f1", end(7, 80), 4000).waits("f2", end(8, 80), 900),
			want: idle},
		"a long poll":       {world: new(world).uses(calm).waits("f1", end(7, 80), 5_000_000), want: idle},
		"hardly any losses": {world: new(world).uses(calm).sends("f1", end(7, 80), 1000, 0), want: idle},

		"a missing file": {world: new(world).uses(calm).fails("/etc/app/conf.yaml", "ENOENT", 1, 1), want: missingFile,
			peer: "openat /etc/app/conf.yaml: ENOENT"},
		"access denied": {world: new(world).uses(calm).fails("/data/db", "EACCES", 1, 1), want: permission,
			peer: "openat /data/db: EACCES"},
		"an optional file": {world: new(world).uses(calm).fails("/usr/lib/locale/C/LC_ALL", "ENOENT", 1, 3),
			want: crash},
		"a child that fails": {world: new(world).uses(calm).fails("/etc/app/conf.yaml", "ENOENT", 40, 1), want: idle},
		"a container that ends well": {world: new(world).uses(calm).fails("/etc/app/conf.yaml", "ENOENT", 1, 0),
			want: idle},
		"a crash long ago": {world: new(world).uses(calm), want: crash, change: func(w *Watch) {
			w.SetFacts(&Facts{Namespace: "shop", Name: "web", Restarting: true, Restarts: 7, LastEnd: "exit code 2"})
		}},
		"failing probes": {world: new(world).uses(calm), want: probeFailing, change: func(w *Watch) {
			w.SetFacts(&Facts{Namespace: "shop", Name: "web", Restarting: true, ProbeFailures: 9, KilledByProbe: true})
		}},
		"not ready": {world: new(world).uses(calm), want: unknown, change: func(w *Watch) {
			w.SetFacts(&Facts{Namespace: "shop", Name: "web", Running: true, Old: true})
		}},
		"threads that wait for a mutex": {world: new(world).uses(sample{millis: 200, delayMicros: 20_000,
			lockWaiters: 6}), want: lock},
		"a mutex that is held while it works": {world: new(world).uses(sample{millis: 1000, lockWaiters: 3}),
			want: lock},
		"a thread that waits for another one's end": {world: new(world).uses(sample{millis: 20, lockWaiters: 1}),
			want: idle},
		"many threads that work, two wait for a mutex": {world: new(world).uses(sample{millis: 8000, lockWaiters: 2}),
			want: busy},
		"a busy program with some waits for mutexes": {world: new(world).uses(sample{millis: 1800, switches: 20_000,
			lockWaiters: 0.8}), want: busy},
		"throttled while it holds a mutex": {world: new(world).uses(sample{millis: 200, limit: 200, throttled: 95,
			lockWaiters: 6}), want: cpuLimit},
		"waiting for a CPU while it holds a mutex": {world: new(world).uses(sample{millis: 200, delayMicros: 1_600_000,
			lockWaiters: 6}), want: crowdedNode},
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(t, c.world, c.change)
			if v.GetVerdict() != c.want || v.GetPeer() != c.peer {
				t.Fatalf("%s about %q, want %s about %q: shares %v, %v", v.GetVerdict().Word(), v.GetPeer(),
					c.want.Word(), c.peer, v.GetShares(), v.GetEvidence())
			}
			if v.GetWords() == "" || v.GetNext() == "" || strings.Contains(v.GetWords(), "PEER") {
				t.Errorf("words %q, next %q", v.GetWords(), v.GetNext())
			}
			if v.Second != nil {
				t.Errorf("a second cause: %s", v.GetSecond().Word())
			}
			sum := uint64(0)
			for _, s := range v.GetShares() {
				sum += s
			}
			if sum < 99_900 || sum > 100_100 {
				t.Errorf("shares come to %d: %v", sum, v.GetShares())
			}
		})
	}
}

func TestVerdicts_NameBothOfTwoFaults(t *testing.T) {
	w := new(world).uses(sample{millis: 200, limit: 200, throttled: 95}).
		connects(end(7, 5432), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil)
	v := judge(t, w, nil)
	got := map[event.PodCause]bool{v.GetVerdict(): true, v.GetSecond(): true}
	if !got[cpuLimit] || !got[refused] || v.GetConfidence() != event.Confidence_CONFIDENCE_HIGH {
		t.Errorf("%s and %s, %s", v.GetVerdict().Word(), v.GetSecond().Word(), v.GetConfidence().Word())
	}
}

// A node that is busy makes threads wait a little for a CPU that mostly wait for a mutex.
func TestVerdicts_NameALockOnACrowdedNode(t *testing.T) {
	v := judge(t, new(world).uses(sample{millis: 220, delayMicros: 580_000, lockWaiters: 6}), nil)
	if v.GetVerdict() != crowdedNode || v.GetSecond() != lock || v.GetApart() == "" {
		t.Errorf("%s and %s, apart by %q", v.GetVerdict().Word(), v.GetSecond().Word(), v.GetApart())
	}
}

func TestVerdicts_NeedSamplesOfLocks(t *testing.T) {
	verdict := func(change func(*event.Resources)) *event.PodVerdict {
		w := new(world).uses(sample{millis: 200, lockWaiters: 6})
		for _, ev := range w.events {
			change(ev.GetResources())
		}
		return judge(t, w, nil)
	}
	v := verdict(func(*event.Resources) {})
	if v.GetVerdict() != lock || v.GetConfidence() != event.Confidence_CONFIDENCE_HIGH ||
		v.GetEvidence().GetLockWaiters() != 6 {
		t.Errorf("%s, %s: %v", v.GetVerdict().Word(), v.GetConfidence().Word(), v.GetEvidence())
	}
	v = verdict(func(r *event.Resources) { r.Locks = nil })
	if v.GetVerdict() != idle || v.GetMissing() != "lock waiters" || v.GetEvidence().LockWaiters != nil ||
		v.GetConfidence() != event.Confidence_CONFIDENCE_MEDIUM {
		t.Errorf("without samples: %s, %s, missing %q", v.GetVerdict().Word(), v.GetConfidence().Word(), v.GetMissing())
	}
}

// Who waits for seconds does so by intention, unless the peer is seen to stand still.
func TestVerdicts_MindPeersThatStandStill(t *testing.T) {
	api := &event.Endpoint{Address: []byte{10, 0, 0, 7}, Port: 80, Namespace: "shop", Pod: "api"}
	w := new(world).uses(calm).waits("f", api, 5_000_000)
	v := judge(t, w, func(watch *Watch) {
		if v := watch.Verdicts()[0].GetPodVerdict(); v.GetVerdict() != idle {
			t.Errorf("before the peer was seen: %s", v.GetVerdict().Word())
		}
		for _, ev := range new(world).uses(sample{millis: 50, limit: 50, throttled: 99}).events {
			ev.Pod = "api"
			watch.Add(ev)
		}
	})
	if v.GetVerdict() != slowPeer || v.GetPeer() != "shop/api:80" {
		t.Errorf("%s about %q", v.GetVerdict().Word(), v.GetPeer())
	}
}

// A policy may drop packets on the node of the server, so that they are events of the server's pod.
func TestVerdicts_MindDropsAtTheServer(t *testing.T) {
	cart := &event.Endpoint{Address: []byte{10, 0, 0, 7}, Port: 80, Namespace: "shop", Pod: "cart"}
	w := new(world).uses(calm).connects(cart, event.TCPOutcome_TCP_OUTCOME_ABANDONED, nil)
	v := judge(t, w, func(watch *Watch) {
		if v := watch.Verdicts()[0].GetPodVerdict(); v.GetVerdict() != unanswered {
			t.Errorf("without the server's drops: %s", v.GetVerdict().Word())
		}
		client := &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 4000, Namespace: "shop", Pod: "web"}
		watch.Add(&event.Event{Time: start + 25*second, Node: "n2", Namespace: "shop", Pod: "cart",
			Kind: &event.Event_Drop{Drop: &event.Drop{Id: "x", Protocol: event.Protocol_PROTOCOL_TCP, Packets: 9,
				Observed: event.Side_SIDE_DST, Src: client, Dst: cart, Reason: "NETFILTER_DROP"}}})
	})
	if v.GetVerdict() != policyDrop || v.GetPeer() != "shop/cart:80" {
		t.Errorf("%s about %q", v.GetVerdict().Word(), v.GetPeer())
	}
}

func TestVerdicts_NameTheCauseBeforeItsSymptom(t *testing.T) {
	for name, c := range map[string]struct {
		world         *world
		facts         Facts
		first, second event.PodCause
	}{
		"a limit and the probes": {new(world).uses(sample{millis: 200, limit: 200, throttled: 32}),
			Facts{ProbeFailures: 9, KilledByProbe: true, Restarting: true}, cpuLimit, probeFailing},
		"a refusal and the crash": {new(world).uses(calm).connects(end(7, 5432),
			event.TCPOutcome_TCP_OUTCOME_REFUSED, nil),
			Facts{Restarting: true, Restarts: 4}, refused, crash},
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(t, c.world, func(w *Watch) {
				f := c.facts
				f.Namespace, f.Name, f.Running = "shop", "web", true
				w.SetFacts(&f)
			})
			if v.GetVerdict() != c.first || v.GetSecond() != c.second {
				t.Errorf("%s, %s: %v", v.GetVerdict().Word(), v.GetSecond().Word(), v.GetShares())
			}
		})
	}
}

func TestVerdicts_OfPodsThatDoNotRun(t *testing.T) {
	watch := New(window * time.Second)
	watch.Observe(allSources...)
	watch.SetFacts(
		&Facts{Namespace: "shop", Name: "pending", NotStarted: "0/2 nodes are available: Insufficient cpu.",
			Message: "0/2 nodes"},
	)
	watch.SetFacts(&Facts{Namespace: "shop", Name: "failed", Restarting: true, LastEnd: "exit code 2"})
	rows := watch.Verdicts()
	if len(rows) != 2 {
		t.Fatalf("%v", rows)
	}
	failed, pending := rows[0].GetPodVerdict(), rows[1].GetPodVerdict()
	if pending.GetVerdict() != notStarted || pending.GetConfidence() != event.Confidence_CONFIDENCE_HIGH ||
		pending.GetWords() != "not started: 0/2 nodes are available: Insufficient cpu." {
		t.Errorf("%v", pending)
	}
	if failed.GetVerdict() != crash || failed.GetConfidence() == event.Confidence_CONFIDENCE_HIGH {
		t.Errorf("%v", failed)
	}
}

// An init container may wait for something that does not answer.
func TestVerdicts_OfInitContainers(t *testing.T) {
	for name, c := range map[string]struct {
		world  *world
		second event.PodCause
	}{
		"of which nothing is seen": {new(world).uses(calm), idle},
		"that is refused": {new(world).uses(calm).connects(end(7, 5432), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil),
			refused},
	} {
		v := judge(t, c.world, func(w *Watch) {
			w.SetFacts(&Facts{Namespace: "shop", Name: "web", Running: true, Old: true,
				NotStarted: "init container waits"})
		})
		if v.GetVerdict() != notStarted || (v.Second != nil) != (c.second == refused) ||
			v.Second != nil && *v.Second != c.second ||
			!strings.HasPrefix(v.GetWords(), "not started: init container waits") {
			t.Errorf("%s: %s, %s: %q", name, v.GetVerdict().Word(), v.GetSecond().Word(), v.GetWords())
		}
	}
}

func TestConfidence_FallsWithWhatIsNotKnown(t *testing.T) {
	full := func() *world {
		return new(world).uses(calm).connects(end(7, 1), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil)
	}
	for name, c := range map[string]struct {
		change func(*Watch)
		want   event.Confidence
	}{
		"all known": {nil, event.Confidence_CONFIDENCE_HIGH},
		"losses": {func(w *Watch) {
			w.Add(&event.Event{Time: start, Node: "n1", Kind: &event.Event_Lost{Lost: &event.Lost{Count: 5}}})
		}, event.Confidence_CONFIDENCE_MEDIUM},
		"a gap": {func(w *Watch) { w.Doubt("n1") }, event.Confidence_CONFIDENCE_MEDIUM},
	} {
		t.Run(name, func(t *testing.T) {
			if v := judge(t, full(), c.change); v.GetVerdict() != refused || v.GetConfidence() != c.want {
				t.Errorf("%s, %s", v.GetVerdict().Word(), v.GetConfidence().Word())
			}
		})
	}
	t.Run("healthy without a source", func(t *testing.T) {
		watch := New(window * time.Second)
		watch.Observe("resources")
		for _, ev := range new(world).uses(calm).events {
			watch.Add(ev)
		}
		v := watch.Verdicts()[0].GetPodVerdict()
		if v.GetVerdict() != idle || v.GetConfidence() != event.Confidence_CONFIDENCE_LOW ||
			!strings.Contains(v.GetMissing(), "refused") {
			t.Errorf("%s, %s, missing %q", v.GetVerdict().Word(), v.GetConfidence().Word(), v.GetMissing())
		}
	})
}

func TestRestart_ForgetsTheWindow(t *testing.T) {
	watch := New(window * time.Second)
	watch.Observe(allSources...)
	w := new(world).uses(sample{millis: 200, limit: 200, throttled: 95, ooms: 1}).
		connects(end(7, 1), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil)
	for _, ev := range w.events {
		watch.Add(ev)
	}
	watch.Restart()
	for _, ev := range new(world).uses(calm).events {
		ev.Time += 100 * second
		watch.Add(ev)
	}
	v := watch.Verdicts()[0].GetPodVerdict()
	if v.GetVerdict() != idle || v.GetEvidence().GetRefused() != 0 {
		t.Errorf("%s: %v", v.GetVerdict().Word(), v.GetEvidence())
	}
}

// What is known of the other end may change between an attempt and its answer: no count may fall below 0.
func TestWatch_CountsAnAttemptOnceWhateverItsEndIs(t *testing.T) {
	for _, first := range []bool{false, true} {
		to := func(noSuchPort bool) *event.Endpoint {
			e := service("api", 80)
			if noSuchPort {
				e.ServiceNote = event.ServiceNote_SERVICE_NOTE_NO_SUCH_PORT
			}
			return e
		}
		w := New(window * time.Second)
		for i, x := range []*event.Tcp{
			{Outcome: event.TCPOutcome_TCP_OUTCOME_RETRANSMITS, Dst: to(first), SynRetransmits: proto.Uint32(3),
				State: event.TCPState_TCP_STATE_SYN_SENT},
			{Outcome: event.TCPOutcome_TCP_OUTCOME_CONNECTED, Dst: to(!first)},
		} {
			x.Observed, x.RoleKnown, x.SocketCookie = event.Side_SIDE_SRC, true, 7
			w.Add(&event.Event{Time: start + uint64(i)*second, Node: "n1", Namespace: "shop", Pod: "web",
				Kind: &event.Event_Tcp{Tcp: x}})
		}
		for _, x := range w.pods[podKey{"shop", "web"}].peers {
			if x.attempts != 1 || x.unanswered != 0 || x.wrongPort != 0 {
				t.Errorf("%d attempts, %d unanswered, %d to a wrong port", x.attempts, x.unanswered, x.wrongPort)
			}
		}
	}
}

func TestWatch_IsBounded(t *testing.T) {
	watch := New(window * time.Second)
	for i := range 3 * maxPods {
		w := new(world)
		w.add(0, &event.Event{Kind: &event.Event_Dns{Dns: &event.Dns{
			Observed: event.Side_SIDE_SRC, Name: fmt.Sprint("n", i), Dst: end(byte(i), 53)}}})
		if i < maxPods {
			w.events[0].Pod = fmt.Sprint("p", i)
		}
		watch.Add(w.events[0])
	}
	if len(watch.pods) != maxPods || !watch.Full() {
		t.Errorf("%d pods are kept, full %v", len(watch.pods), watch.Full())
	}
	for i := range maxPods {
		for j := range 8 {
			w := new(world)
			w.add(1, &event.Event{Kind: &event.Event_Resources{Resources: &event.Resources{Id: fmt.Sprint(i, "-", j)}}})
			w.add(1, &event.Event{Kind: &event.Event_Syscall{Syscall: &event.Syscall{
				Pid: uint32(j), Name: "open", Path: []byte("/a"), Errno: "ENOENT"}}})
			for _, ev := range w.events {
				ev.Pod = fmt.Sprint("p", i)
				watch.Add(ev)
			}
		}
	}
	containers, calls := 0, 0
	for _, p := range watch.pods {
		containers += len(p.containers)
		calls += len(p.ends.failed)
	}
	if containers != maxAllContainers || calls != maxAllCalls {
		t.Errorf("%d containers, %d calls are kept", containers, calls)
	}
	one := New(window * time.Second)
	for i := range 3 * maxNames {
		w := new(world).resolves(1, []string{fmt.Sprintf("n%d.example.com.", i)}, nil).
			connects(end(byte(i), uint32(i)), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil)
		for _, ev := range w.events {
			one.Add(ev)
		}
	}
	p := one.pods[podKey{"shop", "web"}]
	if len(p.lookups.names) > maxNames+1 || len(p.peers) > maxPeers {
		t.Errorf("%d names, %d peers are kept", len(p.lookups.names), len(p.peers))
	}
}

func TestRules_NeedAndDescribeTheirSignals(t *testing.T) {
	seen := map[event.PodCause]bool{}
	for i := range rules {
		r := &rules[i]
		seen[r.Cause] = true
		if causeWords[r.Cause] == "" {
			t.Errorf("%s has no words", r.Cause.Word())
		}
	}
	for c := range event.PodCauseCount {
		if cause := event.PodCause(c); !seen[cause] {
			t.Errorf("no rule is about %s", cause.Word())
		}
	}
	for s := range signalCount {
		if d := signalDocs[s]; d.name == "" || d.doc == "" {
			t.Errorf("signal %d is not described", s)
		}
	}
}
