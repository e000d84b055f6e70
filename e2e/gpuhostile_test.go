package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// hostileMark is the text that the hostile library prints. The last line of a process that loads it would be in an
// "unavailable" event.
const hostileMark = "code of a pod ran here"

// TestGPU_LoadsNoLibraryOfPods has an unprivileged pod map its own library, with the driver's name, while another pod
// is traced.
func TestGPU_LoadsNoLibraryOfPods(t *testing.T) {
	e := kit.NeedOwn(t)
	ns, other := e.Namespace(t, nil), e.Namespace(t, nil)
	const mapped = "/libnvidia-ml.so.999.1"
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "traced", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: other, Name: "hostile", Node: e.Nodes[0], Unprivileged: true,
			Args: []string{"maplibrary", "-file", mapped}},
	)
	mapHostile(t, pods[1], mapped)
	notLoaded := func(t *testing.T, tr *kit.Trace) {
		t.Helper()
		var ran bool
		tr.JQ(t, &ran, `any(.message != null and (.message | contains($mark)))`, "--arg", "mark", hostileMark)
		if ran {
			t.Error("the pod's library was loaded")
		}
	}
	t.Run("without a driver", func(t *testing.T) {
		tr := e.Trace(t, "trace", "gpu", "-n", ns, "-o", "json")
		tr.AwaitJQ(t, `any(.type == "unavailable" and .message != null)`)
		tr.Stop(t)
		tr.AwaitJQ(t, `any(.type == "unavailable" and (.message | contains("no NVIDIA driver on this node")))`)
		notLoaded(t, tr)
	})
	t.Run("with a driver", func(t *testing.T) {
		driver := fakes.BuildNVML(t)
		driver.Script(t, e.Nodes[0], script(1, h100(0))...)
		tr := e.Trace(t, "trace", "gpu", "-n", ns, "--nvml-library", driver.Library, "-o", "json")
		tr.AwaitJQ(t, `any(.type == "device" and .gpu.uuid == "GPU-0")`)
		childHasNoPrivileges(t)
		tr.Stop(t)
		notLoaded(t, tr)
	})
}

// mapHostile copies the hostile library into a pod and waits until the pod maps it.
func mapHostile(t *testing.T, pod *kit.Pod, path string) {
	t.Helper()
	dir := t.TempDir()
	source, library := filepath.Join(dir, "hostile.c"), filepath.Join(dir, "hostile.so")
	code := fmt.Sprintf(`#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void init(void) { fputs("%s\\n", stderr); _exit(1); }
`, hostileMark)
	if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	b, err := os.ReadFile(library)
	if err != nil {
		t.Fatal(err)
	}
	pids := pod.HostPIDs(t, "workload")
	if len(pids) != 1 {
		t.Fatalf("the hostile pod has the processes %v", pids)
	}
	inside := fmt.Sprintf("/proc/%d/root%s", pids[0], path)
	if err := os.WriteFile(inside+".new", b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(inside+".new", inside); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pids[0]))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(maps, []byte(path)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the hostile pod maps no library")
		}
	}
}

// childHasNoPrivileges checks the privileges of the processes that load the driver's library.
func childHasNoPrivileges(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range files {
		if comm, err := os.ReadFile(file); err != nil || string(comm) != "orb8-nvml\n" {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		if err != nil {
			continue
		}
		seen++
		for _, want := range []string{
			"Uid:\t60908\t60908\t60908\t60908\n", "Gid:\t60908\t60908\t60908\t60908\n", "CapInh:\t0000000000000000\n",
			"CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
			"NoNewPrivs:\t1\n", "Seccomp:\t2\n",
		} {
			if !bytes.Contains(status, []byte(want)) {
				t.Errorf("orb8-nvml lacks %q:\n%s", want, status)
			}
		}
	}
	if seen == 0 {
		t.Error("no orb8-nvml runs")
	}
}
