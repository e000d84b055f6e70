//go:build linux

package tracer

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"google.golang.org/grpc"
)

func TestMain(m *testing.M) { os.Exit(bpftest.Main(m)) }

// exchange sends n bytes over a TCP connection whose two ends belong to two cgroups, and closes it from the client's
// side.
func exchange(t *testing.T, client, server *bpftest.Cgroup, n int) {
	t.Helper()
	var listener net.Listener
	server.Run(t, func() {
		var err error
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	})
	defer func() { _ = listener.Close() }()
	received := make(chan int64, 1)
	go func() {
		defer close(received)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		got, _ := io.Copy(io.Discard, conn)
		received <- got
	}()
	client.Run(t, func() {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	})
	if got := <-received; got != int64(n) {
		t.Fatalf("the server received %d bytes of %d", got, n)
	}
}

// closed reads on until a flow of a container is closed, and returns the event. No event of another pod may come.
func closed(t *testing.T, stream grpc.ServerStreamingClient[session.Batch], container string) *event.Event {
	t.Helper()
	for {
		b, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range b.GetEvents() {
			if lost := ev.GetLost(); lost != nil {
				t.Errorf("lost: %v", lost)
			}
			if ev.GetPod() != "web" || ev.GetNode() != "node-1" || ev.GetPodUid() != podUID {
				t.Errorf("an event of pod %q on %q", ev.GetPod(), ev.GetNode())
			}
			if ev.GetContainer() == container && ev.GetFlow().GetPhase() == event.Phase_PHASE_CLOSED {
				return ev
			}
		}
	}
}

func TestKernel_NamesFlows(t *testing.T) {
	bpftest.Root(t)
	const (
		base      = "/orb8-tracer-test/kubepods/burstable/pod" + podUID
		otherUID  = "7be1d6a2-33c4-45f0-8f5e-2b7a1e1d9c02"
		laterName = "later"
	)
	laterID := strings.Repeat("2", 64)
	bpftest.NewCgroup(t, base+"/"+strings.Repeat("0", 64)) // the sandbox
	app := bpftest.NewCgroup(t, base+"/"+containerID)
	// Another node's pod on the same kernel.
	other := bpftest.NewCgroup(t, "/orb8-tracer-test2/kubepods/pod"+otherUID+"/"+strings.Repeat("3", 64))

	n := startNode(t, func(c *Config) { c.Kernel = Host{CgroupMount: "/sys/fs/cgroup"} })
	l := n.begin()
	stream := l.events(0)

	exchange(t, app, other, 100_000)
	ev := closed(t, stream, "app")
	flow := ev.GetFlow()
	if ev.GetNamespace() != "demo" || ev.GetWorkload() != "deploy/web" {
		t.Errorf("of %s, %s", ev.GetNamespace(), ev.GetWorkload())
	}
	if flow.GetObserved() != event.Side_SIDE_SRC || flow.GetSrcCounters().GetBytesSent() != 100_000 ||
		flow.GetDstCounters() != nil {
		t.Errorf("flow: %v", flow)
	}

	// A container that starts before the client knows it.
	later := bpftest.NewCgroup(t, base+"/"+laterID)
	exchange(t, other, later, 50_000)
	pods := demoPods()
	pods.Upsert[0].Containers = append(pods.Upsert[0].Containers, &session.Container{Name: laterName, Id: laterID,
		Target: true})
	l.send(podsMessage(pods))
	ev = closed(t, stream, laterName)
	if flow := ev.GetFlow(); flow.GetObserved() != event.Side_SIDE_DST ||
		flow.GetDstCounters().GetBytesReceived() != 50_000 {
		t.Errorf("flow: %v", flow)
	}

	mine := held(t)
	if len(mine.Programs) == 0 || len(mine.Maps) == 0 || len(mine.Links) == 0 {
		t.Errorf("loaded: %+v", mine)
	}
	l.send(&session.ClientMessage{Message: &session.ClientMessage_Stop{Stop: &session.Stop{}}})
	final := false
	for {
		b, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		final = b.GetFinal()
	}
	if !final {
		t.Error("the last batch was not final")
	}
	if err := l.control.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := n.ended(); err != nil {
		t.Error(err)
	}
	// The kernel frees unreferenced objects after an RCU grace period.
	for deadline := time.Now().Add(10 * time.Second); bpftest.Snapshot(t).Has(mine); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("something was left in the kernel")
		}
	}
}

// TestKernel_NamesContainerBeforeKubelet has a process in a container's cgroup with the mount that a kubelet
// makes, and a client that never hears of the container's id.
func TestKernel_NamesContainerBeforeKubelet(t *testing.T) {
	bpftest.Root(t)
	n := startNode(t, func(c *Config) { c.Kernel = Host{CgroupMount: "/sys/fs/cgroup"} })
	l := n.greet()
	l.send(configMessage("flow"))
	pods := demoPods()
	pods.Upsert[0].Containers[0].Id = ""
	l.send(podsMessage(pods))
	if started := l.hear().GetStarted(); started == nil || started.GetError() != "" {
		t.Fatalf("started: %v", started)
	}
	stream := l.events(0)

	const base = "/orb8-tracer-test3/kubepods/burstable/pod" + podUID
	bpftest.NewCgroup(t, base+"/"+strings.Repeat("0", 64)) // the sandbox
	app := bpftest.NewCgroup(t, base+"/"+containerID)
	other := bpftest.NewCgroup(t, "/orb8-tracer-test3/host")
	dir := t.TempDir()
	words, log := filepath.Join(dir, "pods", podUID, "containers", "app", "4e1c0d9a"),
		filepath.Join(dir, "termination-log")
	if err := os.MkdirAll(filepath.Dir(words), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{words, log} {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	inside, err := os.Open(app.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	process := exec.Command("sh", "-c", `mount --bind "$0" "$1" && exec cat`, words, log)
	process.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, UseCgroupFD: true,
		CgroupFD: int(inside.Fd()), Pdeathsig: syscall.SIGKILL}
	life, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	process.Stderr = t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	exchange(t, app, other, 1000)
	ev := closed(t, stream, "app")
	if got := ev.GetFlow().GetSrcCounters().GetBytesSent(); got != 1000 {
		t.Errorf("%d bytes sent", got)
	}
	if err := life.Close(); err != nil {
		t.Fatal(err)
	}
	if err := process.Wait(); err != nil {
		t.Error(err)
	}
}

// held returns the programs, maps and links of which this process holds descriptors.
func held(t *testing.T) (l bpftest.Loaded) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // closed since
		}
		for line := range strings.Lines(string(raw)) {
			key, value, _ := strings.Cut(line, ":")
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			switch {
			case err != nil:
			case key == "prog_id":
				l.Programs = append(l.Programs, ebpf.ProgramID(id))
			case key == "map_id":
				l.Maps = append(l.Maps, ebpf.MapID(id))
			case key == "link_id":
				l.Links = append(l.Links, link.ID(id))
			}
		}
	}
	return l
}

func TestHost_ReportsMissingCgroup2(t *testing.T) {
	mount := t.TempDir()
	n := startNode(t, func(c *Config) { c.Kernel = Host{CgroupMount: mount} })
	l := n.greet()
	l.send(configMessage("flow"))
	l.send(podsMessage(demoPods()))
	if got := l.hear().GetStarted().GetError(); !strings.HasPrefix(got, "no cgroup v2 mount at "+mount) {
		t.Errorf("got %q", got)
	}
	if err := l.control.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := n.ended(); err == nil {
		t.Error("it ended without an error")
	}
}
