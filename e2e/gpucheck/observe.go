//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/gpu"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// observed is a cgroup, as of a pod's container, whose processes' calls are counted.
type observed struct {
	scope *scope.Scope
	calls *gpu.Calls
	dir   string
	id    uint64

	end     context.CancelFunc
	running sync.WaitGroup
	err     error

	mu   sync.Mutex
	last map[uint32]*event.Gpu // by process
	// sink, if not nil, receives the events instead. It is set before the first process starts.
	sink gpu.Sink
}

// observe creates the cgroup and counts the calls in it. The caller closes it.
func (c *check) observe(ctx context.Context) (*observed, error) {
	root, err := pods.FindCgroup2("/sys/fs/cgroup")
	if err != nil {
		return nil, err
	}
	o := &observed{dir: filepath.Join(root, fmt.Sprintf("orb8-gpucheck-%d", os.Getpid())), end: func() {},
		last: map[uint32]*event.Gpu{}}
	if err := os.Mkdir(o.dir, 0o755); err != nil {
		return nil, err
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(o.dir, &stat); err != nil {
		return nil, errors.Join(err, o.close())
	}
	o.id = stat.Ino
	if o.scope, err = scope.Open(scope.Options{CgroupRoot: root}); err != nil {
		return nil, errors.Join(err, o.close())
	}
	if err := o.scope.SetCgroup(o.id, true); err != nil {
		return nil, errors.Join(err, o.close())
	}
	o.calls, err = gpu.OpenCalls(ctx, gpu.CallsOptions{
		Scope: o.scope, Containers: o.containers, Interval: c.interval, Library: c.cuda, HostRoot: "/", Proc: "/proc",
	})
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	ctx, o.end = context.WithCancel(ctx)
	o.running.Go(func() { o.err = o.calls.Run(ctx, o.onEvent) })
	return o, nil
}

func (o *observed) containers() []gpu.Container {
	return []gpu.Container{{Cgroup: o.id, Dir: o.dir, Name: "here/gpucheck/work"}}
}

func (o *observed) onEvent(cgroup uint64, ev *event.Event) {
	o.mu.Lock()
	sink := o.sink
	o.mu.Unlock()
	if sink != nil {
		sink(cgroup, ev)
		return
	}
	g := ev.GetGpu()
	switch g.GetType() {
	case event.GpuEventType_GPU_EVENT_TYPE_CALLS:
		o.mu.Lock()
		defer o.mu.Unlock()
		o.last[g.GetProc().GetPid()] = g
	case event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE, event.GpuEventType_GPU_EVENT_TYPE_FAILED:
		fmt.Printf("%s: %s\n", g.GetType().Word(), g.GetMessage())
	}
}

// of returns the newest counts of a process.
func (o *observed) of(ctx context.Context, pid int) (*event.Gpu, error) {
	if err := o.calls.Flush(ctx); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if g := o.last[uint32(pid)]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("no calls of process %d were counted", pid)
}

func (o *observed) close() error {
	o.end()
	o.running.Wait()
	errs := []error{o.err}
	if o.calls != nil {
		errs = append(errs, o.calls.Close())
	}
	if o.scope != nil {
		errs = append(errs, o.scope.Close())
	}
	return errors.Join(append(errs, os.Remove(o.dir))...)
}

// command starts a program with pipes for stdin and stdout; dir is the folder of the cgroup to run it in, or empty.
func command(
	ctx context.Context, dir, name string, args ...string,
) (cmd *exec.Cmd, stdin io.WriteCloser, stdout io.ReadCloser, err error) {
	cmd = exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = os.Stderr
	if dir != "" {
		f, err := os.Open(dir)
		if err != nil {
			return nil, nil, nil, err
		}
		defer f.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	}
	if stdin, err = cmd.StdinPipe(); err != nil {
		return nil, nil, nil, err
	}
	if stdout, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, nil, err
	}
	return cmd, stdin, stdout, nil
}
