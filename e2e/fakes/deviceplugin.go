package fakes

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	deviceplugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// DevicePlugin offers devices to a real kubelet, which then gives them to pods as it would NVIDIA's.
type DevicePlugin struct {
	deviceplugin.UnimplementedDevicePluginServer
	registration.UnimplementedRegistrationServer
	resource, endpoint string
	ids                []string
	stop               chan struct{}

	mu         sync.Mutex
	registered chan string // what the kubelet has said of it; empty: it was taken
	allocated  [][]string
}

// NewDevicePlugin offers devices to the kubelet with this root directory until the test ends. It waits until the
// kubelet has taken it. The kubelet watches a directory of its own for it: the socket by which others register is one
// for all kubelets of a machine.
func NewDevicePlugin(t testing.TB, kubeletRoot, resource string, ids ...string) *DevicePlugin {
	t.Helper()
	p := &DevicePlugin{
		resource: resource, ids: ids, endpoint: filepath.Join(kubeletRoot, "plugins_registry", "fake-gpus.sock"),
		stop: make(chan struct{}), registered: make(chan string, 1),
	}
	if err := os.MkdirAll(filepath.Dir(p.endpoint), 0o755); err != nil {
		t.Fatal(err)
	}
	// It sees the socket as it is made, and asks it at once: so it is moved there when it is being served.
	early := filepath.Join(kubeletRoot, "fake-gpus.sock")
	os.Remove(early)
	os.Remove(p.endpoint)
	l, err := net.Listen("unix", early)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	s := grpc.NewServer()
	deviceplugin.RegisterDevicePluginServer(s, p)
	registration.RegisterRegistrationServer(s, p)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		os.Remove(p.endpoint)
		close(p.stop)
		s.Stop()
		<-ended
	})
	if err := os.Rename(early, p.endpoint); err != nil {
		t.Fatal(err)
	}
	select {
	case trouble := <-p.registered:
		if trouble != "" {
			t.Fatalf("the kubelet refuses the device plugin: %s", trouble)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the kubelet of %s does not see the device plugin", kubeletRoot)
	}
	return p
}

// Allocated lists what was given so far, one list for each container.
func (p *DevicePlugin) Allocated() [][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.allocated)
}

// GetInfo implements the registration by directory.
func (p *DevicePlugin) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.DevicePlugin, Name: p.resource, Endpoint: p.endpoint,
		SupportedVersions: []string{deviceplugin.Version}}, nil
}

// NotifyRegistrationStatus implements it.
func (p *DevicePlugin) NotifyRegistrationStatus(
	_ context.Context, s *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	trouble := s.GetError()
	if !s.GetPluginRegistered() && trouble == "" {
		trouble = "without a word"
	}
	select {
	case p.registered <- trouble:
	default: // it was said before
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// GetDevicePluginOptions implements a device plugin.
func (p *DevicePlugin) GetDevicePluginOptions(
	context.Context, *deviceplugin.Empty,
) (*deviceplugin.DevicePluginOptions, error) {
	return &deviceplugin.DevicePluginOptions{}, nil
}

// ListAndWatch implements it: all devices are there and well.
func (p *DevicePlugin) ListAndWatch(
	_ *deviceplugin.Empty, stream grpc.ServerStreamingServer[deviceplugin.ListAndWatchResponse],
) error {
	r := &deviceplugin.ListAndWatchResponse{}
	for _, id := range p.ids {
		r.Devices = append(r.Devices, &deviceplugin.Device{ID: id, Health: deviceplugin.Healthy})
	}
	if err := stream.Send(r); err != nil {
		return err
	}
	select {
	case <-stream.Context().Done():
	case <-p.stop:
	}
	return nil
}

// Allocate implements it: a container gets a name of its devices, and nothing else.
func (p *DevicePlugin) Allocate(
	_ context.Context, request *deviceplugin.AllocateRequest,
) (*deviceplugin.AllocateResponse, error) {
	r := &deviceplugin.AllocateResponse{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range request.GetContainerRequests() {
		p.allocated = append(p.allocated, c.GetDevicesIds())
		r.ContainerResponses = append(r.ContainerResponses, &deviceplugin.ContainerAllocateResponse{})
	}
	return r, nil
}
