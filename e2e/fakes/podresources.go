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

// PodResources stands in for the pod-resources API of kubelets, of which each node has one: the real protobuf over a
// real socket.
type PodResources struct {
	// Path is where their sockets are, {node} standing for the node's name.
	Path string

	mu    sync.Mutex
	nodes map[string]*podResources
}

// NewPodResources makes the place for the sockets.
func NewPodResources(t testing.TB) *PodResources {
	t.Helper()
	dir, err := os.MkdirTemp("", "pod-resources-") // short, as a socket's path has to be
	if err != nil {
		t.Fatal(err)
	}
	p := &PodResources{Path: filepath.Join(dir, "{node}", "kubelet.sock"), nodes: map[string]*podResources{}}
	t.Cleanup(func() {
		for node := range p.nodes {
			p.Stop(node)
		}
		os.RemoveAll(dir)
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

// podResources is one node's.
type podResources struct {
	kubeletapi.UnimplementedPodResourcesListerServer
	listener net.Listener
	server   *grpc.Server // nil: it speaks no gRPC
	ended    chan struct{}

	mu     sync.Mutex
	answer []*kubeletapi.PodResources
	hangs  bool
	old    bool
	// Calls counts the questions.
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

// GetAllocatableResources implements the API: all that was given away is all there is.
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

// Get implements the API: as a kubelet does, without a code.
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

// Old has it be as kubelets before 1.34, which neither answer Get nor tell of claims.
func (p *PodResources) Old(t testing.TB, node string) {
	t.Helper()
	p.change(t, node, func(n *podResources) { n.old = true })
}

// Say has a node's kubelet tell of these pods, from now on.
func (p *PodResources) Say(t testing.TB, node string, pods ...*kubeletapi.PodResources) {
	t.Helper()
	p.change(t, node, func(n *podResources) { n.answer, n.hangs = pods, false })
}

// Hang has it answer no more.
func (p *PodResources) Hang(t testing.TB, node string) {
	t.Helper()
	p.change(t, node, func(n *podResources) { n.hangs = true })
}

// Calls counts the questions that a node's has got since it began.
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

func (p *PodResources) change(t testing.TB, node string, what func(*podResources)) {
	t.Helper()
	p.mu.Lock()
	n := p.nodes[node]
	p.mu.Unlock()
	if n == nil || n.server == nil {
		p.Stop(node)
		n = p.listen(t, node)
		n.server = grpc.NewServer()
		kubeletapi.RegisterPodResourcesListerServer(n.server, n)
		what(n)
		go func() {
			defer close(n.ended)
			_ = n.server.Serve(n.listener)
		}()
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	what(n)
}

// Nonsense has it say what is no gRPC.
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

// Stop takes a node's away.
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
	n.listener.Close()
	<-n.ended
}

// GivenTo is what a kubelet tells of a pod with one container, to which it has given devices of a resource; none: to
// which it has given nothing.
func GivenTo(namespace, pod, container, resource string, ids ...string) *kubeletapi.PodResources {
	c := &kubeletapi.ContainerResources{Name: container}
	if len(ids) > 0 {
		c.Devices = []*kubeletapi.ContainerDevices{{ResourceName: resource, DeviceIds: ids}}
	}
	return &kubeletapi.PodResources{Namespace: namespace, Name: pod, Containers: []*kubeletapi.ContainerResources{c}}
}

// ClaimedBy is what it tells of one that has a claim to a device, by dynamic resource allocation.
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
