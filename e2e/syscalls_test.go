package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// syscallEvent holds fields of a syscall event.
type syscallEvent struct {
	Phase                      string
	Node, Pod, Container, Comm string
	PID, TID                   *uint32
	Name, ABI, Args            string
	Path, Errno                *string
	Result                     *int64
	DurationNanos              *int64
}

// notThere is the path of no file, with characters that must be quoted.
const notThere = "/orb8/not \"there\"\n日"

// TestSyscalls makes known system calls, and compares their events with these.
func TestSyscalls(t *testing.T) {
	t.Parallel()
	const getppids, absent, block = 4321, 7, 300 * time.Millisecond
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	worker := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "worker", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "other", Node: e.Nodes[1]})[0]
	// work makes the worker do the calls. It returns the duration of its blocking read in ns, measured by the worker.
	work := func(t *testing.T) int64 {
		t.Helper()
		r := worker.Exec(t, "syscalls", "-getppid", strconv.Itoa(getppids), "-absent", strconv.Itoa(absent), "-path",
			notThere, "-block", block.String())
		if len(r) != 1 {
			t.Fatalf("got %+v, want one report", r)
		}
		return r[0].End.Sub(r[0].Start).Nanoseconds()
	}
	trace := func(t *testing.T, args ...string) (tr *kit.Trace, took int64) {
		t.Helper()
		tr = e.Trace(t, append([]string{"trace", "syscalls", "-n", ns, "-o", "json", "--fail-on-loss"}, args...)...)
		tr.AwaitStreaming(t, 2)
		took = work(t)
		tr.Stop(t)
		tr.CheckSchema(t)
		return tr, took
	}
	calls := func(t *testing.T, tr *kit.Trace, condition string, args ...string) (got []syscallEvent) {
		t.Helper()
		tr.JQ(t, &got, `map(select(.kind == "syscall" and (`+condition+`)))`, args...)
		return got
	}
	pipeRead := `.comm == "workload" and .name == "read" and (.args | test("<pipe:\\[[0-9]+\\]>, 0x[0-9a-f]+, 1$"))`

	t.Run("each call", func(t *testing.T) {
		tr, took := trace(t)
		tr.NothingLost(t)
		if got := calls(t, tr, `.name == "getppid" and .comm == "workload"`); len(got) != getppids {
			t.Errorf("%d calls of getppid, want %d", len(got), getppids)
		}
		opens := calls(t, tr, `.path == $path`, "--arg", "path", notThere)
		if len(opens) != absent {
			t.Fatalf("%d calls with the path, want %d", len(opens), absent)
		}
		for _, o := range opens {
			if o.Name != "openat" || o.Args != `AT_FDCWD, "/orb8/not \"there\"\n日", O_RDONLY` || o.Errno == nil ||
				*o.Errno != "ENOENT" || *o.Result != -2 ||
				o.DurationNanos == nil || o.Phase != "returned" || o.Node != e.Nodes[0] || o.Pod != "worker" ||
				o.Container != "workload" || o.Comm != "workload" {
				t.Errorf("got %+v", o)
			}
		}
		reads := calls(t, tr, pipeRead+` and .durationNanos > 100000000`)
		if len(reads) != 1 || *reads[0].Result != 1 || reads[0].Errno != nil || *reads[0].DurationNanos > took ||
			*reads[0].DurationNanos < int64(block)*3/4 {
			t.Errorf("got %+v, want one read of less than %d ns", reads, took)
		}
		ends := calls(t, tr, `.name == "exit_group" and .comm == "workload"`)
		if len(ends) != 1 || ends[0].Phase != "noReturn" || ends[0].Result != nil || ends[0].DurationNanos != nil ||
			ends[0].Args != "0" {
			t.Errorf("got %+v, want one end", ends)
		}
	})
	t.Run("only errors", func(t *testing.T) {
		tr, _ := trace(t, "--errors-only", "--syscall", "%file")
		if got := calls(t, tr, `.errno == null or .result >= 0 or .phase != "returned"`); len(got) > 0 {
			t.Errorf("got %+v", got)
		}
		if got := calls(t, tr, `.path == $path`, "--arg", "path", notThere); len(got) != absent {
			t.Errorf("%d calls with the path, want %d", len(got), absent)
		}
	})
	t.Run("only long calls", func(t *testing.T) {
		tr, took := trace(t, "--min-duration", "100ms")
		if got := calls(t, tr, `.durationNanos == null or .durationNanos < 100000000`); len(got) > 0 {
			t.Errorf("got %+v", got)
		}
		if got := calls(t, tr, pipeRead); len(got) != 1 || *got[0].DurationNanos > took {
			t.Errorf("got %+v, want one read of less than %d ns", got, took)
		}
	})
	t.Run("totals", func(t *testing.T) {
		tr, took := trace(t, "--summary")
		tr.NothingLost(t)
		var got []struct {
			Pod, Container, Name         string
			Calls, Errors, Timed         uint64
			TotalNanos                   int64
			P50Nanos, P95Nanos, P99Nanos *int64
		}
		tr.JQ(t, &got, `map(select(.kind == "syscallSummary" and .name == "getppid")) | group_by(.id) | map(last)`)
		if len(got) != 1 || got[0].Pod != "worker" || got[0].Container != "workload" || got[0].Calls != getppids ||
			got[0].Timed != getppids || got[0].Errors != 0 {
			t.Fatalf("got %+v, want %d calls", got, getppids)
		}
		if g := got[0]; *g.P50Nanos <= 0 || *g.P50Nanos > *g.P95Nanos || *g.P95Nanos > *g.P99Nanos ||
			g.TotalNanos <= 0 {
			t.Errorf("got %+v", g)
		}
		var reads struct{ TotalNanos, Calls int64 }
		tr.JQ(t, &reads, `map(select(.name == "read" and .pod == "worker")) | last`)
		if reads.TotalNanos < int64(block)*3/4 || took < int64(block)*3/4 {
			t.Errorf("got %+v, one of which took some %d ns", reads, took)
		}
		var events int
		if tr.JQ(t, &events, `map(select(.kind == "syscall")) | length`); events > 0 {
			t.Errorf("%d single calls", events)
		}
	})
	t.Run("a call that does not return", func(t *testing.T) {
		tr := e.Trace(t, "trace", "syscalls", "worker", "-n", ns, "-o", "json", "--syscall", "read")
		tr.AwaitStreaming(t, 1)
		worker.Start(t, "syscalls", "-hang").Next(t)
		hanging := `any(.phase == "running" and .name == "read" and (.args | endswith(", 77")) and
			.result == null and .durationNanos >= 1000000000)`
		tr.AwaitJQ(t, hanging)
		tr.Stop(t)
	})
	t.Run("table", func(t *testing.T) {
		tr := e.Trace(t, "trace", "syscalls", "worker", "-n", ns, "--syscall", "openat,getppid")
		tr.AwaitStreaming(t, 1)
		work(t)
		tr.Stop(t)
		out, err := os.ReadFile(tr.Output)
		if err != nil {
			t.Fatal(err)
		}
		line := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3}  worker +workload +workload\(\d+\) +` +
			`openat\(AT_FDCWD, "/orb8/not \\+"there\\+"\\+n日", O_RDONLY\) +ENOENT +[\d.]+[nµm]s$`)
		if n := len(line.FindAll(out, -1)); n != absent || !strings.HasPrefix(string(out), "TIME") {
			t.Errorf("%d lines of the path, want %d:\n%s", n, absent, out[:min(len(out), 4000)])
		}
	})
}
