//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// counts compares the calls that uprobes count with those that the programs themselves count.
func (c *check) counts(ctx context.Context) (err error) {
	o, err := c.observe(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	var errs []error
	for _, how := range [][]string{{c.cuda, "count", "0"}, {"-static", c.cuda, "count", "0"}} {
		fmt.Printf("== calls of gpu %v\n", how)
		errs = append(errs, c.countsOf(ctx, o, how))
	}
	if c.train != "" {
		errs = append(errs, c.profiled(ctx, o))
	}
	return errors.Join(errs...)
}

// countsOf compares the counts of one program, which runs with args until its counts have been read.
func (c *check) countsOf(ctx context.Context, o *observed, args []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, _, stdout, err := command(ctx, o.dir, c.work, args...)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // always fails: the program runs until SIGTERM
	}()
	printed := map[string]uint64{}
	if err := json.NewDecoder(stdout).Decode(&printed); err != nil {
		return fmt.Errorf("decode the counts of gpu: %w", err)
	}
	g, err := o.of(ctx, cmd.Process.Pid)
	if err != nil {
		return err
	}
	counted := map[string]*uint64{}
	k := g.GetCalls()
	for name, n := range map[string]*uint64{
		"launches": k.Launches, "graphLaunches": k.GraphLaunches, "copies": k.Copies,
		"hostToDeviceBytes": k.HostToDeviceBytes, "deviceToHostBytes": k.DeviceToHostBytes,
		"deviceToDeviceBytes": k.DeviceToDeviceBytes, "syncs": k.Syncs, "allocations": k.Allocations, "frees": k.Frees,
		"allocatedBytes":   k.AllocatedBytes,
		"outstandingBytes": k.OutstandingBytes, "failures": k.Failures,
	} {
		counted[name] = n
	}
	wrong := 0
	for _, name := range slices.Sorted(maps.Keys(printed)) {
		n, word := counted[name], "exact"
		if n == nil {
			word = "NOT KNOWN"
			wrong++
		} else if *n != printed[name] {
			word = fmt.Sprintf("WRONG: counted %d", *n)
			wrong++
		}
		fmt.Printf("%-24s %12d %s\n", name, printed[name], word)
	}
	if wrong > 0 {
		return fmt.Errorf("gpu %v: %d of %d counts differ from the program's; unavailable: %s", args, wrong,
			len(printed), g.GetUnavailable())
	}
	return nil
}

// profiled prints the counts of PyTorch's profiler for 100 steps beside those of uprobes. The profiler counts functions
// of the runtime, several of which may call the same function of the driver, so the user has to compare them.
func (c *check) profiled(ctx context.Context, o *observed) error {
	fmt.Println("== calls of PyTorch")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, stdin, stdout, err := command(ctx, o.dir, c.python, c.train, "count", "0")
	if err != nil {
		return err
	}
	counted := &event.GpuCalls{}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var printed struct{ Profiled map[string]uint64 }
		if err := json.Unmarshal(lines.Bytes(), &printed); err != nil || printed.Profiled == nil {
			fmt.Println(lines.Text())
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(printed.Profiled)) {
			fmt.Printf("profiler: %-40s %8d\n", name, printed.Profiled[name])
		}
		g, err := o.of(ctx, cmd.Process.Pid)
		if err != nil {
			return errors.Join(err, stdin.Close(), cmd.Wait())
		}
		counted = g.GetCalls()
		break
	}
	fmt.Printf("uprobes, since the process began: %v\n", counted)
	return errors.Join(stdin.Close(), cmd.Wait())
}
