package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// caller is a pod whose program makes known calls of a fake driver's library.
type caller struct {
	name, node, image string
	args              []string
	// mounts are files of the node by their path in the pod, like those that NVIDIA's runtime mounts.
	mounts map[string]string
	// waits makes it wait for the file "go" first.
	waits bool
	// commands are its commands; default: rounds of calls, which it counts.
	commands []string
	// script is the script of its library.
	script []string

	env       *kit.Env
	namespace string
	uid       types.UID
}

// rounds is the number of rounds of calls that a caller makes by default.
const rounds = 20

func (c *caller) start(t *testing.T, e *kit.Env, namespace string) {
	t.Helper()
	c.env, c.namespace = e, namespace
	pod := kit.PodSpec{Namespace: namespace, Name: c.name, Node: c.node}.Object()
	workload := &pod.Spec.Containers[0]
	workload.Image, workload.Args = c.image, c.args
	if c.waits {
		workload.Args = append(workload.Args, "await /tmp/go")
	}
	if c.commands == nil {
		c.commands = []string{fmt.Sprint("round ", rounds), "await /tmp/end"}
	}
	workload.Args = append(workload.Args, c.commands...)
	mounts := maps.Clone(c.mounts)
	if c.script != nil {
		const path = "/tmp/script"
		mounts[path] = fakes.CUDAScript(t, c.script...)
		workload.Env = append(workload.Env, corev1.EnvVar{Name: "ORB8_CUDA_SCRIPT", Value: path})
	}
	for to, from := range mounts {
		name := fmt.Sprint("file-", len(pod.Spec.Volumes))
		kind := corev1.HostPathFile
		pod.Spec.Volumes = append(pod.Spec.Volumes,
			corev1.Volume{Name: name,
				VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: from, Type: &kind}}})
		workload.VolumeMounts = append(workload.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: to,
			ReadOnly: true})
	}
	made, err := e.Client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.uid = made.UID
}

// pid waits for its process and returns the pid.
func (c *caller) pid(t *testing.T) uint32 {
	t.Helper()
	var pid uint32
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true,
		func(context.Context) (bool, error) {
			pids := kit.PIDsOf(t, c.uid, "cuda")
			if len(pids) == 1 {
				pid = pids[0]
			}
			return pid != 0, nil
		})
	if err != nil {
		t.Fatalf("%s: %v: %s", c.name, err, c.log(t))
	}
	return pid
}

// touch creates a file that it waits for.
func (c *caller) touch(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/tmp/%s", c.pid(t), name), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (c *caller) log(t *testing.T) []byte {
	t.Helper()
	b, err := c.env.Client.CoreV1().Pods(c.namespace).GetLogs(c.name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		return []byte(err.Error())
	}
	return b
}

// counts returns the JSON of its own counters, with null for those that the trace cannot know: outstandingBytes unless
// whole, collectives unless nccl.
func (c *caller) counts(t *testing.T, whole, nccl bool) string {
	t.Helper()
	var counts map[string]any
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true,
		func(context.Context) (bool, error) {
			line, _, ok := bytes.Cut(c.log(t), []byte("\n"))
			return ok && json.Unmarshal(line, &counts) == nil, nil
		})
	if err != nil {
		t.Fatalf("%s: %v: %s", c.name, err, c.log(t))
	}
	if !whole {
		counts["outstandingBytes"] = nil
	}
	if !nccl {
		counts["collectives"] = nil
	}
	b, err := json.Marshal(counts)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCUDACalls counts the pods' calls of a fake driver's library by the real tracer's uprobes. There are two images:
// one gets the library from the node, the other has its own. Programs link the library or load it like a static
// runtime, and start before or after the trace.
func TestCUDACalls(t *testing.T) {
	t.Parallel()
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	other := e.Namespace(t, nil)
	driver := fakes.BuildNVML(t)
	for _, node := range e.Nodes {
		driver.Script(t, node, script(1, h100(0))...)
	}
	fake := fakes.BuildCUDA(t)
	const mountedImage, ownImage = "orb8.dev/e2e/cuda:dev", "orb8.dev/e2e/cuda-own:dev"
	const compat = "/usr/local/cuda/compat/libcuda.so.1"
	for reference, files := range map[string]map[string]string{mountedImage: nil,
		ownImage: {compat: fake.Library, "/usr/lib/libnccl.so.2": fake.NCCL}} {
		if out, err := e.Cluster("load", fake.Image(t, reference, files)); err != nil {
			t.Fatalf("load %s: %v\n%s", reference, err, out)
		}
	}
	mounted := "/usr/lib/libcuda.so.1"
	node := map[string]string{mounted: fake.Library}
	early := &caller{name: "early", node: e.Nodes[0], image: mountedImage, mounts: node,
		args: []string{"-threads", "3", mounted}, waits: true}
	image := &caller{name: "image", node: e.Nodes[1], image: ownImage, args: []string{"-threads", "2", "-nccl",
		"/usr/lib/libnccl.so.2", compat}, waits: true}
	stranger := &caller{name: "stranger", node: e.Nodes[0], image: mountedImage, mounts: node, args: []string{mounted}}
	idle := &caller{name: "idle", node: e.Nodes[1], image: mountedImage, mounts: node,
		args: []string{mounted}, waits: true}
	for _, c := range []*caller{early, image, idle} {
		c.start(t, e, ns)
		c.pid(t)
	}

	tr := e.Trace(t, "trace", "gpu", "-n", ns, "--nvml-library", driver.Library, "--cuda-library", fake.Library,
		"--interval", "300ms", "-o", "json")
	tr.AwaitStreaming(t, 2)
	started := &caller{name: "started", node: e.Nodes[1], image: mountedImage, mounts: node,
		args: []string{"-runtime", "-threads", "2", mounted}}
	late := &caller{name: "late", node: e.Nodes[0], image: ownImage,
		args: []string{"-runtime", "-nccl", "/usr/lib/libnccl.so.2", compat}, waits: true}
	started.start(t, e, ns)
	late.start(t, e, ns)
	stranger.start(t, e, other)
	// A process that has loaded the library and not called it is reported with zeros. From then on all calls are seen.
	for _, c := range []*caller{early, image, late} {
		tr.AwaitJQ(t,
			`any(.type == "calls" and .pod == $pod and .proc.comm == "cuda" and .proc.pid == ($pid | tonumber)
			and .cuda.launches == 0)`,
			"--arg", "pod", c.name, "--arg", "pid", fmt.Sprint(c.pid(t)))
		c.touch(t, "go")
	}
	for c, known := range map[*caller]struct{ whole, nccl bool }{early: {false, false}, image: {false, true},
		started: {true, false}, late: {false, true}} {
		args := []string{"--arg", "pod", c.name, "--argjson", "want", c.counts(t, known.whole, known.nccl)}
		tr.AwaitJQ(t, `[.[] | select(.type == "calls" and .pod == $pod)] | last | .cuda as $calls
			| $want | keys | all($calls[.] == $want[.])`, args...)
		tr.AwaitJQ(t, `[.[] | select(.type == "failed" and .pod == $pod)] | length == $want.failures`, args...)
	}
	stranger.counts(t, false, false)
	var ok bool
	jq := func(what, condition string, args ...string) {
		t.Helper()
		if tr.JQ(t, &ok, condition, args...); !ok {
			t.Errorf("false: %s", what)
		}
	}
	jq("a failure names call, error and size",
		`any(.type == "failed" and .pod == "started"
		and .failure == {call: "cuMemAlloc_v2", code: 2, bytes: 1099511627776} and .proc.comm == "cuda"
		and .message == "cuMemAlloc_v2 of 1.0Ti bytes: out of memory (2)")`)
	jq("a failed synchronisation has no size",
		`any(.type == "failed" and .pod == "early"
		and .failure == {call: "cuStreamSynchronize", code: 400, bytes: null})`)
	jq("no calls of another pod", `all(.type != "calls" and .type != "failed" or .pod != "stranger" and .pod != null)`)
	jq("numbers never go back",
		`[.[] | select(.type == "calls")] | group_by(.pod)
		| all([.[].cuda | [.launches, .copies, .copyMicros, .syncs, .syncMicros, .frees]] | . as $all
		| all(range(1; length); . as $i | all(range(6); . as $j | $all[$i][$j] >= $all[$i-1][$j])))`)
	jq("the start of counting", `[.[] | select(.type == "calls" and .cuda.since == null)] | length == 0`)
	// Its first event may not have come by now.
	tr.AwaitJQ(t, `[.[] | select(.type == "calls" and .pod == "idle")] | last
		| .cuda.copies == 0 and .cuda.collectives == null`)
	jq("devices are read, too", `any(.type == "device" and .activity.smPercent == 45.5)`)
	started.touch(t, "end")
	tr.AwaitJQ(t,
		`. as $all
		| ([range(length)] | map(select($all[.].type == "calls" and $all[.].pod == "started")) | last) as $at
		| [$all[$at:][] | select(.type == "calls" and .pod == "early")] | length > 3`)
	tr.Stop(t)
	tr.CheckSchema(t)
}

// TestCUDACalls_MissingLibrary reports why calls are not counted, and still reads the devices.
func TestCUDACalls_MissingLibrary(t *testing.T) {
	t.Parallel()
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "plain", Node: e.Nodes[0]})
	driver := fakes.BuildNVML(t)
	driver.Script(t, e.Nodes[0], script(1, h100(0))...)
	nothing := filepath.Join(t.TempDir(), "libcuda.so.1")
	tr := e.Trace(t, "trace", "gpu", "-n", ns, "--nvml-library", driver.Library, "--cuda-library", nothing, "-o",
		"json")
	tr.AwaitJQ(t,
		`any(.type == "unavailable" and .node == $node and .message == "calls are not counted: --cuda-library " +
			$path + ": there is no such library for " + $arch + " on this node")`,
		"--arg", "node", e.Nodes[0], "--arg", "path", nothing, "--arg", "arch", runtime.GOARCH)
	tr.AwaitJQ(t, `any(.type == "device" and .gpu.uuid == "GPU-0")`)
	tr.AwaitJQ(t, `[.[] | select(.type == "device")] | length > 2`)
	tr.Stop(t)
	if s := tr.Stderr(); !bytes.Contains([]byte(s), []byte("gpu: calls are not counted on "+e.Nodes[0])) {
		t.Errorf("%s", s)
	}
}
