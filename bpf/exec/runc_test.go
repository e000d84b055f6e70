package exec

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// posedAsRunc takes the name of a stage of runc, and the root that it is given.
func posedAsRunc() error {
	if err := os.WriteFile("/proc/self/comm", []byte("runc:[2:INIT]"), 0); err != nil {
		return err
	}
	if len(os.Args) > 1 {
		return unix.Chroot(os.Args[1])
	}
	return nil
}

// A container's process has a root of its own: its exit is reported whatever its name. A stage of runc still has the
// host's root.
func TestExec_ReportsProcessNamedRunc(t *testing.T) {
	b := newHarness(t, Options{})
	stage := b.run(b.in, command{child: "runc"})
	container := b.run(b.in, command{child: "runc", args: []string{t.TempDir()}})
	got, lost := b.end()
	if len(lost) != 0 {
		t.Fatalf("lost %v", lost)
	}
	exits := map[uint32]int{}
	for _, ev := range got {
		if e := ev.GetExec(); e.GetPhase() == event.ExecPhase_EXEC_PHASE_EXIT {
			exits[e.GetPid()]++
		}
	}
	if exits[container] != 1 || exits[stage] != 0 {
		t.Errorf("%d exits of the container's process and %d of the stage, want 1 and 0", exits[container],
			exits[stage])
	}
}
