package bpf_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// sample is a probe whose records are numbers that the test puts into the ring buffer.
type sample struct {
	bpf.Probe
	objects struct {
		Put     *ebpf.Program `ebpf:"put"`
		Fork    *ebpf.Program `ebpf:"fork"`
		Ingress *ebpf.Program `ebpf:"ingress"`
		Tasks   *ebpf.Program `ebpf:"tasks"`
		Events  *ebpf.Map     `ebpf:"events"`
		Losses  *ebpf.Map     `ebpf:"losses"`
	}
}

// sampleSpec reads the sample's programs as bpf2go's function would. All but put do nothing.
func sampleSpec() (*ebpf.CollectionSpec, error) {
	nothing := asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	return &ebpf.CollectionSpec{
		Maps: map[string]*ebpf.MapSpec{
			"events": {Name: "events", Type: ebpf.RingBuf},
			"losses": {Name: "losses", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 3},
		},
		Programs: map[string]*ebpf.ProgramSpec{
			"put": {
				Name: "put", Type: ebpf.SocketFilter, SectionName: "raw_tp/put", License: "GPL",
				Instructions: putInstructions(asm.LoadMapPtr(asm.R1, 0).WithReference("events"), noWakeup),
			},
			"fork": {
				Name: "fork", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_process_fork",
				SectionName: "tp_btf/sched_process_fork", License: "GPL", Instructions: nothing,
			},
			"tasks": {
				Name: "tasks", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "task",
				SectionName: "iter/task", License: "GPL", Instructions: nothing,
			},
			"ingress": {
				Name: "ingress", Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetIngress,
				SectionName: "cgroup_skb/ingress", License: "GPL",
				Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
			},
		},
		Variables: map[string]*ebpf.VariableSpec{},
	}, nil
}

func openSample(t *testing.T) *sample {
	t.Helper()
	bpftest.Root(t)
	s := new(sample)
	bpftest.CloseAfter(t, s)
	spec, err := bpf.ReadSpec(t.Context(), "sample", btf.NewCache(), bpf.Variants{Latest: sampleSpec})
	if err != nil {
		t.Fatal(err)
	}
	spec.SetRing(1)
	if err := s.Load(spec, &s.objects, nil); err != nil {
		bpftest.FatalLoad(t, err)
	}
	return s
}

func (s *sample) put(t *testing.T, n uint64) {
	t.Helper()
	packet := make([]byte, 64)
	binary.NativeEndian.PutUint64(packet[14:], n)
	if _, err := s.objects.Put.Run(&ebpf.RunOptions{Data: packet}); err != nil {
		t.Fatal(err)
	}
}

// read reports records as events of the cgroup of that number, at the time 1; it refuses the record 0.
func (s *sample) read(ctx context.Context, sink bpf.Sink) error {
	return s.Read(ctx, bpf.Reading{Record: func(raw []byte) error {
		n := binary.NativeEndian.Uint64(raw)
		if n == 0 {
			return errors.New("zero")
		}
		s.Emit(sink, n, &event.Event{Time: 1})
		return nil
	}})
}

func TestProbe_ReportsAndCloses(t *testing.T) {
	s := openSample(t)
	if size := s.objects.Events.MaxEntries(); size != uint32(os.Getpagesize()) {
		t.Errorf("the ring buffer has %d bytes, want a page", size)
	}
	var order []string
	s.OnClose(func() error { order = append(order, "closed"); return nil })
	var cgroups, times []uint64
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- s.read(ctx, func(cgroup uint64, ev *event.Event) {
			cgroups, times = append(cgroups, cgroup), append(times, ev.Time)
		})
	}()
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	watermark := s.Watermark()
	if now := uint64(time.Now().UnixNano()); watermark == 0 || watermark > now {
		t.Errorf("the watermark is %d, and it is %d", watermark, now)
	}
	for _, n := range []uint64{7, 0, 8} {
		s.put(t, n)
	}
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if later := s.Watermark(); later <= watermark {
		t.Errorf("the watermark is %d after %d", later, watermark)
	}
	if lost := s.Lost(); len(lost) != 1 || lost[0] != (bpf.Loss{Stage: event.LossStage_LOSS_STAGE_DECODE, Count: 1}) {
		t.Errorf("lost %+v, want the record that cannot be decoded", lost)
	}
	if n := len(s.Programs()); n != 4 {
		t.Errorf("%d programs, want 4", n)
	}
	if err := s.Close(); err != nil || len(order) != 1 {
		t.Errorf("close: %v, OnClose has run %d times", err, len(order))
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read ends with %v, want %v", err, os.ErrClosed)
	}
	if !slices.Equal(cgroups, []uint64{7, 8}) {
		t.Errorf("reported %v, want 7 and 8", cgroups)
	}
	if slices.ContainsFunc(times, func(at uint64) bool { return at < watermark }) {
		t.Errorf("reported at %v, before the watermark %d", times, watermark)
	}
	if lost := s.Lost(); lost != nil {
		t.Errorf("lost %+v once closed", lost)
	}
}

func TestProbe_HooksAreWhatIsAttached(t *testing.T) {
	s := openSample(t)
	if hooks := s.Hooks(); len(hooks) != 0 {
		t.Errorf("attached to %v at first", hooks)
	}
	if err := s.Attach(s.objects.Fork); err != nil {
		t.Fatal(err)
	}
	cgroup := bpftest.NewCgroup(t, "orb8-probe-hooks")
	if err := s.AttachCgroup(cgroup.Dir, s.objects.Ingress); err != nil {
		t.Fatal(err)
	}
	it, err := s.AttachIterator(s.objects.Tasks, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := it.Run(); err != nil {
		t.Error(err)
	}
	want := []string{"cgroup_skb/ingress", "iter/task", "tp_btf/sched_process_fork"}
	if hooks := s.Hooks(); !slices.Equal(hooks, want) || len(s.Links) != len(want) {
		t.Errorf("attached to %v by %d links, want %v", hooks, len(s.Links), want)
	}
	if err := s.AttachCgroup(t.TempDir(), s.objects.Ingress); err == nil {
		t.Error("attached to a directory that is no cgroup")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestProbe_ScanHoldsTheWatermark(t *testing.T) {
	clock, err := bpf.NewClock()
	if err != nil {
		t.Fatal(err)
	}
	p := &bpf.Probe{Clock: clock}
	before, broken := p.Watermark(), errors.New("broken")
	var during uint64
	if err := p.Scan(func(now uint64) error {
		during = now
		if w := p.Watermark(); now < before || w != now {
			t.Errorf("a scan at %d after %d has the watermark %d", now, before, w)
		}
		return broken
	}); !errors.Is(err, broken) {
		t.Errorf("scan: %v", err)
	}
	if after := p.Watermark(); after <= during {
		t.Errorf("the watermark is %d after a scan at %d", after, during)
	}
}

func TestReadSpec_Refuses(t *testing.T) {
	bpftest.Root(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		ctx  context.Context
		read func() (*ebpf.CollectionSpec, error)
		need bpf.Need
		want func(error) bool
	}{
		"an ended context": {
			cancelled, sampleSpec, bpf.Need{Has: bpf.HasMember("task_struct", "pid")},
			func(err error) bool { return errors.Is(err, context.Canceled) },
		},
		"an unmet need": {
			t.Context(), sampleSpec, bpf.Need{Feature: "cabbage", MinKernel: "9.1", Has: bpf.HasTracepoint("cabbage")},
			func(err error) bool { return errors.As(err, new(*bpf.NotSupportedError)) },
		},
		"a broken object": {
			t.Context(), func() (*ebpf.CollectionSpec, error) { return nil, broken },
			bpf.Need{Has: bpf.HasMember("task_struct", "pid")},
			func(err error) bool { return errors.Is(err, broken) && err.Error() == "read sample: broken" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bpf.ReadSpec(test.ctx, "sample", btf.NewCache(), bpf.Variants{Latest: test.read}, test.need)
			if !test.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}
