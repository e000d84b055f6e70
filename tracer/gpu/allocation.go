//go:build linux

package gpu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	kubeletapi "k8s.io/kubelet/pkg/apis/podresources/v1"
)

const (
	// minListInterval is the least time between two requests to the kubelet.
	minListInterval = 2 * time.Second
	// listTimeout limits one request to the kubelet. retryInterval is the time between a failure and the next attempt.
	listTimeout   = 3 * time.Second
	retryInterval = 5 * time.Second
	// maxAnswer limits an answer, bytes: one for 250 pods has about 100 KB.
	maxAnswer = 8 << 20
	// maxReason limits the message of a failure, bytes.
	maxReason = 300
)

// noClaims is the reason for an incomplete allocation where devices may be allocated by claims. Kubelets before 1.34
// report claims only with a feature gate.
const noClaims = "the kubelet does not report resource claims (1.34 does), and NVIDIA's driver for them is on " +
	"this node"

// notYet is the reason before the first answer.
const notYet = "the kubelet has not answered yet"

// allocation is a list of the kubelet's device allocations.
type allocation struct {
	// requested is the time of the request. The answer holds all earlier allocations.
	requested time.Time
	// listed are the containers in the answer, "namespace/pod/container", with and without devices. Init containers are
	// not among them.
	listed map[string]bool
	given  []grant
	// vague is the reason why given is incomplete; empty if it is complete.
	vague string
}

// grant is one device allocated to a container.
type grant struct {
	container container
	// resource is the extended resource, or the driver of a claim; id is the device's name there.
	resource, id string
	parsed       gpuID
	// sure: it is a GPU or MIG device, even if the id is not understood.
	sure bool
}

// container is a container's name.
type container struct{ namespace, pod, name string }

func (c container) String() string { return c.namespace + "/" + c.pod + "/" + c.name }

// allocations keeps the kubelet's newest answer.
type allocations struct {
	connect  func() (*client, error)
	interval time.Duration

	mu     sync.Mutex
	last   *allocation
	reason string
}

func newAllocations(k kubelets, interval time.Duration) *allocations {
	return &allocations{connect: k.connect, interval: max(interval, minListInterval), reason: notYet}
}

// now returns the newest allocation, or nil and the reason why there is none.
func (a *allocations) now() (*allocation, string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last, a.reason
}

func (a *allocations) set(last *allocation, err error) {
	reason := ""
	if err != nil {
		reason = explain(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last, a.reason = last, reason
}

// run lists allocations until ctx ends. After a failure it searches for the socket again: a restarted kubelet creates a
// new one.
func (a *allocations) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := a.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		a.set(nil, err)
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
	}
}

// follow lists the allocations of one kubelet once per interval. It returns the first error.
func (a *allocations) follow(ctx context.Context) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for {
		last, err := c.list(ctx)
		if err != nil {
			return err
		}
		a.set(last, nil)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(a.interval):
		}
	}
}

// client is a connection to one kubelet.
type client struct {
	*grpc.ClientConn
	api    kubeletapi.PodResourcesListerClient
	socket socket
	// claims: the kubelet reports resource claims. known: claims is valid.
	claims, known bool
}

// connect finds the kubelet's socket and connects to it.
func (k *kubelets) connect() (*client, error) {
	s, err := k.find()
	if err != nil {
		return nil, err
	}
	return newClient(s, func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, s, k.proc) })
}

// newClient connects to a kubelet's socket.
func newClient(s socket, dial func(context.Context, string) (net.Conn, error)) (*client, error) {
	const window = 1 << 20 // fixed: estimating the window takes a ping for each answer
	conn, err := grpc.NewClient("passthrough:///localhost",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // root's own socket on this machine
		grpc.WithContextDialer(dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, err
	}
	return &client{ClientConn: conn, api: kubeletapi.NewPodResourcesListerClient(conn), socket: s}, nil
}

// list requests the current allocations.
func (c *client) list(ctx context.Context) (*allocation, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	requested := time.Now()
	answer, err := c.api.List(ctx, &kubeletapi.ListPodResourcesRequest{})
	if err != nil {
		return nil, err
	}
	a := read(answer, requested)
	if !c.reportsClaims(ctx) && !slices.ContainsFunc(a.given, func(g grant) bool { return g.resource == draDriver }) {
		a.vague = noClaims
	}
	return a, nil
}

// reportsClaims reports whether an answer without claims means that there are none. Kubelets report claims since the
// release that added Get, so it calls Get for a pod that cannot exist.
func (c *client) reportsClaims(ctx context.Context) bool {
	if c.known {
		return c.claims
	}
	root := filepath.Dir(filepath.Dir(c.socket.path))
	plugin, err := c.socket.lookup(filepath.Join(root, "plugins", draDriver))
	if err != nil {
		return true // it may be installed later
	}
	plugin.Close()
	_, err = c.api.Get(ctx, &kubeletapi.GetPodResourcesRequest{})
	switch s := status.Convert(err); {
	case s.Code() == codes.Unimplemented, s.Code() == codes.Unknown && strings.HasSuffix(s.Message(), "disabled"):
		c.known = true
	case s.Code() == codes.OK, s.Code() == codes.Unknown:
		c.claims, c.known = true, true // there is no such pod
	}
	return c.claims
}

// read converts an answer.
func read(answer *kubeletapi.ListPodResourcesResponse, requested time.Time) *allocation {
	a := &allocation{requested: requested, listed: map[string]bool{}}
	for _, pod := range answer.GetPodResources() {
		for _, c := range pod.GetContainers() {
			of := container{pod.GetNamespace(), pod.GetName(), c.GetName()}
			a.listed[of.String()] = true
			for _, d := range c.GetDevices() {
				for _, id := range d.GetDeviceIds() {
					a.given = append(a.given, grant{of, d.GetResourceName(), id, parseDevice(d.GetResourceName(), id),
						ofGPUs(d.GetResourceName())})
				}
			}
			for _, claim := range c.GetDynamicResources() {
				for _, r := range claim.GetClaimResources() {
					var cdi []string
					for _, d := range r.GetCdiDevices() {
						cdi = append(cdi, d.GetName())
					}
					id := r.GetDeviceName()
					if id == "" {
						id = strings.Join(cdi, ",")
					}
					a.given = append(a.given,
						grant{of, r.GetDriverName(), id, parseClaimed(r.GetDriverName(), r.GetDeviceName(), cdi),
							r.GetDriverName() == draDriver})
				}
			}
		}
	}
	return a
}

// explain returns the message for a failed request to the kubelet.
func explain(err error) string {
	message := err.Error()
	if s, ok := status.FromError(err); ok {
		switch message = s.Message(); s.Code() {
		case codes.DeadlineExceeded:
			message = fmt.Sprintf("the kubelet did not answer within %v", listTimeout)
		case codes.Unimplemented:
			message = "the kubelet is too old for this, it has no pod-resources API v1: " + message
		default:
			message = "the kubelet: " + message
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		message = fmt.Sprintf("the kubelet did not answer within %v", listTimeout)
	}
	if len(message) > maxReason {
		message = message[:maxReason] + "…"
	}
	return strings.ToValidUTF8(message, "\uFFFD")
}
