//go:build linux

// Command gpucheck runs the GPU code of a tracer on this machine's GPU, without Kubernetes, and prints the results.
// `make gpu-check` runs it, as root:
//
//   - the GPU part of doctor, events for a while, and the CPU time that reading them takes;
//   - the duration of each NVML function, as root and as nobody;
//   - the calls that uprobes count, compared with the program's own counts,
//     and those of PyTorch beside the counts of its profiler;
//   - the cost of a launch with and without probes;
//   - the verdicts of why gpu about programs whose bottleneck is known.
//
// Counts that differ are printed, and the exit code is 1.
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

// check is the configuration of a run.
type check struct {
	// Paths: child is orb8-nvml, work the program built from workload/gpu.c, train is workload/train.py; nvml and cuda
	// are the driver's libraries.
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
	flag.StringVar(&c.nvml, "nvml-library", "", "the driver's libnvidia-ml.so.1; empty: found automatically")
	flag.StringVar(&c.cuda, "cuda-library", "", "the driver's libcuda.so.1; empty: in the folder of libnvidia-ml.so.1")
	flag.DurationVar(&c.interval, "interval", time.Second, "sampling interval")
	flag.DurationVar(&c.length, "for", 10*time.Second, "duration of sampling and of each workload")
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

// events prints the events of c.length, and the CPU time that reading them took.
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
	// settled and last are the CPU times after the start and shortly before the end. Two readings only: a reading
	// itself takes CPU time.
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
		fmt.Printf("%s\n", line)
	}); err != nil {
		return err
	}
	elapsed := time.Since(began)
	used := spent(syscall.RUSAGE_CHILDREN) - before
	fmt.Printf("%d events in %v, one interval is %v; the child took %v of CPU time, start and end included: %.2f %% "+
		"of a core\n",
		events, elapsed.Round(time.Millisecond), c.interval, used.Round(time.Millisecond), 100*used.Seconds()/
			elapsed.Seconds())
	if d := last.at.Sub(settled.at).Seconds(); d > 0 {
		fmt.Printf("after the start, over %.1f s: the child %.3f %% of a core, the parent, which attributes and "+
			"prints the events, %.3f %%\n",
			d, 100*(last.child-settled.child).Seconds()/d, 100*(last.own-settled.own).Seconds()/d)
	}
	return nil
}

// expense is the CPU time that this process and its children had taken at a time.
type expense struct {
	at         time.Time
	child, own time.Duration
}

// running sums the CPU time of all running children, from the schedstat of their threads.
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

// spent returns the CPU time of this process (syscall.RUSAGE_SELF) or of its ended children (RUSAGE_CHILDREN).
func spent(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
