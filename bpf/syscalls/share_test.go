package syscalls

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	floodThreads = 120
	// floodCalls is one more than its threads make: a child of the test asks for its parent before it starts.
	floodCalls = floodThreads + 1
	threadRoom = 50
)

// makeThreads has many threads ask for the parent once each. Then all of them wait for the end of stdin.
func makeThreads() error {
	called, stop := make(chan bool), make(chan bool)
	for range floodThreads {
		go func() {
			runtime.LockOSThread()
			unix.Getppid()
			called <- true
			<-stop
		}()
	}
	for range floodThreads {
		<-called
	}
	fmt.Println("called")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// observe makes another cgroup and takes it into scope.
func (r *rig) observe(name string) *bpftest.Cgroup {
	r.Helper()
	c := bpftest.NewCgroup(r, "orb8-syscalls-test/"+r.Name()+"/"+name)
	if err := r.scope.SetCgroup(c.ID, true); err != nil {
		r.Fatal(err)
	}
	return c
}

// threads starts a child that holds many threads until it is released. The test reaps it with Wait.
func (r *rig) threads(in *bpftest.Cgroup) (flood *exec.Cmd, release func()) {
	r.Helper()
	flood = bpftest.Child(r, "threads", in)
	stdin, err := flood.StdinPipe()
	if err != nil {
		r.Fatal(err)
	}
	stdout, err := flood.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	if err := flood.Start(); err != nil {
		r.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		r.Fatal(err)
	}
	return flood, func() { stdin.Close() }
}

// shares are the counters of share.h that the loaded programs use.
func (r *rig) shares() (held *ebpf.Map, used *ebpf.Variable) {
	if p, ok := r.probe.(*Probe); ok {
		return p.objects.Shares, p.objects.ShareUsed
	}
	s := r.probe.(*Summary)
	return s.objects.Shares, s.objects.ShareUsed
}

// held is how many threads of a cgroup have a place.
func (r *rig) held(c *bpftest.Cgroup) int64 {
	r.Helper()
	shares, _ := r.shares()
	return bpftest.Held(r, shares, c, 0)
}

// awaitNoneHeld fails the test unless all places are given back some time.
func (r *rig) awaitNoneHeld(c *bpftest.Cgroup) {
	r.Helper()
	_, shareUsed := r.shares()
	var used [1]int64
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(time.Millisecond) {
		if err := shareUsed.Get(&used); err != nil {
			r.Fatal(err)
		}
		held := r.held(c)
		if held == 0 && used[0] == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("the cgroup holds %d places, and %d are taken, and no thread is left", held, used[0])
		}
	}
}

func (r *rig) checkHeld(flood *bpftest.Cgroup) int64 {
	r.Helper()
	held := r.held(flood)
	if held < threadRoom || held > threadRoom+threadRoom/4 {
		r.Errorf("the flood holds %d threads in room for %d and a reserve of %d", held, threadRoom, threadRoom/4)
	}
	return held
}

func TestThreads_FloodLeavesRoomForOthers(t *testing.T) {
	r := newRig(t, Options{Names: []string{"getppid"}, MaxThreads: threadRoom}, false, nil)
	flood := r.observe("flood")
	process, release := r.threads(flood)
	held := r.checkHeld(flood)
	r.run("getppid")
	lost := r.probe.Lost()
	// The first thread may be one that calls a second time.
	all := floodCalls - held
	if len(lost) != 1 || lost[0].Stage != event.LossStage_LOSS_STAGE_KERNEL_MAP || lost[0].Cgroup != flood.ID ||
		lost[0].Count != uint64(all) && lost[0].Count != uint64(all-1) {
		t.Errorf("lost %+v, want %d of the flood %d", lost, all, flood.ID)
	}
	release()
	r.awaitNoneHeld(flood) // also while nobody has waited for the process
	if err := process.Wait(); err != nil {
		t.Error(err)
	}
	process, release = r.threads(flood)
	r.checkHeld(flood)
	release()
	if err := process.Wait(); err != nil {
		t.Error(err)
	}
	r.awaitNoneHeld(flood)
	if got := r.end(); len(got) != getppids {
		t.Errorf("%d events of the quiet cgroup came, want %d", len(got), getppids)
	}
}

func TestThreads_SummaryCountsWithoutRoom(t *testing.T) {
	r := newRig(t, Options{Names: []string{"getppid"}, MaxThreads: threadRoom}, true, nil)
	quiet := r.cgroup
	flood := r.observe("flood")
	process, release := r.threads(flood)
	r.checkHeld(flood)
	r.run("getppid")
	noLoss(t, r)
	calls := r.totals(quiet)
	if calls.Calls != getppids || calls.Timed != getppids {
		t.Errorf("%d calls of the quiet cgroup, %d of them timed, want %d", calls.Calls, calls.Timed, getppids)
	}
	calls = r.totals(flood)
	if calls.Calls != floodCalls || calls.Timed >= floodCalls || calls.Timed < threadRoom {
		t.Errorf("%d calls of the flood, %d of them timed, want %d", calls.Calls, calls.Timed, floodCalls)
	}
	release()
	r.awaitNoneHeld(flood)
	if err := process.Wait(); err != nil {
		t.Error(err)
	}
}

// totals adds up all that the kernel has counted of a cgroup.
func (r *rig) totals(c *bpftest.Cgroup) (sum objectTotal) {
	r.Helper()
	var (
		key    objectTotalKey
		perCPU []objectTotal
	)
	i := r.probe.(*Summary).objects.Totals.Iterate()
	for i.Next(&key, &perCPU) {
		if key.Cgroup == c.ID {
			one := sumOf(perCPU)
			sum.Calls += one.Calls
			sum.Timed += one.Timed
		}
	}
	if err := i.Err(); err != nil {
		r.Fatal(err)
	}
	return sum
}
