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
	// minAskInterval is how often the kubelet is asked at most.
	minAskInterval = 2 * time.Second
	// askLimit is how long it may take to answer, retryInterval how long a failure is left alone.
	askLimit      = 3 * time.Second
	retryInterval = 5 * time.Second
	// maxAnswer bounds an answer, bytes: one for 250 pods has some 100 KB.
	maxAnswer = 8 << 20
	// maxReason bounds what is said of a failure, bytes.
	maxReason = 300
)

// noClaims is said where devices may be given by claims, of which kubelets before 1.34 do not tell, but for a feature
// gate.
const noClaims = "the kubelet does not tell of resource claims (1.34 does), and NVIDIA's driver for them is on " +
	"this node"

// notYet is said before the first answer.
const notYet = "the kubelet has not been asked yet"

// allocation is what the kubelet has given to whom.
type allocation struct {
	// asked is when it was asked: what it had given by then is in it.
	asked time.Time
	// listed are the containers that it told of, "namespace/pod/container", also those that it gave no device to.
	// Containers that initialise their pod and end are not among them.
	listed map[string]bool
	given  []grant
	// vague says why what was given is not all of it; empty where it is.
	vague string
}

// grant is one device given to a container.
type grant struct {
	container container
	// resource is the extended resource, or the driver of a claim; id what the device is called there.
	resource, id string
	parsed       gpuID
	// sure: it is a GPU or MIG device, whatever its id means.
	sure bool
}

// container is a container's name.
type container struct{ namespace, pod, name string }

func (c container) String() string { return c.namespace + "/" + c.pod + "/" + c.name }

// allocations asks the kubelet while it runs.
type allocations struct {
	connect  func() (*client, error)
	interval time.Duration

	mu     sync.Mutex
	last   *allocation
	reason string
}

func newAllocations(k kubelets, interval time.Duration) *allocations {
	return &allocations{connect: k.connect, interval: max(interval, minAskInterval), reason: notYet}
}

// now is what is known; nil and why, where nothing is.
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

// run asks until ctx ends. After a failure the socket is looked for again: a kubelet that starts anew makes another.
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

// follow asks one kubelet again and again. It returns why it cannot any more.
func (a *allocations) follow(ctx context.Context) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer c.Close()
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

// client asks one kubelet.
type client struct {
	*grpc.ClientConn
	api    kubeletapi.PodResourcesListerClient
	socket socket
	// claims: it tells of resource claims, or nobody makes any; known once it was asked.
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
	const window = 1 << 20 // fixed: measuring what would suit takes a ping for each answer
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

// list asks what is given to whom.
func (c *client) list(ctx context.Context) (*allocation, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	asked := time.Now()
	answer, err := c.api.List(ctx, &kubeletapi.ListPodResourcesRequest{})
	if err != nil {
		return nil, err
	}
	a := read(answer, asked)
	if !c.tellsOfClaims(ctx) && !slices.ContainsFunc(a.given, func(g grant) bool { return g.resource == draDriver }) {
		a.vague = noClaims
	}
	return a, nil
}

// tellsOfClaims says whether an answer without claims means that there are none. Kubelets came to tell of them with the
// release that came to answer Get, so they are asked for a pod that cannot be.
func (c *client) tellsOfClaims(ctx context.Context) bool {
	if c.known {
		return c.claims
	}
	root := filepath.Dir(filepath.Dir(c.socket.path))
	plugin, err := c.socket.lookup(filepath.Join(root, "plugins", draDriver))
	if err != nil {
		return true // it may still come
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

// read takes in an answer.
func read(answer *kubeletapi.ListPodResourcesResponse, asked time.Time) *allocation {
	a := &allocation{asked: asked, listed: map[string]bool{}}
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

// explain says in words why the kubelet could not be asked.
func explain(err error) string {
	message := err.Error()
	if s, ok := status.FromError(err); ok {
		switch message = s.Message(); s.Code() {
		case codes.DeadlineExceeded:
			message = fmt.Sprintf("the kubelet did not answer within %v", askLimit)
		case codes.Unimplemented:
			message = "the kubelet is too old for this, it has no pod-resources API v1: " + message
		default:
			message = "the kubelet: " + message
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		message = fmt.Sprintf("the kubelet did not answer within %v", askLimit)
	}
	if len(message) > maxReason {
		message = message[:maxReason] + "…"
	}
	return strings.ToValidUTF8(message, "\uFFFD")
}
