package metrics

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// The numbers of fields are those of event.proto.
func TestFields_AreThoseOfTheProto(t *testing.T) {
	for m, fields := range map[protoreflect.ProtoMessage]map[string]int{
		&event.Event{}: {"time": eventTime, "namespace": eventNamespace, "pod": eventPod, "container": eventContainer,
			"pod_uid": eventPodUID, "workload": eventWorkload, "flow": eventFlow, "lost": eventLost,
			"node_status": eventNodeStatus, "dns": eventDNS, "tcp": eventTCP, "drop": eventDrop, "exec": eventExec,
			"syscall": eventSyscall, "syscall_summary": eventSyscallSummary, "resources": eventResources,
			"gpu": eventGPU, "signal": eventSignal},
		&event.Flow{}: {"protocol": flowProtocol, "phase": flowPhase, "src": flowSrc, "dst": flowDst,
			"observed": flowObserved, "src_counters": flowSrcCounters, "dst_counters": flowDstCounters,
			"start_time": flowStartTime, "socket_cookie": flowCookie},
		&event.Endpoint{}: {"address": endAddress, "port": endPort},
		&event.Counters{}: {"bytes_sent": counterBytesSent, "bytes_received": counterBytesReceived,
			"packets_sent": counterPacketsSent, "packets_received": counterPacketsReceived,
			"retransmits": counterRetransmits, "srtt_micros": counterSrttMicros, "dropped": counterDropped,
			"responses": counterResponses},
		&event.ResponseTimes{}: {"histogram": timesHistogram, "total_micros": timesTotal},
		&event.Tcp{}:           {"outcome": tcpOutcome, "observed": tcpObserved, "handshake_micros": tcpHandshake},
		&event.Dns{}: {"observed": dnsObserved, "outcome": dnsOutcome, "rcode": dnsRcode,
			"latency_micros": dnsLatency},
		&event.Drop{}: {"id": dropID, "observed": dropObserved, "reason": dropReason, "packets": dropPackets,
			"bytes": dropBytes},
		&event.Exec{}:   {"phase": execPhase, "outcome": execOutcome},
		&event.Signal{}: {"signal": signalName},
		&event.Syscall{}: {"phase": syscallPhase, "name": syscallName, "errno": syscallErrno,
			"duration_nanos": syscallDuration},
		&event.SyscallSummary{}: {"name": summaryName, "calls": summaryCalls, "errors": summaryErrors,
			"total_nanos": summaryTotal, "id": summaryID},
		&event.Resources{}: {"id": resourcesID, "cpu": resourcesCPU, "run_queue": resourcesRunQueue,
			"memory": resourcesMemory, "pressure": resourcesPressure, "io": resourcesIO,
			"locks": resourcesLocks},
		&event.ResourcesCPU{}: {"micros": 1, "limit_millis": 3, "periods": 4, "throttled_periods": 5,
			"throttled_micros": 6},
		&event.ResourcesRunQueue{}: {"delay_micros": 2},
		&event.ResourcesLocks{}:    {"waited_micros": 1},
		&event.ResourcesMemory{}:   {"bytes": 1, "working_set_bytes": 2, "limit_bytes": 3, "oom_kills": 6},
		&event.ResourcesPressure{}: {"cpu_some_micros": 1, "memory_some_micros": 3, "memory_full_micros": 5,
			"io_some_micros": 7, "io_full_micros": 9},
		&event.ResourcesIO{}: {"read_requests": 1, "read_bytes": 2, "read_micros": 3, "write_requests": 7,
			"write_bytes": 8, "write_micros": 9},
		&event.Lost{}:       {"stage": lostStage, "count": lostCount, "source": lostSource},
		&event.NodeStatus{}: {"state": statusState},
	} {
		d := m.ProtoReflect().Descriptor()
		for name, number := range fields {
			f := d.Fields().ByName(protoreflect.Name(name))
			if f == nil || int(f.Number()) != number {
				t.Errorf("%s.%s has not the number %d", d.Name(), name, number)
			}
			if number >= maxField {
				t.Errorf("%s.%s: number %d is not read", d.Name(), name, number)
			}
		}
	}
}

func FuzzTable_Observe(f *testing.F) {
	f.Add(encode(f, flowEvent{cookie: 1, start: 1, phase: updated, sent: 10, srtt: 5}.of(workload(1))))
	for _, kind := range []byte{eventFlow, eventTCP, eventDNS, eventDrop, eventExec, eventSyscall, eventSyscallSummary,
		eventResources, eventGPU, eventSignal, eventLost, eventNodeStatus} {
		f.Add([]byte{kind<<3 | 2, 1 | kind>>4, 4, 8, 1, 16, 1})
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		k := newKit(t, Options{Pods: true, PeerAddresses: true, DCGMCompat: true})
		k.Observe([][]byte{encoded, encoded})
		k.scrape()
	})
}
