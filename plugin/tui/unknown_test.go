package tui

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// unknownWorld has GPUs without any measurement: a free one, one with a user, and a MIG device.
func unknownWorld() *world {
	w := newWorld("gpu")
	w.node("gpu-a", event.NodeState_NODE_STATE_STREAMING, "")
	number := func(n uint32) *uint32 { return &n }
	period := uint64(1e6)
	for second := range 60 {
		for _, g := range []*event.Gpu{
			{Gpu: &event.GpuDevice{Uuid: "GPU-7", Index: number(7), Name: "Tesla T4"}},
			{Gpu: &event.GpuDevice{Uuid: "GPU-8", Index: number(8)}, Processes: number(2), OwnProcesses: number(2),
				UsedBy: "ml/train/main", PeriodMicros: &period,
				Activity: &event.GpuActivity{}, Health: &event.GpuHealth{}, Memory: &event.GpuMemory{}},
			{
				Gpu:         &event.GpuDevice{Uuid: "MIG-9", Index: number(3), Parent: "GPU-9", ParentIndex: number(9)},
				Unavailable: "not supported: everything",
			},
		} {
			g.Type = event.GpuEventType_GPU_EVENT_TYPE_DEVICE
			w.Add(&event.Event{
				Node: "gpu-a", Kind: &event.Event_Gpu{Gpu: g},
			}, start.Add(time.Duration(second)*time.Second))
		}
		// A process that the driver lists, without counters and without counted calls.
		for _, g := range []*event.Gpu{
			{
				Type: event.GpuEventType_GPU_EVENT_TYPE_PROCESS, Gpu: &event.GpuDevice{Uuid: "GPU-8", Index: number(8)},
				PeriodMicros: &period, Proc: &event.GpuProcess{Pid: 77, Comm: []byte("python3")},
			},
			{
				Type: event.GpuEventType_GPU_EVENT_TYPE_CALLS, Proc: &event.GpuProcess{Pid: 77},
				Calls: &event.GpuCalls{Since: uint64(start.UnixNano())},
			},
		} {
			at := start.Add(time.Duration(second) * time.Second)
			w.Add(&event.Event{
				Time: uint64(at.UnixNano()), Node: "gpu-a", Namespace: "ml", Pod: "train", Container: "main",
				Kind: &event.Event_Gpu{Gpu: g},
			}, at)
		}
	}
	return w
}

// zero matches a zero with a unit.
var zero = regexp.MustCompile(`(^|[\s(])0(\.0+)?(%|B|W|s|ms|/s|/s\b)?($|[\s/)])`)

// TestScreen_ShowsNoZeroForUnknownValues scans each page, in each grouping and size.
func TestScreen_ShowsNoZeroForUnknownValues(t *testing.T) {
	w := unknownWorld()
	groups := len(w.Topic().Groups)
	for _, size := range sizes {
		d := drive(t, w, size.width, size.height, nil)
		for group := range groups {
			for _, page := range []string{"1", "2", "3", "4"} {
				// The picker stands on the grouping that is shown.
				if page == "1" && group > 0 {
					d.keysIn("2", "g", "down", "enter")
				}
				d.keysIn(page)
				what := fmt.Sprintf("grouping %d, page %s, %dx%d", group, page, size.width, size.height)
				if page == "2" && !strings.Contains(d.text(), "n/a") {
					t.Fatalf("%s shows no n/a:\n%s", what, d.text())
				}
				for line := range strings.SplitSeq(d.text(), "\n") {
					if zero.MatchString(line) {
						t.Errorf("%s: %q", what, line)
					}
				}
			}
		}
	}
	if known := drive(t, gpuWorld(), 120, 40, nil); !zero.MatchString(known.text()) {
		t.Errorf("the scan finds no zero where there is one:\n%s", known.text())
	}
}

// TestChart_ShowsPartlyKnownSeries has a GPU whose utilisation is known and nothing else, from the middle of the time
// on.
func TestChart_ShowsPartlyKnownSeries(t *testing.T) {
	w := newWorld("gpu")
	index, period, percent := uint32(7), uint64(1e6), uint32(40)
	for second := 30; second < 60; second++ {
		w.Add(&event.Event{Node: "gpu-a", Kind: &event.Event_Gpu{Gpu: &event.Gpu{
			Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: &event.GpuDevice{Uuid: "GPU-7", Index: &index},
			PeriodMicros: &period, Activity: &event.GpuActivity{GpuPercent: &percent},
		}}}, start.Add(time.Duration(second)*time.Second))
	}
	d := drive(t, w, 80, 24, nil)
	d.keysIn("1")
	for _, want := range []string{`busy\s+0\.40 GPUs\s+█+ `, `SM\s+n/a\s`, `tensor\s+n/a\s`} {
		if !regexp.MustCompile(want).MatchString(d.text()) {
			t.Errorf("the overview lacks %s:\n%s", want, d.text())
		}
	}
	d.keysIn("3")
	fits(t, d, "detail")
	// The first half of the time is a gap, and no line at 0.
	if !regexp.MustCompile(`0\.50 ┤ {8,}╶─{8,}`).MatchString(d.text()) || strings.Contains(d.text(), "0 ┼") {
		t.Error(d.text())
	}
}
