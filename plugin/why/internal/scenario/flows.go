package scenario

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// flow is a connection of a pod.
type flow struct {
	id         string
	weight     float64
	received   float64
	sent       float64
	chatter    bool
	peer       *pod
	began      uint64
	retransmit float64
	// remote is the other end. All events of the flow share it.
	remote *event.Endpoint
}

// newRemote makes the other end: what scrapes the pod, a peer of its workload, or a store outside the cluster.
func (f *flow) newRemote() *event.Endpoint {
	switch {
	case f.chatter:
		return &event.Endpoint{Address: []byte{10, 1, 0, 9}, Port: 50000, Namespace: "monitoring", Pod: "prometheus-0"}
	case f.peer != nil:
		return &event.Endpoint{
			Address: []byte{10, 0, 1, 7}, Port: 29500,
			Namespace: "ml", Pod: f.peer.name, Workload: "job/train", Node: f.peer.node,
		}
	}
	return &event.Endpoint{Address: []byte{52, 1, 2, 3}, Port: 443}
}

// openFlows opens a pod's flows.
func (w *world) openFlows(b *pod) {
	for range b.p.flows {
		b.flows = append(b.flows, w.flow(b, w.d.between(0.3, 1)))
	}
	b.flows = append(b.flows, &flow{id: b.id(), chatter: true})
	if w.peersTalk {
		for _, other := range w.pods {
			if other != b && other.node != b.node {
				b.flows = append(b.flows, &flow{id: b.id(), peer: other})
			}
		}
	}
}

func (b *pod) id() string {
	b.serial++
	return fmt.Sprintf("%s-%d", b.name, b.serial)
}

func (w *world) flow(b *pod, weight float64) *flow { return &flow{id: b.id(), weight: weight} }

// scanSockets samples the sockets of a node.
func (w *world) scanSockets(node string, at float64) {
	now := w.time(at)
	for _, b := range w.pods {
		if b.node != node {
			continue
		}
		data := b.received
		b.received = 0
		chatter := b.p.chatter * w.interval.Seconds()
		data = max(data-chatter, 0)
		weights := 0.0
		for _, f := range b.flows {
			weights += f.weight
		}
		retransmits := b.retransmits
		b.retransmits = 0
		for i, f := range b.flows {
			switch {
			case f.chatter:
				f.received += chatter
				f.sent += chatter * 10
			case f.peer != nil:
				if grown := w.collectiveBytes(b); grown > 0 {
					f.received += grown
					f.sent += grown
				}
			default:
				f.received += data * f.weight / weights
				f.sent += data * f.weight / weights / 100
				f.retransmit += retransmits * f.weight / weights
			}
			phase := event.Phase_PHASE_UPDATE
			if b.p.short && f.weight > 0 && w.d.chance(0.3*w.interval.Seconds()) {
				phase = event.Phase_PHASE_CLOSED
				b.flows[i] = w.flow(b, f.weight)
				b.flows[i].began = now
			}
			w.emit(w.flowEvent(b, f, now, phase))
		}
	}
}

// collectiveBytes is what a pod receives from a peer for collectives, in one interval.
func (w *world) collectiveBytes(b *pod) float64 {
	total := 0.0
	for _, g := range b.groups {
		for _, r := range g.ranks {
			if r.gpu.now == compute || r.gpu.now == collective {
				total += 100e6 * w.interval.Seconds() * w.noisy(0.2)
			}
		}
	}
	return total
}

func (w *world) flowEvent(b *pod, f *flow, now uint64, phase event.Phase) *event.Event {
	ev := b.newEvent(now)
	k := &event.Flow{Id: f.id, Protocol: event.Protocol_PROTOCOL_TCP, Phase: phase, StartTime: f.began, RoleKnown: true}
	if b.endpoint == nil {
		b.endpoint = &event.Endpoint{
			Address: []byte{10, 0, 0, byte(len(b.name))}, Port: 40000,
			Namespace: "ml", Pod: b.name, Workload: "job/train", Node: b.node,
		}
	}
	if f.remote == nil {
		f.remote = f.newRemote()
	}
	own := &event.Counters{
		BytesSent:     uint64(f.sent),
		BytesReceived: uint64(f.received),
		Retransmits:   proto.Uint64(uint64(f.retransmit)),
		SrttMicros:    proto.Uint32(800),
	}
	switch {
	case f.chatter: // the pod is scraped: it answers
		k.Src, k.Dst = f.remote, b.endpoint
		k.DstCounters, k.Observed = own, event.Side_SIDE_DST
	case f.peer != nil:
		k.Src, k.Dst = b.endpoint, f.remote
		k.SrcCounters, k.Observed = own, event.Side_SIDE_SRC
		k.DstCounters = &event.Counters{BytesSent: own.BytesReceived, BytesReceived: own.BytesSent}
	default:
		k.Src, k.Dst = b.endpoint, f.remote
		k.SrcCounters, k.Observed = own, event.Side_SIDE_SRC
	}
	ev.Kind = &event.Event_Flow{Flow: k}
	return ev
}
