package e2e

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// execEvent holds fields of an exec or exit event.
type execEvent struct {
	Phase                        string
	Node, Pod, Container         string
	PID, ContainerPID, PPID, UID *uint32
	Comm, ParentComm             string
	Filename, Command, Cwd       *string
	ArgsTruncated, CoreDumped    *bool
	Outcome, Signal              *string
	ExitCode                     *uint32
	LifetimeMicros               *int64
	MemoryLimitBytes             *uint64
}

// processes returns the exec and the exit event of a process in a pod's container. It fails unless there is one of
// each.
func processes(t *testing.T, tr *kit.Trace, pod string, pid int) (began, ended execEvent) {
	t.Helper()
	var got []execEvent
	tr.JQ(t, &got,
		`map(select(.kind == "exec" and .pod == $pod and .container != null and .containerPid == ($pid | tonumber)))`,
		"--arg", "pod", pod, "--arg", "pid", strconv.Itoa(pid))
	if len(got) != 2 || got[0].Phase != "exec" || got[1].Phase != "exit" || *got[0].PID != *got[1].PID {
		t.Fatalf("process %d of %s: %+v, want its exec and its exit", pid, pod, got)
	}
	return got[0], got[1]
}

// TestExec starts processes with known arguments and ends, and compares their events with these.
func TestExec(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	worker := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "worker", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "other", Node: e.Nodes[1]})[0]
	tr := e.Trace(t, "trace", "exec", "-n", ns, "-o", "json", "--fail-on-loss")
	tr.AwaitStreaming(t, 2)

	run := func(args ...string) []report.Report { return worker.Exec(t, append([]string{"spawn"}, args...)...) }
	const many = 300
	noops, failed, crashed := run("-count", "5", "noop", "a b"), run("-dir", "/tmp/some where", "die", "-code", "3"),
		run("die", "-signal", "11")
	hostile, crowd := run("-hostile"), run("-count", strconv.Itoa(many), "noop", "crowd")

	// A pod that ends before anyone could query its name, and one that is OOM-killed.
	e.RunPod(t, kit.PodSpec{Namespace: ns, Name: "brief", Node: e.Nodes[1], Args: []string{"noop", "brief"}})
	const limit = 32 << 20
	state := e.FailPod(t, kit.PodSpec{Namespace: ns, Name: "greedy", Node: e.Nodes[0], Memory: "32Mi",
		Args: []string{"hog"}})
	if state.Reason != "OOMKilled" {
		t.Fatalf("the pod above its memory limit ended with %+v", state)
	}
	tr.Stop(t)

	// common checks the fields that all processes of spawn share. It runs /proc/self/exe.
	common := func(t *testing.T, began, ended execEvent, r report.Report) {
		t.Helper()
		if began.Node != e.Nodes[0] || began.Container != "workload" || began.Filename == nil ||
			*began.Filename != "/proc/self/exe" ||
			began.ParentComm != "workload" || *began.UID != 0 || ended.Command != nil || began.Outcome != nil {
			t.Errorf("exec %+v, exit %+v", began, ended)
		}
		if took := r.End.Sub(r.Start).Microseconds(); *ended.LifetimeMicros <= 0 || *ended.LifetimeMicros > took {
			t.Errorf("a lifetime of %d µs; its parent measured %d", *ended.LifetimeMicros, took)
		}
	}
	exited := func(t *testing.T, ended execEvent, code uint32) {
		t.Helper()
		if ended.Outcome == nil || *ended.Outcome != "exited" || ended.ExitCode == nil || *ended.ExitCode != code ||
			ended.Signal != nil {
			t.Errorf("%+v, want exit code %d", ended, code)
		}
	}
	t.Run("arguments and exit code 0", func(t *testing.T) {
		for _, r := range noops {
			began, ended := processes(t, tr, "worker", r.PID)
			common(t, began, ended, r)
			exited(t, ended, 0)
			if *began.Command != "workload noop 'a b'" || *began.ArgsTruncated || *began.Cwd != "/" {
				t.Errorf("%s in %s, truncated: %v", *began.Command, *began.Cwd, *began.ArgsTruncated)
			}
		}
	})
	t.Run("exit code and directory", func(t *testing.T) {
		began, ended := processes(t, tr, "worker", failed[0].PID)
		common(t, began, ended, failed[0])
		exited(t, ended, 3)
		if *began.Cwd != "/tmp/some where" {
			t.Errorf("its directory is %q", *began.Cwd)
		}
	})
	t.Run("crash", func(t *testing.T) {
		began, ended := processes(t, tr, "worker", crashed[0].PID)
		common(t, began, ended, crashed[0])
		status := syscall.WaitStatus(crashed[0].Status)
		if *ended.Outcome != "signaled" || *ended.Signal != "SIGSEGV" || ended.ExitCode != nil ||
			*ended.CoreDumped != status.CoreDump() {
			t.Errorf("%+v, want the signal of status %#x", ended, status)
		}
	})
	t.Run("hostile arguments", func(t *testing.T) {
		began, ended := processes(t, tr, "worker", hostile[0].PID)
		common(t, began, ended, hostile[0])
		want := strings.Join(append([]string{"workload", "noop"}, report.Hostile()...), "\x00") + "\x00"
		if want = want[:4096]; !*began.ArgsTruncated {
			t.Error("argsTruncated is false")
		}
		// A shell parses the command into the process's arguments.
		out, err := exec.Command("bash", "-c", "printf '%s\\0' "+*began.Command).Output()
		if got := strings.TrimSuffix(string(out), "\x00"); err != nil || got != want {
			t.Errorf("%v: the shell reads %q, want %q", err, got, want)
		}
		for _, r := range *began.Command {
			if r < ' ' || r == 0x7f || r == 0x202e {
				t.Errorf("%q in the command", r)
			}
		}
	})
	t.Run("many", func(t *testing.T) {
		if len(crowd) != many {
			t.Fatalf("%d of %d processes were started", len(crowd), many)
		}
		var got struct{ Execs, Exits, Distinct int }
		tr.JQ(t, &got,
			`map(select(.pod == "worker")) | (map(select(.command == "workload noop crowd")) | map(.pid)) as $pids |
			{execs: $pids | length, distinct: $pids | unique | length,
				exits: map(select(.phase == "exit" and .exitCode == 0 and (.pid | IN($pids[])))) | length}`)
		if got.Execs != many || got.Exits != many || got.Distinct != many {
			t.Errorf("%+v of %d processes", got, many)
		}
	})
	t.Run("a container's first program", func(t *testing.T) {
		began, ended := processes(t, tr, "brief", 1)
		exited(t, ended, 0)
		if *began.Command != "/workload noop brief" || began.Container != "workload" || began.Node != e.Nodes[1] ||
			*began.Cwd != "/" {
			t.Errorf("%+v", began)
		}
	})
	t.Run("OOM kill", func(t *testing.T) {
		_, ended := processes(t, tr, "greedy", 1)
		if *ended.Outcome != "oom-killed" || *ended.Signal != "SIGKILL" || ended.MemoryLimitBytes == nil ||
			*ended.MemoryLimitBytes != limit || ended.Container != "workload" {
			t.Errorf("%+v, want an OOM kill at %d bytes", ended, limit)
		}
	})
	t.Run("schema", func(t *testing.T) { tr.CheckSchema(t) })
	t.Run("table", func(t *testing.T) { execTable(t, e, ns, worker) })
}

// execTable checks the table that users see.
func execTable(t *testing.T, e *kit.Env, ns string, worker *kit.Pod) {
	tr := e.Trace(t, "trace", "exec", "worker", "-n", ns, "--filter", `comm.startsWith("exe") || phase == "exec"`)
	tr.AwaitStreaming(t, 1)
	worker.Exec(t, "spawn", "-hostile")
	worker.Exec(t, "spawn", "die", "-signal", "11")
	tr.Stop(t)
	written, err := os.ReadFile(tr.Output)
	if err != nil {
		t.Fatal(err)
	}
	out := string(written)
	for _, want := range []string{"POD", "COMMAND", "SIGSEGV", "worker", `$'\x1b[31mred\x1b[0m'`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	for _, r := range out {
		if r != '\n' && (r < ' ' || r == 0x202e || r == 0x7f || r == 0xfffd) {
			t.Fatalf("%q on the terminal:\n%q", r, out)
		}
	}
}
