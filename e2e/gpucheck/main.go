//go:build linux

// Command gpucheck tries on this machine's GPU what a tracer does, without Kubernetes, and prints what it saw. `make
// gpu-check` runs it, as root:
//
//   - what doctor says of the GPUs, events for a while, and what reading them costs;
//   - how long each of NVML's functions takes, as root and as nobody;
//   - what uprobes count of a program's calls, against what the program says it has called,
//     and PyTorch's against what its profiler has counted;
//   - what a launch costs with probes and without;
//   - what why gpu says of programs whose bottleneck is known.
//
// What does not agree is said, and the exit code is 1.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/gpu"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "gpucheck:", err)
		os.Exit(1)
	}
}

// check is what is to be checked with.
type check struct {
	// child is orb8-nvml, work the program of workload/gpu.c, train that of workload/train.py; nvml and cuda are the
	// driver's libraries.
	child, work, train, nvml, cuda string
	interval, length               time.Duration
	python                         string
}

func run(ctx context.Context) error {
	var c check
	flag.StringVar(&c.child, "child", "", "the orb8-nvml to run")
	flag.StringVar(&c.work, "work", "", "the compiled workload/gpu.c; empty: calls are not checked")
	flag.StringVar(&c.train, "train", "", "workload/train.py; empty: PyTorch is not checked")
	flag.StringVar(&c.python, "python", "python3", "a Python that has PyTorch")
	flag.StringVar(&c.nvml, "nvml-library", "", "the driver's libnvidia-ml.so.1; looked for, if empty")
	flag.StringVar(&c.cuda, "cuda-library", "", "the driver's libcuda.so.1; beside the other, if empty")
	flag.DurationVar(&c.interval, "interval", time.Second, "time between two looks")
	flag.DurationVar(&c.length, "for", 10*time.Second, "how long to read, and how long each workload runs")
	flag.Parse()
	var err error
	if c.child, err = filepath.Abs(c.child); err != nil {
		return err
	}
	found := gpu.Examine(ctx, c.options())
	report, err := json.Marshal(found)
	if err != nil {
		return err
	}
	fmt.Printf("== doctor\n%s\n", report)
	if found.Error != "" {
		return errors.New(found.Error)
	}
	if c.nvml == "" {
		c.nvml = found.Library
	}
	if c.cuda == "" {
		c.cuda = filepath.Join(filepath.Dir(c.nvml), "libcuda.so.1")
	}
	errs := []error{c.events(ctx), c.timings(ctx)}
	if c.work != "" {
		errs = append(errs, c.counts(ctx), c.cost(ctx), c.verdicts(ctx))
	}
	return errors.Join(errs...)
}

func (c *check) options() gpu.Options {
	return gpu.Options{Child: c.child, Library: c.nvml, Interval: c.interval,
		Containers: func() []gpu.Container { return nil }}
}

// events prints what is read for a while, and what that cost.
func (c *check) events(ctx context.Context) error {
	fmt.Println("== events")
	p, err := gpu.Open(c.options())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.length)
	defer cancel()
	before := spent(syscall.RUSAGE_CHILDREN)
	began := time.Now()
	events := 0
	var line []byte
	// settled is when all has been started, and what had been spent by then; last the same shortly before the end. To
	// look costs, too.
	var settled, last expense
	if err := p.Run(ctx, func(_ uint64, ev *event.Event) {
		events++
		switch now := time.Now(); {
		case settled.at.IsZero() && now.Sub(began) > c.length/4:
			settled = expense{now, running(), spent(syscall.RUSAGE_SELF)}
		case last.at.IsZero() && now.Sub(began) > c.length*9/10:
			last = expense{now, running(), spent(syscall.RUSAGE_SELF)}
		}
		line = event.AppendJSON(line[:0], ev)
		os.Stdout.Write(append(line, '\n'))
	}); err != nil {
		return err
	}
	elapsed := time.Since(began)
	used := spent(syscall.RUSAGE_CHILDREN) - before
	fmt.Printf("%d events in %v, each %v; the child took %v of CPU time, starting and ending included: %.2f %% "+
		"of a core\n",
		events, elapsed.Round(time.Millisecond), c.interval, used.Round(time.Millisecond), 100*used.Seconds()/
			elapsed.Seconds())
	if d := last.at.Sub(settled.at).Seconds(); d > 0 {
		fmt.Printf("once started, over %.1f s: the child %.3f %% of a core, the process that names and prints what "+
			"it reads %.3f %%\n",
			d, 100*(last.child-settled.child).Seconds()/d, 100*(last.own-settled.own).Seconds()/d)
	}
	return nil
}

// expense is the CPU time that children and the process itself had taken at a time.
type expense struct {
	at         time.Time
	child, own time.Duration
}

// running is the CPU time of the children that run, by their threads' schedstat.
func running() (sum time.Duration) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		pids, _ := os.ReadFile(list)
		for pid := range strings.FieldsSeq(string(pids)) {
			threads, _ := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
			for _, t := range threads {
				b, err := os.ReadFile(t)
				if err != nil {
					continue // it has just ended
				}
				var ns time.Duration
				if _, err := fmt.Sscan(string(b), &ns); err == nil {
					sum += ns
				}
			}
		}
	}
	return sum
}

// spent is the CPU time of this process, or of its children that have ended: syscall.RUSAGE_SELF,
// RUSAGE_CHILDREN.
func spent(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
