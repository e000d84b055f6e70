//go:build linux

package gpu

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	kubeletapi "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// examineLimit is how long a driver may take to report all its GPUs.
const examineLimit = 8 * time.Second

// Examine reports for doctor which GPUs can be read, and the kubelet's allocations of them.
func Examine(ctx context.Context, o Options) (r session.GPUReport) {
	p, err := Open(o)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.PodResources, r.Allocation, err = p.kubelets().examine(ctx)
	if err != nil {
		r.PodResourcesError = explain(err)
	}
	library, err := p.places.find(nvmlLibrary, o.Library)
	if err != nil {
		r.Error, r.None = err.Error(), o.Library == "" && p.places.blind() == ""
		return r
	}
	defer library.Close()
	r.Library = library.path
	ctx, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	seen := map[string]bool{}
	err = p.child(ctx, library.File, func(ev *event.Event) {
		g := ev.GetGpu()
		switch g.GetType() {
		case event.GpuEventType_GPU_EVENT_TYPE_DEVICE, event.GpuEventType_GPU_EVENT_TYPE_LOST:
			id := fmt.Sprint(g.GetGpu().GetUuid(), g.GetGpu().GetIndex())
			if seen[id] {
				cancel() // all were reported
				return
			}
			seen[id] = true
			r.Driver = g.GetGpu().GetDriver()
			name := g.GetGpu().GetName()
			if g.GetType() == event.GpuEventType_GPU_EVENT_TYPE_LOST {
				name = strings.TrimSpace(name + " (" + g.GetMessage() + ")")
			}
			if name == "" {
				name = "a GPU without a name"
			}
			r.GPUs = append(r.GPUs, name)
		case event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE:
			r.Error = g.GetMessage()
			cancel()
		}
	})
	if err != nil {
		r.Error = err.Error()
	}
	if r.Error == "" && len(r.GPUs) == 0 {
		r.Error = fmt.Sprintf("the driver reported no GPU within %v", examineLimit)
	}
	return r
}

// examine makes one request to the kubelet. It returns the path of its socket, and how many of the allocatable GPUs are
// allocated.
func (k kubelets) examine(ctx context.Context) (path, given string, err error) {
	c, err := k.connect()
	if err != nil {
		return "", "", err
	}
	defer func() { _ = c.Close() }()
	path = c.socket.path
	last, err := c.list(ctx)
	if err != nil {
		return path, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	all, err := c.api.GetAllocatableResources(ctx, &kubeletapi.AllocatableResourcesRequest{})
	if err != nil {
		return path, "", err
	}
	type count struct{ given, all int }
	counts := map[string]*count{}
	of := func(resource string) *count {
		if counts[resource] == nil {
			counts[resource] = &count{}
		}
		return counts[resource]
	}
	for _, d := range all.GetDevices() {
		if ofGPUs(d.GetResourceName()) {
			of(d.GetResourceName()).all += len(d.GetDeviceIds())
		}
	}
	for _, g := range last.given {
		if g.sure {
			of(g.resource).given++
		}
	}
	var list []string
	for _, resource := range slices.Sorted(maps.Keys(counts)) {
		n := counts[resource]
		if resource == draDriver { // the total is in ResourceSlices, which the kubelet does not report
			list = append(list, fmt.Sprintf("%d claimed of %s", n.given, resource))
			continue
		}
		list = append(list, fmt.Sprintf("%d of %d %s", n.given, n.all, resource))
	}
	return path, strings.ToValidUTF8(strings.Join(list, ", "), "\uFFFD"), nil
}

// ExamineCalls reports for doctor which driver calls of processes can be counted. Without a driver it returns "" and no
// error.
func ExamineCalls(ctx context.Context, o CallsOptions) (string, error) {
	c, err := OpenCalls(ctx, o)
	if err != nil {
		return "", err
	}
	detail, err := c.examine()
	return detail, errors.Join(err, c.Close())
}

func (c *Calls) examine() (string, error) {
	if c.none != nil || c.node == nil {
		return "", c.none
	}
	sites, emulated := c.node.Sites, 0
	for _, s := range sites {
		if s.Emulated {
			emulated++
		}
	}
	detail := fmt.Sprintf("%d functions of %s are probed, %d of them single-stepped", len(sites), c.node.path,
		len(sites)-emulated)
	if n := len(c.node.Left); n > 0 {
		detail += fmt.Sprintf("; %d cannot be: %s", n, c.node.Left[0])
	}
	return detail, nil
}
