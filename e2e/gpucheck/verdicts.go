//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// Of workload/gpu.c, and of workload/train.py.
var (
	bottlenecks = []bottleneck{
		{"compute", "compute"}, {"memory", "memory"}, {"spin", "launch or collective: busy and underused"},
		{"sync", "launch"}, {"copy", "copy"},
		{"starve", "unknown: nothing says what is waited for"}, {"hold", "abandoned"}, {"graph", "launch"},
	}
	trainings = []bottleneck{
		{"healthy", "compute"}, {"starved", "unknown: the loader sleeps"}, {"preprocess", "cpu"}, {"sync", "launch"},
		{"copy", "copy"}, {"graph", "compute"}, {"triton", "memory"},
	}
)

// verdicts prints what why gpu says of workloads whose bottleneck is known. There is no network here, and so no verdict
// about it.
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
	o.also = w.take
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
	// The libraries load, and kernels are compiled, before it is worth looking.
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
	running.Go(func() { errs[0] = p.Run(observing, w.take) })
	running.Go(func() { errs[1] = used.Run(observing, w.take) })
	running.Wait()
	end()
	_ = stdin.Close()
	_ = stdout.Close()
	_ = cmd.Cancel()
	_ = cmd.Wait() // it was ended
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Printf("-- %s %s: want %s\n", filepath.Base(args[0]), b.mode, b.cause)
	for _, ev := range w.watch.Verdicts() {
		os.Stdout.Write(why.AppendText(nil, ev, ""))
	}
	return errors.Join(errs...)
}

// witness hands events to a watch, with the names that a tracer would give them.
type witness struct {
	cgroup uint64

	mu    sync.Mutex
	watch *why.Watch
}

func (w *witness) take(cgroup uint64, ev *event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ev.Node = "here"
	if cgroup == w.cgroup {
		ev.Namespace, ev.Pod, ev.Container, ev.PodUid = "here", "gpucheck", "work", "gpucheck"
	}
	w.watch.Add(ev)
}
