package metrics

import (
	"math"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// timed adds response times to a flow's event, µs: those since its tracer began.
func timed(ev *event.Event, all ...uint64) *event.Event {
	c := ev.GetFlow().GetSrcCounters()
	if c == nil {
		c = ev.GetFlow().GetDstCounters()
	}
	c.Responses = &event.ResponseTimes{}
	for _, micros := range all {
		one := event.AppendResponses(nil, event.ResponseBucket(micros), 1)
		c.Responses.Histogram = event.MergeResponses(nil, c.Responses.Histogram, one)
		c.Responses.TotalMicros += micros
	}
	return ev
}

// responseHistogram returns the histogram of a role.
func (k *kit) responseHistogram(role string) *dto.Histogram {
	k.Helper()
	gathered, err := k.registry.Gather()
	if err != nil {
		k.Fatal(err)
	}
	for _, f := range gathered {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "orb8_tcp_response_seconds" && l.GetName() == "role" && l.GetValue() == role {
					return m.GetHistogram()
				}
			}
		}
	}
	return nil
}

func TestResponses_CountByDifferences(t *testing.T) {
	k := newKit(t, Options{PeerAddresses: true})
	pod := workload(1)
	k.pods(true, pod)
	first := flowEvent{cookie: 1, start: 1, phase: updated}
	old := flowEvent{cookie: 2, phase: updated} // older than the agent
	server := flowEvent{cookie: 3, start: 1, phase: ended, server: true, peer: "\x08\x08\x08\x08"}
	k.observe(
		timed(first.of(pod), 300), timed(first.of(pod), 300, 300, 40_000), timed(first.of(pod), 300, 300, 40_000),
		timed(old.of(pod), 5_000_000), timed(old.of(pod), 5_000_000, 2_000),
		timed(server.of(pod), 7_000),
		flowEvent{cookie: 4, start: 1, phase: updated}.of(pod),
	)
	k.observe(&event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{
		State: event.NodeState_NODE_STATE_RECONNECTING}}})
	k.observe(timed(first.of(pod), 700)) // of another tracer, which counts from zero

	client := k.responseHistogram("client")
	if n := client.GetSampleCount(); n != 5 {
		t.Errorf("%d responses, want 5", n)
	}
	if sum, want := client.GetSampleSum(), 0.043_3; math.Abs(sum-want) > 1e-9 {
		t.Errorf("they took %v s, want %v", sum, want)
	}
	for _, b := range client.GetBucket() {
		want := map[float64]uint64{0.000_1: 0, 0.000_5: 2, 0.001: 3, 0.002_5: 4, 0.025: 4, 0.05: 5, 10: 5}
		if n, ok := want[b.GetUpperBound()]; ok && n != b.GetCumulativeCount() {
			t.Errorf("%d took up to %v s, want %d", b.GetCumulativeCount(), b.GetUpperBound(), n)
		}
	}
	got := k.scrape()
	const labels = "namespace=shop,peer=public,role=server,workload=deploy/web-1"
	if got["orb8_tcp_response_seconds{"+labels+"}"] != 1 {
		t.Errorf("no row of the server: %v", got)
	}
}

func TestResponses_RefuseWhatIsNoHistogram(t *testing.T) {
	k := newKit(t, Options{})
	pod := workload(1)
	k.pods(true, pod)
	ev := flowEvent{cookie: 1, start: 1, phase: updated}.of(pod)
	ev.GetFlow().SrcCounters.Responses = &event.ResponseTimes{Histogram: make([]uint64, event.ResponseBuckets+1)}
	k.observe(ev)
	if h := k.responseHistogram("client"); h != nil {
		t.Errorf("%v", h)
	}
}
