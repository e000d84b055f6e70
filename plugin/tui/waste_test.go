package tui

import (
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestScreen_SortsByNvtopAndHtopKeys(t *testing.T) {
	d := drive(t, gpuWorld(), 120, 40, nil)
	columns := tableColumns(d.o.Topic.Row, d.table.level().group)
	at := func() (name string) { return d.sort.Name }
	if at() != "gpuPercent" || !d.descending {
		t.Fatalf("begins with %s", at())
	}
	d.keysIn(">")
	if at() != "smPercent" || !d.descending {
		t.Errorf("> sorts by %s", at())
	}
	d.keysIn("<", "<")
	if at() != columns[0].Name || d.descending {
		t.Errorf("< sorts by %s, largest first: %v", at(), d.descending)
	}
	d.keysIn("<")
	if at() != columns[len(columns)-1].Name {
		t.Errorf("before the first column is the last, not %s", at())
	}
	d.keysIn("-")
	if !d.descending {
		t.Error("- sorts the largest first")
	}
	d.keysIn("+")
	if d.descending {
		t.Error("+ sorts the smallest first")
	}
	if d.keysIn("f6"); d.picker == nil {
		t.Error("F6 opens the list of columns")
	}
	d.keysIn("esc", "f4")
	if !d.filter.typing {
		t.Error("F4 filters")
	}
	d.keysIn("esc", "f1")
	if !d.help {
		t.Error("F1 helps")
	}
	d.keysIn("esc", "f10")
	if !d.quit {
		t.Error("F10 quits")
	}
}

func TestWastePage_WithoutIdleGPUs(t *testing.T) {
	w := newWorld("gpu")
	d := drive(t, w, 80, 24, nil)
	if d.keysIn("4"); !strings.Contains(d.text(), "no GPU has been seen yet") {
		t.Error(d.text())
	}
	index, percent, none := uint32(0), uint32(90), uint32(1)
	w.Add(&event.Event{Node: "gpu-a", Kind: &event.Event_Gpu{Gpu: &event.Gpu{
		Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: &event.GpuDevice{Uuid: "GPU-0", Index: &index},
		Activity:  &event.GpuActivity{GpuPercent: &percent},
		Processes: &none, OwnProcesses: &none, UsedBy: "ml/train/main",
	}}}, start.Add(30*time.Second))
	if d.keysIn("2", "4"); !strings.Contains(d.text(), "none of 1 GPU is held and does nothing") {
		t.Error(d.text())
	}
}
