package syscalls

import (
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
)

func TestPre515_ForgetsExitedThreads(t *testing.T) {
	bpftest.Pre515Only(t)
	t.Run("calls", func(t *testing.T) {
		r := newRig(t, Options{}, false, nil)
		release := r.preexisting()
		program := r.probe.(*Probe).objects.CallEnter
		if n := bpftest.Kept(t, program, "entries"); n == 0 {
			t.Error("nothing is kept for a thread in a call")
		}
		release()
		bpftest.AwaitNoneKept(t, program, "entries", waitTimeout)
		r.end()
	})
	t.Run("totals", func(t *testing.T) {
		r := newRig(t, Options{}, true, nil)
		release := r.preexisting()
		program := r.probe.(*Summary).objects.SumEnter
		if n := bpftest.Kept(t, program, "starts"); n == 0 {
			t.Error("nothing is kept for a thread in a call")
		}
		release()
		bpftest.AwaitNoneKept(t, program, "starts", waitTimeout)
		r.end()
	})
}
