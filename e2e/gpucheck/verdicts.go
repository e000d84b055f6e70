//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/resources"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why"
	"github.com/orb8-dev/kubectl-orb8/tracer/gpu"
)

// bottleneck is a workload and the cause that why gpu should name.
type bottleneck struct{ mode, cause string }

// The modes of workload/gpu.c, and those of workload/train.py.
var (
	bottlenecks = []bottleneck{
		{"compute", "compute"}, {"memory", "memory"}, {"spin", "launch or collective: busy and underused"},
		{"sync", "launch"}, {"copy", "copy"},
		{"starve", "unknown: no evidence of a cause"},
		{"hold", "abandoned"}, {"graph", "launch"},
	}
	trainings = []bottleneck{
		{"healthy", "compute"}, {"starved", "unknown: the loader sleeps"}, {"preprocess", "cpu"}, {"sync", "launch"},
		{"copy", "copy"}, {"graph", "compute"}, {"triton", "memory"},
	}
)

// verdicts prints the verdicts of why gpu about workloads whose bottleneck is known. No network events are read here,
// so no verdict names the network.
func (c *check) verdicts(ctx context.Context) error {
	fmt.Println("== verdicts")
	var errs []error
	for _, b := range bottlenecks {
		errs = append(errs, c.verdict(ctx, b, c.work, c.cuda, b.mode))
	}
	if c.train != "" {
		for _, b := range trainings {
			errs = append(errs, c.verdict(ctx, b, c.python, c.train, b.mode))
		}
	}
	return errors.Join(errs...)
}

func (c *check) verdict(ctx context.Context, b bottleneck, name string, args ...string) (err error) {
	o, err := c.observe(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	w := &witness{watch: why.New(c.length), cgroup: o.id}
	o.mu.Lock()
	o.sink = w.onEvent
	o.mu.Unlock()

	devices := c.options()
	devices.Containers = o.containers
	p, err := gpu.Open(devices)
	if err != nil {
		return err
	}
	used, err := resources.Open(ctx, resources.Options{Scope: o.scope, CgroupRoot: filepath.Dir(o.dir),
		Interval: c.interval, Containers: func() []resources.Container {
			return []resources.Container{{Cgroup: o.id, Path: "/" + filepath.Base(o.dir)}}
		}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, used.Close()) }()
	// Until then the program loads its libraries and compiles its kernels.
	const warmUp = 5 * time.Second
	seconds := strconv.FormatFloat((warmUp + c.length).Seconds(), 'f', -1, 64)
	cmd, stdin, stdout, err := command(ctx, o.dir, name, append(args, seconds)...)
	if err != nil {
		return err
	}
	observing, end := context.WithTimeout(ctx, warmUp+c.length)
	defer end()
	var running sync.WaitGroup
	errs := make([]error, 2)
	running.Go(func() { errs[0] = p.Run(observing, w.onEvent) })
	running.Go(func() { errs[1] = used.Run(observing, w.onEvent) })
	running.Wait()
	end()
	_ = stdin.Close()
	_ = stdout.Close()
	_ = cmd.Cancel() // fails if the program has ended
	_ = cmd.Wait()   // fails if Cancel ended it
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Printf("-- %s %s: want %s\n", filepath.Base(args[0]), b.mode, b.cause)
	for _, ev := range w.watch.Verdicts() {
		fmt.Printf("%s", why.AppendText(nil, ev, ""))
	}
	return errors.Join(errs...)
}

// witness passes events to a watch, with the names that a tracer would set.
type witness struct {
	cgroup uint64

	mu    sync.Mutex
	watch *why.Watch
}

func (w *witness) onEvent(cgroup uint64, ev *event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ev.Node = "here"
	if cgroup == w.cgroup {
		ev.Namespace, ev.Pod, ev.Container, ev.PodUid = "here", "gpucheck", "work", "gpucheck"
	}
	w.watch.Add(ev)
}
