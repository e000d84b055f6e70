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

// counts holds what was counted against what programs say.
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

func (c *check) countsOf(ctx context.Context, o *observed, args []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, _, stdout, err := command(ctx, o.dir, c.work, args...)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it waits to be ended
	}()
	said := map[string]uint64{}
	if err := json.NewDecoder(stdout).Decode(&said); err != nil {
		return fmt.Errorf("what gpu says: %w", err)
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
	for _, name := range slices.Sorted(maps.Keys(said)) {
		n, word := counted[name], "exact"
		if n == nil {
			word = "NOT KNOWN"
			wrong++
		} else if *n != said[name] {
			word = fmt.Sprintf("WRONG: counted %d", *n)
			wrong++
		}
		fmt.Printf("%-24s %12d %s\n", name, said[name], word)
	}
	if wrong > 0 {
		return fmt.Errorf("gpu %v: %d of %d numbers are not what the program says; unavailable: %s", args, wrong,
			len(said), g.GetUnavailable())
	}
	return nil
}

// profiled prints what PyTorch's profiler has counted in 100 steps beside what uprobes have: the profiler counts the
// runtime's functions, several of which may lead to one of the driver's, so that a person has to compare.
func (c *check) profiled(ctx context.Context, o *observed) error {
	fmt.Println("== calls of PyTorch")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, stdin, stdout, err := command(ctx, o.dir, c.python, c.train, "count", "0")
	if err != nil {
		return err
	}
	before := &event.GpuCalls{}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var said struct{ Profiled map[string]uint64 }
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil || said.Profiled == nil {
			fmt.Println(lines.Text())
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(said.Profiled)) {
			fmt.Printf("profiler: %-40s %8d\n", name, said.Profiled[name])
		}
		g, err := o.of(ctx, cmd.Process.Pid)
		if err != nil {
			return errors.Join(err, stdin.Close(), cmd.Wait())
		}
		before = g.GetCalls()
		break
	}
	fmt.Printf("uprobes, since the process began: %v\n", before)
	return errors.Join(stdin.Close(), cmd.Wait())
}
