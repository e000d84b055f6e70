//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// cost prints the CPU time that a launch takes of the launching thread, with and without probes, measured alternately.
func (c *check) cost(ctx context.Context) (err error) {
	fmt.Println("== cost of a launch (CPU time of the launching thread)")
	const pairs = 3
	seconds := strconv.FormatFloat(c.length.Seconds()/2, 'f', -1, 64)
	for _, rate := range []string{"10000", "100000", "0"} {
		var without, with []float64
		for range pairs {
			for _, probed := range []bool{false, true} {
				nanos, err := c.launchCost(ctx, probed, seconds, rate)
				if err != nil {
					return err
				}
				if probed {
					with = append(with, nanos)
				} else {
					without = append(without, nanos)
				}
			}
		}
		slices.Sort(without)
		slices.Sort(with)
		fmt.Printf("%6s launches/s: %7.0f ns without, %7.0f ns with (medians of %d; %v, %v)\n", rate, without[pairs/2],
			with[pairs/2], pairs, without, with)
	}
	return nil
}

// launchCost measures the CPU time of a launch in ns, at a rate in launches per second ("0": as fast as possible).
func (c *check) launchCost(ctx context.Context, probed bool, seconds, rate string) (nanos float64, err error) {
	dir := ""
	if probed {
		o, err := c.observe(ctx)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, o.close()) }()
		dir = o.dir
	}
	cmd, stdin, stdout, err := command(ctx, dir, c.work, c.cuda, "rate", seconds, rate)
	if err != nil {
		return 0, err
	}
	var result struct{ CPUNanosPerLaunch float64 }
	decodeErr := json.NewDecoder(stdout).Decode(&result)
	if err := errors.Join(decodeErr, stdin.Close(), cmd.Wait()); err != nil {
		return 0, err
	}
	return result.CPUNanosPerLaunch, nil
}
