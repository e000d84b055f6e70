//go:build linux

// Command gpucheck reads the GPUs of this machine as a tracer would, without Kubernetes: what doctor says of them, then every event for a
// while as JSON, then what the reading cost. `make gpu-check` runs it.
//
//	gpucheck -child bin/linux-amd64/orb8-nvml [-nvml-library PATH] [-interval 1s] [-for 10s]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/gpu"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gpucheck:", err)
		os.Exit(1)
	}
}

func run() error {
	child := flag.String("child", "", "the orb8-nvml to run")
	library := flag.String("nvml-library", "", "the driver's library; looked for, if empty")
	interval := flag.Duration("interval", time.Second, "time between two looks")
	length := flag.Duration("for", 10*time.Second, "how long to read")
	flag.Parse()
	program, err := filepath.Abs(*child)
	if err != nil {
		return err
	}
	o := gpu.Options{Child: program, Library: *library, Interval: *interval, Containers: func() []gpu.Container { return nil }}
	found := gpu.Examine(context.Background(), o)
	report, err := json.Marshal(found)
	if err != nil {
		return err
	}
	fmt.Printf("doctor: %s\n", report)
	if found.Error != "" {
		return errors.New(found.Error)
	}
	p, err := gpu.Open(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *length)
	defer cancel()
	before := spent()
	began := time.Now()
	events := 0
	var line []byte
	if err := p.Run(ctx, func(_ uint64, ev *event.Event) {
		events++
		line = event.AppendJSON(line[:0], ev)
		os.Stdout.Write(append(line, '\n'))
	}); err != nil {
		return err
	}
	elapsed := time.Since(began)
	used := spent() - before
	fmt.Printf("%d events in %v, each %v; the child took %v of processor time, starting and ending included: %.2f %% of a core\n",
		events, elapsed.Round(time.Millisecond), *interval, used.Round(time.Millisecond), 100*used.Seconds()/elapsed.Seconds())
	return nil
}

// spent is the processor time of the children that have ended.
func spent() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
