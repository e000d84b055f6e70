package advice

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestGPUs_IdleOrUnreadable(t *testing.T) {
	sample := func(node string, index, second uint32, percent int, own uint32) *event.Event {
		g := &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: &event.GpuDevice{Uuid: fmt.Sprint(index),
			Index: &index,
			Name:  "H100"}, OwnProcesses: &own, UsedBy: "ml/train/main"}
		if percent >= 0 {
			p := uint32(percent)
			g.Activity = &event.GpuActivity{GpuPercent: &p}
		}
		return &event.Event{Time: uint64(second+1) * 1e9, Node: node, Kind: &event.Event_Gpu{Gpu: g}}
	}
	s := newGPUs()
	if got := s.summary(); got != nil {
		t.Errorf("of nothing: %q", got)
	}
	for second := range uint32(10) {
		s.add(sample("a", 0, second, 0, 1))             // held and idle
		s.add(sample("a", 1, second, 50, 1))            // at work
		s.add(sample("a", 2, second, 0, 0))             // free
		s.add(sample("a", 3, second, -1, 1))            // not known
		s.add(sample("b", 0, second, int(9-second), 1)) // idle just now
	}
	zero := uint32(0)
	s.add(&event.Event{Node: "a", Namespace: "ml", Pod: "train",
		Kind: &event.Event_Gpu{Gpu: &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_XID,
			Gpu:     &event.GpuDevice{Index: &zero},
			Message: "XID 31\x1b"}}})
	for i := range 7 {
		s.add(&event.Event{Node: fmt.Sprint("n", i),
			Kind: &event.Event_Gpu{Gpu: &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE,
				Message: "no driver"}}})
	}
	s.add(&event.Event{Node: "b",
		Kind: &event.Event_Gpu{Gpu: &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE,
			Message: event.CallsNotCounted + ": too old"}}})
	s.add(sample("b", 0, 10, 50, 1))
	want := []string{
		`gpu: a/0: XID 31\x1b; used by ml/train`,
		"gpu: a/0 (H100) has done nothing for the last 9s, and is held by ml/train/main",
		"gpu: nothing to read on n0, n1, n2, n3, n4 and 2 more: no driver",
		"gpu: calls are not counted on b: too old",
	}
	if got := s.summary(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for range 20 {
		s.add(&event.Event{Node: "a",
			Kind: &event.Event_Gpu{Gpu: &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_LOST,
				Message: "gone"}}})
	}
	if got := s.summary(); len(got) != 9 || !strings.Contains(got[1], "a/?: gone; used by no traced pod") ||
		got[5] != "gpu: … and 16 more errors" {
		t.Errorf("many errors: %q", got)
	}
}

func TestGPUs_UnusedOrBypassed(t *testing.T) {
	sample := func(index, second uint32, use event.GpuUse, change func(*event.Gpu)) *event.Event {
		g := &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: &event.GpuDevice{Uuid: fmt.Sprint(index),
			Index: &index},
			Use: use, Processes: new(uint32), OwnProcesses: new(uint32)}
		change(g)
		return &event.Event{Time: uint64(second+1) * 1e9, Node: "a", Kind: &event.Event_Gpu{Gpu: g}}
	}
	one, zero := uint32(1), uint32(0)
	s := newGPUs()
	for second := range uint32(10) {
		s.add(sample(0, second, event.GpuUse_GPU_USE_UNUSED, func(g *event.Gpu) { g.AllocatedTo = "ml/hoarder/main" }))
		s.add(sample(1, second, event.GpuUse_GPU_USE_UNUSED, func(g *event.Gpu) {})) // somebody else's
		s.add(sample(2, second, event.GpuUse_GPU_USE_FREE, func(g *event.Gpu) {}))
		s.add(sample(3, second, event.GpuUse_GPU_USE_BYPASS, func(g *event.Gpu) {
			g.UsedBy, g.Processes, g.OwnProcesses, g.Message = "ml/thief/main", &one, &one,
				"used by ml/thief/main without having been given it"
		}))
		s.add(sample(7, second, event.GpuUse_GPU_USE_BYPASS, func(*event.Gpu) {})) // by its MIG devices
		// It was used, and then the process ended: it is unused since that.
		s.add(sample(4, second, event.GpuUse_GPU_USE_UNUSED, func(g *event.Gpu) {
			g.AllocatedTo = "ml/quitter/main"
			if second < 5 {
				g.Use, g.UsedBy, g.Processes, g.OwnProcesses, g.Activity = event.GpuUse_GPU_USE_IDLE, "ml/quitter/main",
					&one, &one,
					&event.GpuActivity{GpuPercent: &zero}
			}
		}))
		// Allocated, and only somebody else's process on it.
		s.add(sample(5, second, event.GpuUse_GPU_USE_IDLE, func(g *event.Gpu) {
			g.AllocatedTo, g.Processes, g.Activity = "ml/shy/main", &one, &event.GpuActivity{GpuPercent: &zero}
		}))
		// Allocated, and not known to be idle.
		s.add(sample(6, second, event.GpuUse_GPU_USE_UNKNOWN, func(g *event.Gpu) {
			g.AllocatedTo, g.Processes = "ml/riddle/main", &one
		}))
	}
	for range 2 {
		for _, message := range []string{"gpu: strange", "not about them"} {
			s.add(&event.Event{Node: "a",
				Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{State: event.NodeState_NODE_STATE_STREAMING,
					Message: message}}})
		}
	}
	want := []string{
		"gpu: a/3 was used by ml/thief/main without having been given it",
		"gpu: a/0 has had no process for the last 9s, and is allocated to ml/hoarder/main",
		"gpu: a/5 has done nothing for the last 9s, and is held by ml/shy/main",
		"gpu: a/4 has had no process for the last 4s, and is allocated to ml/quitter/main",
		"gpu: a: strange",
	}
	if got := s.summary(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for index := range uint32(20) {
		s.add(sample(10+index, 0, event.GpuUse_GPU_USE_BYPASS,
			func(g *event.Gpu) { g.Message = "used by ml/x/main without having been given it" }))
	}
	if got := s.summary(); got[maxFindings] != fmt.Sprintf("gpu: … and %d more that use GPUs they were not given",
		21-maxFindings) {
		t.Errorf("many: %q", got)
	}
}
