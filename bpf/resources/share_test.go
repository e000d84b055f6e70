package resources

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	floodThreads = 600
	taskRoom     = 400
)

// holdThreads makes many threads, each of which runs once. Then all of them wait for the end of stdin.
func holdThreads() error {
	ran, stop := make(chan bool), make(chan bool)
	for range floodThreads {
		go func() {
			runtime.LockOSThread()
			runtime.Gosched()
			ran <- true
			<-stop
		}()
	}
	for range floodThreads {
		<-ran
	}
	fmt.Println("ran")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// TestTasks_FloodLeavesRoomForOthers has a container with more threads than the table has places. Another's run delays
// are still measured, what is lost is the first one's, and ended threads give their places back.
func TestTasks_FloodLeavesRoomForOthers(t *testing.T) {
	bpftest.Root(t)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	bpftest.CloseAfter(t, s)
	flood, quiet := bpftest.NewCgroup(t, "orb8-"+t.Name()+"-flood"), bpftest.NewCgroup(t, "orb8-"+t.Name()+"-quiet")
	p, err := Open(t.Context(), Options{
		Scope: s, CgroupRoot: bpftest.CgroupRoot(t), Interval: time.Hour, maxTasks: taskRoom,
		Containers: func() []Container {
			return []Container{{Cgroup: flood.ID, Path: flood.Path}, {Cgroup: quiet.ID, Path: quiet.Path}}
		},
	})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	bpftest.CloseAfter(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	runs := map[uint64]uint64{}
	running.Go(func() {
		if err := p.Run(ctx, func(cgroup uint64, ev *event.Event) {
			runs[cgroup] += ev.GetResources().GetRunQueue().GetRuns()
		}); err != nil {
			t.Error(err)
		}
	})
	readResources := func() {
		t.Helper()
		if err := p.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	readResources() // from now on both are counted

	child := bpftest.Child(t, "hold threads", flood)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if out, err := bpftest.Child(t, "compete", quiet).Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	readResources()
	if runs[quiet.ID] == 0 {
		t.Error("the quiet cgroup has no run")
	}
	for _, l := range p.Lost() {
		if l.Stage != event.LossStage_LOSS_STAGE_KERNEL_MAP || l.Cgroup != flood.ID {
			t.Errorf("lost %+v, want only of the flood %d", l, flood.ID)
		}
	}
	if len(p.Lost()) == 0 {
		t.Errorf("%d threads in %d places, and nothing is lost", floodThreads, taskRoom)
	}
	if held := held(t, p, flood); held < taskRoom*4/5 || held >= taskRoom {
		t.Errorf("the flood holds %d of %d places, want the first %d and a part of the reserve", held, taskRoom,
			taskRoom*4/5)
	}
	stdin.Close()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(waitTimeout); held(t, p, flood) != 0 ||
		held(t, p, quiet) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d and %d places are held, and no thread is left", held(t, p, flood), held(t, p, quiet))
		}
	}
}

// held is how many threads of a cgroup have a place.
func held(t *testing.T, p *Probe, c *bpftest.Cgroup) int64 {
	t.Helper()
	return bpftest.Held(t, p.objects.Shares, c, 0)
}
