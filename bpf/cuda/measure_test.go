package cuda

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
)

func TestProbe_MeasuresItsCost(t *testing.T) {
	ways(t, func(t *testing.T, o Options) {
		b := newHarness(t, o)
		c, err := b.probe.measure()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("emulated %v, stepped %v", c.emulated, c.stepped)
		if c.emulated < 100*time.Nanosecond || c.emulated > time.Millisecond || c.stepped < c.emulated {
			t.Errorf("%+v", c)
		}
	})
}

// BenchmarkCalls measures what the probes add to a program's calls, by the first instruction of the function: CPU time
// of the calling thread in ns, without a probe, with an empty one, and with ours, for processes in scope and out of it.
func BenchmarkCalls(b *testing.B) {
	bpftest.Root(b)
	for _, test := range []struct {
		name        string
		ours, empty bool
		in          bool
	}{{"no probe", false, false, true}, {"a program that does nothing", false, true, true},
		{"out of scope", true, false, false}, {"in scope", true, false, true}} {
		b.Run(test.name, func(b *testing.B) {
			k := newHarness(b, Options{})
			k.release()
			if test.ours {
				k.attach(k.fake.Library)
			}
			if test.empty {
				for _, l := range empties(b, k.fake.Library) {
					bpftest.CloseAfter(b, l)
				}
			}
			cgroup := k.other
			if test.in {
				cgroup = k.in
			}
			w := k.start(cgroup, "", k.fake.Library)
			w.do("launch 1000")
			for range 3 {
				w.out.Scan()
			}
			w.do("copy 1000")
			for b.Loop() {
				const n = 20000
				w.measured(b, w.do(fmt.Sprint("launch ", n)))
				for range 3 {
					w.out.Scan()
					w.measured(b, w.out.Text())
				}
				w.measured(b, w.do(fmt.Sprint("copy ", n)))
			}
		})
	}
}

func (w *workload) measured(b *testing.B, line string) {
	b.Helper()
	var m struct {
		Shape string
		Ns    float64
	}
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		b.Fatal(err)
	}
	unit := map[string]string{"push": "ns/push", "endbr64, push": "ns/endbr64+push", "sub rsp": "ns/sub",
		"cmp, je": "ns/cmp+je", "copy, push": "ns/copy"}[m.Shape]
	b.ReportMetric(m.Ns, unit)
}

// empties attaches an empty program to the functions that the probe attaches to.
func empties(b *testing.B, library string) (links []link.Link) {
	b.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceUprobeMulti, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		b.Fatal(err)
	}
	bpftest.CloseAfter(b, program)
	f, err := os.Open(library)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	sites, _, err := Sites(f, uint64(info.Size()))
	if err != nil {
		b.Fatal(err)
	}
	var enter, leave []uint64
	for _, s := range sites {
		enter = append(enter, s.Offset)
		if s.function.timed() {
			leave = append(leave, s.Offset)
		}
	}
	executable, err := link.OpenExecutable(library)
	if err != nil {
		b.Fatal(err)
	}
	l, err := executable.UprobeMulti(nil, program, &link.UprobeMultiOptions{Addresses: enter})
	if err != nil {
		b.Fatal(err)
	}
	r, err := executable.UretprobeMulti(nil, program, &link.UprobeMultiOptions{Addresses: leave})
	if err != nil {
		b.Fatal(err)
	}
	return []link.Link{l, r}
}
