//go:build linux

package gpu

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	kubeletapi "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
)

// connect connects to the fake kubelet at a path until the test ends.
func connect(tb testing.TB, path string) *client {
	tb.Helper()
	c, err := (&kubelets{places: places{own: "/", host: "/", proc: "/proc"}, node: "a", wanted: path}).connect()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// list requests the allocations.
func list(t *testing.T, c *client) *allocation {
	t.Helper()
	a, err := c.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAllocations_OfKubeletAnswer(t *testing.T) {
	p := fakes.NewPodResources(t)
	p.SetPods(t, "a", fakes.GivenTo("ml", "train", "main", "nvidia.com/gpu", "GPU-aa", "GPU-bb::1"),
		fakes.GivenTo("ml", "plain", "main", ""),
		fakes.ClaimedBy("ml", "claimer", "main", draDriver, "a", "gpu-0"),
		fakes.GivenTo("ml", "fpga", "main", "example.com/fpga", "0"))
	c := connect(t, p.Path)
	last := list(t, c)
	var got []string
	for _, g := range last.given {
		got = append(got,
			strings.Join([]string{g.container.String(), g.resource, g.id, map[bool]string{true: "sure"}[g.sure]}, " "))
	}
	want := "ml/train/main nvidia.com/gpu GPU-aa sure;ml/train/main nvidia.com/gpu GPU-bb::1 sure;ml/claimer/main " +
		"gpu.nvidia.com gpu-0 sure;ml/fpga/main example.com/fpga 0 "
	if strings.Join(got, ";") != want || !last.listed["ml/plain/main"] || len(last.listed) != 4 ||
		time.Since(last.requested) > time.Minute {
		t.Errorf("%q, %v", got, last.listed)
	}
	p.SetPods(t, "a")
	if last := list(t, c); len(last.given) != 0 {
		t.Errorf("after the end of all pods: %v", last.given)
	}
	p.Stop("a") // it restarts, with a socket of the same name
	p.SetPods(t, "a", fakes.GivenTo("ml", "other", "main", "nvidia.com/gpu", "GPU-aa"))
	if last := list(t, connect(t, p.Path)); !last.listed["ml/other/main"] {
		t.Errorf("after a restart: %v", last.listed)
	}
}

func TestAllocations_FailedRequestIsUnknown(t *testing.T) {
	p := fakes.NewPodResources(t)
	a := newAllocations(kubelets{places: places{own: "/", host: "/", proc: "/proc"}, node: "a", wanted: p.Path}, 0)
	if last, reason := a.now(); last != nil || reason != notYet {
		t.Errorf("before the first answer: %v, %q", last, reason)
	}
	for _, test := range []struct {
		what, want string
		do         func()
	}{
		{"no socket", "there is no such socket on this node", func() {}},
		{"nonsense", "the kubelet: ", func() { p.Nonsense(t, "a") }},
		{"an answer without end", "the kubelet: ", func() {
			p.SetPods(t, "a", fakes.GivenTo("ml", strings.Repeat("x", maxAnswer), "main", ""))
		}},
	} {
		test.do()
		err := a.follow(t.Context())
		if err == nil {
			t.Fatalf("%s: no error", test.what)
		}
		a.set(nil, err)
		if last, reason := a.now(); last != nil || !strings.Contains(reason, test.want) || len(reason) > maxReason+
			len("…") {
			t.Errorf("%s: %v, %q", test.what, last, reason)
		}
	}
}

// hanging is a kubelet that does not answer while it hangs.
type hanging struct {
	kubeletapi.UnimplementedPodResourcesListerServer
	hangs atomic.Bool
}

func (h *hanging) List(
	ctx context.Context, _ *kubeletapi.ListPodResourcesRequest,
) (*kubeletapi.ListPodResourcesResponse, error) {
	if h.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &kubeletapi.ListPodResourcesResponse{PodResources: []*kubeletapi.PodResources{
		fakes.GivenTo("ml", "train", "main", "nvidia.com/gpu", "GPU-aa"),
	}}, nil
}

// TestAllocations_HangingKubeletTimesOut connects through memory, so that synctest controls the time.
func TestAllocations_HangingKubeletTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, h, server := bufconn.Listen(64<<10), &hanging{}, grpc.NewServer()
		kubeletapi.RegisterPodResourcesListerServer(server, h)
		h.hangs.Store(true)
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		defer func() {
			server.Stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		}()
		a := newAllocations(kubelets{}, 0)
		a.connect = func() (*client, error) {
			return newClient(socket{t.TempDir(), "/pod-resources/kubelet.sock"},
				func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.run(ctx)
		}()
		hasGiven := func() bool { last, reason := a.now(); return last != nil && reason == "" }
		time.Sleep(listTimeout - time.Nanosecond)
		if _, reason := a.now(); reason != notYet {
			t.Errorf("too early: %q", reason)
		}
		time.Sleep(2 * time.Nanosecond)
		if last, reason := a.now(); last != nil || reason != "the kubelet did not answer within 3s" {
			t.Errorf("%v, %q", last, reason)
		}
		h.hangs.Store(false)
		time.Sleep(retryInterval)
		if !hasGiven() {
			t.Error("no answer when it does not hang any more")
		}
		h.hangs.Store(true)
		time.Sleep(minListInterval + listTimeout)
		if hasGiven() {
			t.Error("the answer before it hung is still used")
		}
		cancel()
		<-done
	})
}

func TestAllocations_OldKubeletHidesClaims(t *testing.T) {
	p := fakes.NewPodResources(t)
	driver := filepath.Join(filepath.Dir(filepath.Dir(p.Path)), "plugins", draDriver)
	vague := func() string {
		t.Helper()
		c := connect(t, p.Path)
		for range 2 {
			if s := list(t, c).vague; s != "" {
				return s
			}
		}
		return ""
	}
	p.SetPods(t, "a", fakes.GivenTo("ml", "train", "main", "nvidia.com/gpu", "GPU-aa"))
	p.Old(t, "a")
	if got := vague(); got != "" {
		t.Errorf("without a DRA driver: %q", got)
	}
	if err := os.MkdirAll(driver, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := vague(); got != noClaims {
		t.Errorf("claims are not reported: %q", got)
	}
	p.SetPods(t, "a", fakes.ClaimedBy("ml", "train", "main", draDriver, "a", "gpu-0"))
	if got := vague(); got != "" {
		t.Errorf("claims are reported, by a feature gate: %q", got)
	}
	p.Stop("a")
	p.SetPods(t, "a")
	if got := vague(); got != "" {
		t.Errorf("a newer kubelet reports them: %q", got)
	}
}

func TestExplain_OldKubelet(t *testing.T) {
	_, err := kubeletapi.UnimplementedPodResourcesListerServer{}.List(t.Context(), nil)
	if got := explain(err); !strings.HasPrefix(got,
		"the kubelet is too old for this, it has no pod-resources API v1: ") {
		t.Errorf("%q", got)
	}
}

// BenchmarkList is one request to a kubelet with 110 pods of two containers, eight of which have a GPU, over a socket.
func BenchmarkList(b *testing.B) {
	p := fakes.NewPodResources(b)
	var pods []*kubeletapi.PodResources
	for i := range 110 {
		pod := fakes.GivenTo("a-namespace", fmt.Sprintf("a-deployment-of-something-6d4cf56db6-%05d", i), "main", "")
		if i < 8 {
			pod = fakes.GivenTo("a-namespace", fmt.Sprintf("a-training-%05d", i), "main", "nvidia.com/gpu",
				fmt.Sprintf("GPU-8dcd427f-483b-b48f-d7e5-75fb19a52b%02d", i))
		}
		pod.Containers = append(pod.Containers, &kubeletapi.ContainerResources{Name: "sidecar",
			CpuIds: []int64{1, 2, 3, 4}})
		pods = append(pods, pod)
	}
	p.SetPods(b, "a", pods...)
	c := connect(b, p.Path)
	for b.Loop() {
		if _, err := c.list(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
