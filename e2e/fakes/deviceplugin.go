package fakes

import (
	"context"
	"errors"
	"io/fs"
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

// DevicePlugin is a device plugin for a real kubelet, which allocates its devices to pods as it would NVIDIA's.
type DevicePlugin struct {
	deviceplugin.UnimplementedDevicePluginServer
	registration.UnimplementedRegistrationServer
	resource, endpoint string
	ids                []string
	stop               chan struct{}

	mu         sync.Mutex
	registered chan string // the kubelet's error, or "" if it registered the plugin
	allocated  [][]string
}

// NewDevicePlugin registers a plugin with the kubelet that has this root folder, and serves it until the test ends. It
// registers through the folder that the kubelet watches: the kubelets of a machine share the socket of the older
// registration API.
func NewDevicePlugin(t testing.TB, kubeletRoot, resource string, ids ...string) *DevicePlugin {
	t.Helper()
	p := &DevicePlugin{
		resource: resource, ids: ids, endpoint: filepath.Join(kubeletRoot, "plugins_registry", "fake-gpus.sock"),
		stop: make(chan struct{}), registered: make(chan string, 1),
	}
	if err := os.MkdirAll(filepath.Dir(p.endpoint), 0o755); err != nil {
		t.Fatal(err)
	}
	// The kubelet calls the plugin as soon as its socket appears, so the socket is moved there once it is served.
	early := filepath.Join(kubeletRoot, "fake-gpus.sock")
	removeSocket(t, early)
	removeSocket(t, p.endpoint)
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
		removeSocket(t, p.endpoint)
		close(p.stop)
		s.Stop()
		<-ended
	})
	if err := os.Rename(early, p.endpoint); err != nil {
		t.Fatal(err)
	}
	select {
	case message := <-p.registered:
		if message != "" {
			t.Fatalf("the kubelet refuses the device plugin: %s", message)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the kubelet of %s does not see the device plugin", kubeletRoot)
	}
	return p
}

// removeSocket removes a socket if it exists.
func removeSocket(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Allocated lists the ids of the devices allocated so far, one list for each container.
func (p *DevicePlugin) Allocated() [][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.allocated)
}

// GetInfo implements the registration API.
func (p *DevicePlugin) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.DevicePlugin, Name: p.resource, Endpoint: p.endpoint,
		SupportedVersions: []string{deviceplugin.Version}}, nil
}

// NotifyRegistrationStatus implements the registration API.
func (p *DevicePlugin) NotifyRegistrationStatus(
	_ context.Context, s *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	message := s.GetError()
	if !s.GetPluginRegistered() && message == "" {
		message = "no reason given"
	}
	select {
	case p.registered <- message:
	default: // NewDevicePlugin reads the first status only
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// GetDevicePluginOptions implements the device plugin API.
func (p *DevicePlugin) GetDevicePluginOptions(
	context.Context, *deviceplugin.Empty,
) (*deviceplugin.DevicePluginOptions, error) {
	return &deviceplugin.DevicePluginOptions{}, nil
}

// ListAndWatch implements the device plugin API: all devices are healthy.
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

// Allocate implements the device plugin API: it records the ids, and changes nothing in the container.
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
