package cuda

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// await polls until a condition holds.
func (b *harness) await(what string, so func() bool) {
	b.Helper()
	for deadline := time.Now().Add(timeLimit); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("not within %v: %s", timeLimit, what)
		}
	}
}

func TestProbe_ReportsEachFailure(t *testing.T) {
	b := newHarness(t, Options{})
	b.release()
	b.attach(b.fake.Library)
	w := b.start(b.in, "return cuMemcpyDtoHAsync_v2 700\n", b.fake.Library)
	w.check(w.do("round"))
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	if err := b.probe.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var got []string
	for _, ev := range b.failed {
		g := ev.GetGpu()
		if g.GetType() != event.GpuEventType_GPU_EVENT_TYPE_FAILED || g.GetProc().GetPid() != w.id() ||
			string(g.GetProc().GetComm()) != "cuda" || ev.GetTime() == 0 {
			t.Errorf("%v", ev)
		}
		if (g.GetFailure().Bytes == nil) != strings.Contains(g.GetFailure().GetCall(), "Synchronize") {
			t.Errorf("bytes of %v", g.GetFailure())
		}
		got = append(got, g.GetMessage())
	}
	want := "cuMemcpyDtoHAsync_v2 of 301 bytes: illegal address (700)\ncuMemcpyHtoD_v2 of 999 bytes: invalid value " +
		"(1)\ncuStreamSynchronize: invalid handle (400)\ncuMemAlloc_v2 of 1.0Ti bytes: out of memory (2)"
	if strings.Join(got, "\n") != want {
		t.Errorf("%q, want %q", got, want)
	}
	b.noLoss()
}

func TestProbe_CountsAFullRing(t *testing.T) {
	b := newHarness(t, Options{RingBytes: 4096})
	b.attach(b.fake.Library)
	w := b.start(b.in, "", b.fake.Library)
	const n = 1000
	w.check(w.do("fail 1000"))
	b.release()
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	if err := b.probe.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	lost := b.probe.Lost()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(lost) != 1 || lost[0].Stage != event.LossStage_LOSS_STAGE_KERNEL_BUFFER || lost[0].Count == 0 ||
		lost[0].Count+uint64(len(b.failed)) != n {
		t.Errorf("%d failures and lost %v, want %d together and some lost", len(b.failed), lost, n)
	}
}

func TestProbe_CountsCallsWithoutRoom(t *testing.T) {
	b := newHarness(t, Options{MaxProcesses: 2})
	b.attach(b.fake.Library)
	for range 2 {
		w := b.start(b.in, "", b.fake.Library)
		w.check(w.do("round"))
	}
	w := b.start(b.in, "", b.fake.Library)
	w.do("round")
	if p := b.readProcess(w.id()); p != nil {
		t.Errorf("%+v", p)
	}
	if lost := b.probe.Lost(); len(lost) != 1 || lost[0].Stage != event.LossStage_LOSS_STAGE_KERNEL_MAP ||
		lost[0].Count < 50 {
		t.Errorf("lost %v", lost)
	}
}

func TestProbe_ReportsBlockedSynchronisation(t *testing.T) {
	ways(t, func(t *testing.T, o Options) {
		b := newHarness(t, o)
		b.release()
		b.attach(b.fake.Library)
		block := filepath.Join(t.TempDir(), "block")
		if err := os.WriteFile(block, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		w := b.start(b.in, "block cuCtxSynchronize "+block+"\n", b.fake.Library)
		began := time.Now()
		w.do("wait")
		var last, longest uint64
		b.await("it waits", func() bool {
			p := b.readProcess(w.id())
			if p == nil {
				return false
			}
			c := p.Calls
			if c.GetSyncs() != 1 || c.GetSyncMicros() < last ||
				c.GetSyncMicros() > uint64(time.Since(began).Microseconds()) {
				t.Fatalf("%v after %v, and before %d", c, time.Since(began), last)
			}
			last = c.GetSyncMicros()
			longest = max(longest, c.GetWaitingMicros())
			return longest > 100_000 && last >= longest
		})
		if err := os.Remove(block); err != nil {
			t.Fatal(err)
		}
		b.await("it has returned", func() bool {
			c := b.readProcess(w.id()).Calls
			if c.GetSyncMicros() < last {
				t.Fatalf("%v, before %d", c, last)
			}
			last = c.GetSyncMicros()
			return c.WaitingMicros == nil
		})
		if last > uint64(time.Since(began).Microseconds()) {
			t.Errorf("%d µs in %v", last, time.Since(began))
		}
		b.noLoss()
	})
}

func TestProbe_DetachesCostlyProbes(t *testing.T) {
	b := newHarness(t, Options{Share: 0.001})
	b.release()
	b.attach(b.fake.Library)
	block := filepath.Join(t.TempDir(), "block")
	if err := os.WriteFile(block, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w := b.start(b.in, "block cuCtxSynchronize "+block+"\n", b.fake.Library)
	quiet := b.start(b.in, "", b.fake.Library)
	quiet.do("round")
	w.do("wait")
	launch := func() {
		w.do("launch 2000")
		for range 3 {
			w.out.Scan()
		}
	}
	b.await("launches are counted no more", func() bool {
		launch()
		return b.readProcess(w.id()).Calls.Launches == nil
	})
	for _, pid := range []uint32{w.id(), quiet.id()} {
		c := b.readProcess(pid).Calls
		if c.Launches != nil || c.GraphLaunches != nil || c.Copies == nil || c.Syncs == nil || c.Allocations == nil {
			t.Errorf("%v", c)
		}
	}
	if off := b.probe.Off(); len(off) != 1 || off[0] != "launches, graphLaunches" {
		t.Errorf("off: %v", off)
	}
	if c := b.readProcess(w.id()).Calls; c.WaitingMicros == nil {
		t.Errorf("the call that waits was forgotten: %v", c)
	}
	// Libraries that are attached from now on get no probes of that group.
	if n := b.linksOf(launches); n != 0 {
		t.Errorf("%d links are left", n)
	}
	b.attach(b.fake.NCCL)
	if n := b.linksOf(launches) + b.linksOf(collectives); n != 1 {
		t.Errorf("%d links, want that of NCCL alone", n)
	}
	// The probes are detached from processes out of scope, too.
	b.await("copies are counted no more", func() bool {
		w.do("copy 2000")
		return b.readProcess(w.id()).Calls.Copies == nil
	})
	if c := b.readProcess(quiet.id()).Calls; c.Copies != nil || c.HostToDeviceBytes != nil || c.CopyMicros != nil ||
		c.Syncs == nil {
		t.Errorf("%v", c)
	}
}

// linksOf counts the links of a group, of all libraries.
func (b *harness) linksOf(group int) (n int) {
	b.probe.mu.Lock()
	defer b.probe.mu.Unlock()
	for l := range b.probe.libraries {
		n += len(l.links[group].enter)
	}
	return n
}

func TestProbe_ReattachesAfterRest(t *testing.T) {
	ways(t, func(t *testing.T, o Options) {
		o.Share, o.Rest = 0.001, 100*time.Millisecond
		b := newHarness(t, o)
		b.release()
		l := b.attach(b.fake.Library)
		links, since := b.linksOf(launches), l.Since
		in, out := b.start(b.in, "", b.fake.Library), b.start(b.other, "", b.fake.Library)
		in.do("round")
		b.await("launches are counted no more", func() bool {
			out.do("launch 2000")
			for range 3 {
				out.out.Scan()
			}
			return b.readProcess(in.id()).Calls.Launches == nil
		})
		if n := b.linksOf(launches); n != 0 {
			t.Errorf("%d links are left", n)
		}
		b.await("they may be counted again", func() bool {
			b.readProcess(in.id())
			return b.probe.Restored() > 0 && b.probe.Incomplete(l)
		})
		f, err := os.Open(b.fake.Library)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := b.probe.Complete(l, f); err != nil {
			t.Fatal(err)
		}
		if n := b.linksOf(launches); n != links || b.probe.Incomplete(l) || l.Since <= since {
			t.Errorf("%d links, want %d; since %d, before %d", n, links, l.Since, since)
		}
		counted := b.readProcess(in.id()).Calls.GetLaunches()
		in.do("launch 10")
		for range 3 {
			in.out.Scan()
		}
		if n := b.readProcess(in.id()).Calls.GetLaunches(); n <= counted {
			t.Errorf("%d launches, %d before", n, counted)
		}
	})
}

func TestProbe_DetachTakesOneLibraryOff(t *testing.T) {
	b := newHarness(t, Options{})
	b.release()
	cuda := b.attach(b.fake.Library)
	nccl := b.attach(b.fake.NCCL)
	links := b.linksOf(launches)
	if err := b.probe.Detach(nccl); err != nil {
		t.Fatal(err)
	}
	if b.linksOf(collectives) != 0 || b.linksOf(launches) != links {
		t.Errorf("links: %d of NCCL, %d of launches", b.linksOf(collectives), b.linksOf(launches))
	}
	if err := b.probe.Detach(cuda); err != nil {
		t.Fatal(err)
	}
	if n := b.linksOf(launches); n != 0 {
		t.Errorf("%d links are left", n)
	}
}

func TestRest_GrowsUpToABound(t *testing.T) {
	var r rest
	now, first := uint64(time.Hour), time.Minute
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 16} {
		if r.begin(now, first); r.length != want*first || r.until != now+uint64(r.length) {
			t.Errorf("%v until %d, want %v", r.length, r.until, want*first)
		}
		now = r.until + 1
	}
	if r.begin(now+uint64(17*first), first); r.length != first {
		t.Errorf("after a long time without: %v", r.length)
	}
}

func TestProbe_SparesProcessesOutOfScope(t *testing.T) {
	b := newHarness(t, Options{Share: 0.001})
	b.release()
	b.attach(b.fake.Library)
	in, out := b.start(b.in, "", b.fake.Library), b.start(b.other, "", b.fake.Library)
	in.do("round")
	b.await("launches are counted no more", func() bool {
		out.do("launch 2000")
		for range 3 {
			out.out.Scan()
		}
		return b.readProcess(in.id()).Calls.Launches == nil
	})
}

func TestProbe_ForgetsEndedProcesses(t *testing.T) {
	b := newHarness(t, Options{})
	b.release()
	b.attach(b.fake.Library)
	block := filepath.Join(t.TempDir(), "block")
	if err := os.WriteFile(block, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w, other := b.start(b.in, "block cuCtxSynchronize "+block+"\n", "-threads", "2", b.fake.Library),
		b.start(b.in, "", b.fake.Library)
	other.do("round 3")
	w.do("wait")
	b.await("it waits", func() bool { p := b.readProcess(w.id()); return p != nil && p.Calls.WaitingMicros != nil })
	gone := b.readProcess(w.id())
	w.end()
	// Its last counters stay until it is forgotten.
	if last := b.readProcess(w.id()); last == nil || last.Calls.GetSyncs() != 1 {
		t.Errorf("%+v", last)
	}
	if err := b.probe.Forget([]ID{gone.ID}); err != nil {
		t.Fatal(err)
	}
	if p := b.readProcess(w.id()); p != nil {
		t.Errorf("%+v", p)
	}
	kept := b.readProcess(other.id())
	if n := bpftest.Kept(t, b.probe.objects.CudaReturn, "open_calls"); n != 0 {
		t.Errorf("%d open calls", n)
	}
	if n := bpftest.Kept(t, b.probe.objects.CudaReturn, "allocations"); uint64(n) != 3 ||
		kept.Calls.GetOutstandingBytes() != 3<<16 {
		t.Errorf("%d allocations are left, and %v", n, kept.Calls)
	}
	if err := b.probe.Forget([]ID{kept.ID}); err != nil {
		t.Fatal(err)
	}
	if n := bpftest.Kept(t, b.probe.objects.CudaReturn, "allocations"); n != 0 {
		t.Errorf("%d allocations are left", n)
	}
}

func TestProbe_CloseUnloadsEverything(t *testing.T) {
	ways(t, func(t *testing.T, o Options) {
		bpftest.Root(t)
		before := bpftest.Snapshot(t)
		b := newHarness(t, o)
		b.release()
		b.attach(b.fake.Library, b.fake.NCCL)
		w := b.start(b.in, "", b.fake.Library)
		w.do("round")
		ours := bpftest.Loaded{}
		for _, id := range bpftest.Snapshot(t).Programs {
			if !(bpftest.Loaded{Programs: before.Programs}).Has(bpftest.Loaded{Programs: []ebpf.ProgramID{id}}) {
				ours.Programs = append(ours.Programs, id)
			}
		}
		if len(ours.Programs) < 2 {
			t.Fatalf("loaded: %+v", ours)
		}
		b.stop()
		b.await("all is unloaded", func() bool {
			return !bpftest.Snapshot(t).Has(bpftest.Loaded{Programs: ours.Programs[len(ours.Programs)-2:]})
		})
		if got := w.do("round"); got == "" {
			t.Error("the program stopped")
		}
	})
}
