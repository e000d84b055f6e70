package exec

import (
	"bytes"
	"context"
	"os"
	osexec "os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) { os.Exit(bpftest.Main(m)) }

// record runs the commands in a cgroup in scope and gives what was reported of it, and the process ids.
func record(t *testing.T, o Options, commands ...[]string) (got []Record, pids []uint32, lost []bpf.Loss) {
	t.Helper()
	bpftest.Root(t)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	defer s.Close()
	group, other := bpftest.NewCgroup(t, "orb8-exec-test/in"), bpftest.NewCgroup(t, "orb8-exec-test/out")
	if err := s.SetCgroup(group.ID, true); err != nil {
		t.Fatal(err)
	}
	o.Scope = s
	p, err := Open(t.Context(), o)
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// With a small ring the sink takes nothing before all has run, or the reader might keep up.
	ran := make(chan struct{})
	if o.RingBytes == 0 {
		close(ran)
	}
	done := make(chan error, 1)
	go func() {
		done <- p.Run(ctx, func(r *Record) {
			<-ran
			c := *r
			c.Args = slices.Clone(r.Args)
			got = append(got, c)
		})
	}()
	start := func(c *bpftest.Cgroup, args []string) uint32 {
		dir, err := os.Open(c.Dir)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		cmd := osexec.Command(args[0], args[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		_ = cmd.Run() // how it ends is what the probe shall say
		if cmd.Process == nil {
			t.Fatalf("%q did not start", args)
		}
		return uint32(cmd.Process.Pid)
	}
	start(other, []string{"/bin/true"})
	for _, c := range commands {
		pids = append(pids, start(group, c))
	}
	if o.RingBytes != 0 {
		close(ran)
	}
	if err := p.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	lost = p.Lost()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return got, pids, lost
}

func TestExecAndExitAreReportedExactly(t *testing.T) {
	long := strings.Repeat("x", 5000)
	commands := [][]string{
		{"/bin/true", "plain", "", "two words"},
		{"/bin/sh", "-c", "exit 3", "\x1b[31m", "\u202e", "\xff\xfe"},
		{"/bin/sh", "-c", "kill -SEGV $$"},
		{"/bin/true", long},
	}
	got, pids, lost := record(t, Options{}, commands...)
	if len(lost) != 0 || len(got) != 2*len(commands) {
		t.Fatalf("%d records, lost %v; want %d:\n%+v", len(got), lost, 2*len(commands), got)
	}
	for i, c := range commands {
		begin, end := got[2*i], got[2*i+1]
		want := []byte(strings.Join(c, "\x00") + "\x00")
		cut := len(want) > 4096
		if begin.Exit || begin.PID != pids[i] || begin.Filename != c[0] || begin.ArgsTruncated != cut ||
			!bytes.Equal(begin.Args, want[:min(len(want), 4096)]) || begin.PPID != uint32(os.Getpid()) || begin.UID != 0 {
			t.Errorf("exec of %.80q: %+v", c, begin)
		}
		if !end.Exit || end.PID != pids[i] || !end.ExecSeen || end.Lifetime <= 0 || end.Time < begin.Time {
			t.Errorf("exit of %.80q: %+v", c, end)
		}
	}
	if s := got[3].Status; !s.Exited() || s.ExitStatus() != 3 {
		t.Errorf("exit 3: status %#x", s)
	}
	if s := got[5].Status; !s.Signaled() || s.Signal() != syscall.SIGSEGV {
		t.Errorf("SIGSEGV: status %#x", s)
	}
}

func TestAFullRingIsCounted(t *testing.T) {
	commands := slices.Repeat([][]string{{"/bin/true", strings.Repeat("y", 3000)}}, 40)
	got, _, lost := record(t, Options{RingBytes: 4096}, commands...)
	var n uint64
	for _, l := range lost {
		n += l.Count
	}
	if n == 0 || uint64(len(got))+n != 80 {
		t.Fatalf("%d records and lost %v, want 80 together and some lost", len(got), lost)
	}
}

func TestManyExecsComeThroughWithoutLoss(t *testing.T) {
	// Shells that exec themselves again and again are faster than forks: two of them, and the one that waits for both.
	const n, chains = 3000, 2
	chain := `i=$1; [ "$i" -gt 0 ] || exit 7; exec /bin/sh -c "$2" sh $((i-1)) "$2"`
	outer := `/bin/sh -c "$1" sh 2999 "$1" & /bin/sh -c "$1" sh 2999 "$1" & wait`
	got, _, lost := record(t, Options{}, []string{"/bin/sh", "-c", outer, "sh", chain})
	const execs, exits = chains*n + 1, chains + 1
	if len(lost) != 0 || len(got) != execs+exits {
		t.Fatalf("%d records, lost %v; want %d", len(got), lost, execs+exits)
	}
	took := time.Duration(got[len(got)-1].Time - got[0].Time)
	t.Logf("%d execs, %.0f a second", execs, execs/took.Seconds())
	sevens := 0
	for _, r := range got {
		if r.Exit && r.Status.ExitStatus() == 7 {
			sevens++
		}
	}
	if sevens != chains {
		t.Errorf("%d ends with exit 7, want %d", sevens, chains)
	}
}
