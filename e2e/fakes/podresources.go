package fakes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	kubeletapi "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// PodResources fakes the pod-resources API of the kubelets of several nodes, with the real protobuf over real sockets.
type PodResources struct {
	// Path is the path of a socket; {node} is to be replaced by the node's name.
	Path string

	mu    sync.Mutex
	nodes map[string]*podResources
}

// NewPodResources creates the folder of the sockets. It serves none yet.
func NewPodResources(t testing.TB) *PodResources {
	t.Helper()
	dir, err := os.MkdirTemp("", "pod-resources-") // not t.TempDir: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	p := &PodResources{Path: filepath.Join(dir, "{node}", "kubelet.sock"), nodes: map[string]*podResources{}}
	t.Cleanup(func() {
		for node := range p.nodes {
			p.Stop(node)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

// podResources is the API of one node.
type podResources struct {
	kubeletapi.UnimplementedPodResourcesListerServer
	listener net.Listener
	server   *grpc.Server // nil: Nonsense
	ended    chan struct{}

	mu     sync.Mutex
	answer []*kubeletapi.PodResources
	hangs  bool
	old    bool
	// calls counts the calls of List.
	calls int
}

// List implements the API.
func (n *podResources) List(
	ctx context.Context, _ *kubeletapi.ListPodResourcesRequest,
) (*kubeletapi.ListPodResourcesResponse, error) {
	n.mu.Lock()
	n.calls++
	answer, hangs := n.answer, n.hangs
	n.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &kubeletapi.ListPodResourcesResponse{PodResources: answer}, nil
}

// GetAllocatableResources implements the API: the node has the devices that are allocated, and no others.
func (n *podResources) GetAllocatableResources(
	context.Context, *kubeletapi.AllocatableResourcesRequest,
) (*kubeletapi.AllocatableResourcesResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := &kubeletapi.AllocatableResourcesResponse{}
	for _, pod := range n.answer {
		for _, c := range pod.GetContainers() {
			r.Devices = append(r.Devices, c.GetDevices()...)
		}
	}
	return r, nil
}

// Get implements the API. Its errors have no gRPC code, as those of a kubelet.
func (n *podResources) Get(
	_ context.Context, r *kubeletapi.GetPodResourcesRequest,
) (*kubeletapi.GetPodResourcesResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.old {
		return nil, errors.New("PodResources API Get method disabled")
	}
	for _, pod := range n.answer {
		if pod.GetNamespace() == r.GetPodNamespace() && pod.GetName() == r.GetPodName() {
			return &kubeletapi.GetPodResourcesResponse{PodResources: pod}, nil
		}
	}
	return nil, fmt.Errorf("pod %s in namespace %s not found", r.GetPodName(), r.GetPodNamespace())
}

// Old makes a node's kubelet behave as before 1.34: Get fails, and List reports no claims.
func (p *PodResources) Old(t testing.TB, node string) {
	t.Helper()
	p.change(t, node, func(n *podResources) { n.old = true })
}

// SetPods sets the pods that a node's kubelet reports.
func (p *PodResources) SetPods(t testing.TB, node string, pods ...*kubeletapi.PodResources) {
	t.Helper()
	p.change(t, node, func(n *podResources) { n.answer, n.hangs = pods, false })
}

// Hang makes List of a node block until its caller gives up.
func (p *PodResources) Hang(t testing.TB, node string) {
	t.Helper()
	p.change(t, node, func(n *podResources) { n.hangs = true })
}

// Calls returns the number of calls of List that a node's kubelet has got since its socket was created.
func (p *PodResources) Calls(node string) int {
	p.mu.Lock()
	n := p.nodes[node]
	p.mu.Unlock()
	if n == nil {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls
}

// change changes the API of a node, and serves it if it is not served yet.
func (p *PodResources) change(t testing.TB, node string, apply func(*podResources)) {
	t.Helper()
	p.mu.Lock()
	n := p.nodes[node]
	p.mu.Unlock()
	if n == nil || n.server == nil {
		p.Stop(node)
		n = p.listen(t, node)
		n.server = grpc.NewServer()
		kubeletapi.RegisterPodResourcesListerServer(n.server, n)
		apply(n)
		go func() {
			defer close(n.ended)
			_ = n.server.Serve(n.listener) // fails when Stop closes the listener
		}()
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	apply(n)
}

// Nonsense makes a node's socket answer with text that is no gRPC.
func (p *PodResources) Nonsense(t testing.TB, node string) {
	t.Helper()
	p.Stop(node)
	n := p.listen(t, node)
	go func() {
		defer close(n.ended)
		for {
			c, err := n.listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, strings.Repeat("220 nonsense ESMTP\r\n", 100))
			c.Close()
		}
	}()
}

// listen creates the socket of a node.
func (p *PodResources) listen(t testing.TB, node string) *podResources {
	t.Helper()
	path := strings.ReplaceAll(p.Path, "{node}", node)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	n := &podResources{listener: l, ended: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes[node] = n
	return n
}

// Stop closes and removes the socket of a node.
func (p *PodResources) Stop(node string) {
	p.mu.Lock()
	n := p.nodes[node]
	delete(p.nodes, node)
	p.mu.Unlock()
	if n == nil {
		return
	}
	if n.server != nil {
		n.server.Stop()
	}
	_ = n.listener.Close() // the server has closed it already
	<-n.ended
}

// GivenTo is a kubelet's report about a pod with one container. ids are the devices that it has allocated to it, of a
// resource like nvidia.com/gpu.
func GivenTo(namespace, pod, container, resource string, ids ...string) *kubeletapi.PodResources {
	c := &kubeletapi.ContainerResources{Name: container}
	if len(ids) > 0 {
		c.Devices = []*kubeletapi.ContainerDevices{{ResourceName: resource, DeviceIds: ids}}
	}
	return &kubeletapi.PodResources{Namespace: namespace, Name: pod, Containers: []*kubeletapi.ContainerResources{c}}
}

// ClaimedBy is a kubelet's report about a pod with one container that has claimed a device by dynamic resource
// allocation.
func ClaimedBy(namespace, pod, container, driver, node, device string) *kubeletapi.PodResources {
	c := &kubeletapi.ContainerResources{Name: container, DynamicResources: []*kubeletapi.DynamicResource{{
		ClaimName: pod + "-gpu", ClaimNamespace: namespace,
		ClaimResources: []*kubeletapi.ClaimResource{{
			DriverName: driver, PoolName: node, DeviceName: device,
			CdiDevices: []*kubeletapi.CDIDevice{{Name: fmt.Sprintf("k8s.%s/device=%s", driver, device)}},
		}},
	}}}
	return &kubeletapi.PodResources{Namespace: namespace, Name: pod, Containers: []*kubeletapi.ContainerResources{c}}
}
