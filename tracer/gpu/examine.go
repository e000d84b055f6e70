//go:build linux

package gpu

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// examineLimit is how long a driver may take to tell of all its GPUs.
const examineLimit = 8 * time.Second

// Examine finds out what GPUs there are to read, for doctor.
func Examine(ctx context.Context, o Options) (r session.GPUReport) {
	p, err := Open(o)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	library, err := p.places.find(nvmlLibrary, o.Library)
	if err != nil {
		r.Error, r.None = err.Error(), o.Library == "" && p.places.blind() == ""
		return r
	}
	r.Library = library
	if rest, ok := strings.CutPrefix(library, strings.TrimSuffix(p.o.HostRoot, "/")+"/"); ok {
		r.Library = "/" + rest
	}
	ctx, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	seen := map[string]bool{}
	err = p.child(ctx, library, func(ev *event.Event) {
		g := ev.GetGpu()
		switch g.GetWhat() {
		case event.GpuWhat_GPU_WHAT_DEVICE, event.GpuWhat_GPU_WHAT_LOST:
			id := fmt.Sprint(g.GetGpu().GetUuid(), g.GetGpu().GetIndex())
			if seen[id] {
				cancel() // all were told of
				return
			}
			seen[id] = true
			r.Driver = g.GetGpu().GetDriver()
			name := g.GetGpu().GetName()
			if g.GetWhat() == event.GpuWhat_GPU_WHAT_LOST {
				name = strings.TrimSpace(name + " (" + g.GetMessage() + ")")
			}
			if name == "" {
				name = "a GPU without a name"
			}
			r.GPUs = append(r.GPUs, name)
		case event.GpuWhat_GPU_WHAT_UNAVAILABLE:
			r.Error = g.GetMessage()
			cancel()
		}
	})
	if err != nil {
		r.Error = err.Error()
	}
	if r.Error == "" && len(r.GPUs) == 0 {
		r.Error = fmt.Sprintf("the driver told of no GPU within %v", examineLimit)
	}
	return r
}

// ExamineCalls finds out what can be counted of processes' calls, for doctor. It is nothing, and no error, where there is no driver.
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
	path := c.node.path
	if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(c.o.HostRoot, "/")+"/"); ok {
		path = "/" + rest
	}
	detail := fmt.Sprintf("%d functions of %s are probed, %d of them single-stepped", len(sites), path, len(sites)-emulated)
	if n := len(c.node.Left); n > 0 {
		detail += fmt.Sprintf("; %d cannot be: %s", n, c.node.Left[0])
	}
	return detail, nil
}
