package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	defaultWarmUp, defaultMeasure = 25 * time.Second, 60 * time.Second
	// defaultLast is the --last of queries, parallelQueries how many users ask at once.
	defaultLast, parallelQueries = 1000, 4
)

// options of a measurement.
type options struct {
	server, only, profile, memory string
	warmUp, measure               time.Duration
	queries, last                 int
}

// runs are the fleets that are measured.
var runs = []struct {
	name   string
	faults faults
}{
	{"healthy", faults{churn: 20}},
	{"faults", faults{unreachable: 0.10, slow: 0.05, lying: 0.01, restarting: 0.01, churn: 20}},
}

// result is what was measured of a fleet.
type result struct {
	name          string
	agents, late  int
	seconds       float64
	sent          float64 // events of agents in a second, by the plan
	report        report
	delay         [2]time.Duration // p50, p99
	fleetLate     time.Duration    // p99
	cores, others float64          // of the server, and of this process
	idle, usage   usage            // of the server, before the stream and at the end
	serial        []time.Duration  // of queries
	parallel      []time.Duration
	failed        []error
}

// measureAll measures all fleets and prints the table.
func measureAll(ctx context.Context, p *plan, o *options, out io.Writer) error {
	var results []*result
	for _, r := range runs {
		if o.only != "" && o.only != r.name {
			continue
		}
		got, err := measure(ctx, p, o, r.name, r.faults)
		if err != nil {
			// What was measured before is not lost.
			return errors.Join(fmt.Errorf("%s: %w", r.name, err), printTable(out, p, o, append(results, got)))
		}
		results = append(results, got)
		if got.report.firstWrong != "" {
			fmt.Fprintf(out, "%s: first mistake: %.900s\n", r.name, got.report.firstWrong)
		}
		for _, err := range got.failed {
			fmt.Fprintf(out, "%s: query: %v\n", r.name, err)
		}
	}
	if len(results) == 0 {
		return fmt.Errorf("--only %s: want healthy or faults", o.only)
	}
	return printTable(out, p, o, results)
}

// measure runs a server on a fleet.
func measure(ctx context.Context, planned *plan, o *options, name string, what faults) (r *result, err error) {
	p := *planned
	r = &result{name: name, agents: p.agents, sent: float64(p.agents * p.flows)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f, err := startFleet(ctx, &p, what)
	if err != nil {
		return r, err
	}
	defer func() {
		cancel()
		f.running.Wait()
	}()
	s, err := startServer(ctx, o.server, f.apiURL, cmp.Or(o.memory, memoryLimit))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if r.idle, err = usageOf(s.cmd.Process.Pid); err != nil {
		return r, err
	}
	v := newViewer(f)
	conn, err := f.dial(s.address, "viewer")
	if err != nil {
		return r, err
	}
	following := make(chan error, 1)
	go func() { following <- v.follow(ctx, conn) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-following, conn.Close())
	}()
	if err := f.stream(ctx, o, s, v, r); err != nil {
		return r, err
	}
	f.query(ctx, o, s, r)
	if r.usage, err = usageOf(s.cmd.Process.Pid); err != nil {
		return r, err
	}
	if o.profile != "" {
		err = s.writeProfile(ctx, "heap", o.profile+name+"-heap")
	}
	return r, err
}

// stream measures the stream.
func (f *fleet) stream(ctx context.Context, o *options, s *server, v *viewer, r *result) error {
	if err := wait(ctx, o.warmUp); err != nil {
		return err
	}
	v.drain()
	v.delay.reset()
	f.late.reset()
	before, err := usageOf(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	ownBefore, err := usageOf(os.Getpid())
	if err != nil {
		return err
	}
	began := time.Now()
	profiled := make(chan error, 1)
	if o.profile == "" {
		profiled <- nil
	} else {
		go func() {
			profiled <- s.writeProfile(ctx, fmt.Sprintf("profile?seconds=%d", int(o.measure.Seconds())),
				o.profile+r.name+"-cpu")
		}()
	}
	if err := errors.Join(wait(ctx, o.measure), <-profiled); err != nil {
		return err
	}
	after, err := usageOf(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	ownAfter, err := usageOf(os.Getpid())
	if err != nil {
		return err
	}
	r.seconds = time.Since(began).Seconds()
	r.cores = (after.cpu - before.cpu).Seconds() / r.seconds
	r.others = (ownAfter.cpu - ownBefore.cpu).Seconds() / r.seconds
	r.report, r.late = v.drain(), r.agents-v.answering()
	r.delay = [2]time.Duration{v.delay.quantile(0.5), v.delay.quantile(0.99)}
	r.fleetLate = f.late.quantile(0.99)
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// query measures queries, beside the stream: one after another, and of several users at once.
func (f *fleet) query(ctx context.Context, o *options, s *server, r *result) {
	var mu sync.Mutex
	ask := func(user string, took *[]time.Duration) {
		for range o.queries {
			d, err := f.queryNewest(ctx, s.address, user, o.last)
			mu.Lock()
			if err != nil {
				r.failed = append(r.failed, err)
			} else {
				*took = append(*took, d)
			}
			mu.Unlock()
		}
	}
	ask("user-0", &r.serial)
	var asking sync.WaitGroup
	for i := range parallelQueries {
		asking.Go(func() { ask(fmt.Sprint("user-", i), &r.parallel) })
	}
	asking.Wait()
}

// quantile returns the value that a share of values do not exceed.
func quantile(values []time.Duration, share float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(share*float64(len(values))), len(values)-1)]
}

// printTable prints one column for each fleet.
func printTable(out io.Writer, p *plan, o *options, results []*result) error {
	rows := []struct {
		name  string
		value func(*result) string
	}{
		{"agents; of which do not answer", func(r *result) string { return fmt.Sprintf("%d; %d", r.agents, r.late) }},
		{"events/s of agents; of the stream", func(r *result) string {
			return fmt.Sprintf("%.0f; %.0f", r.sent, float64(r.report.events)/r.seconds)
		}},
		{"of agents without fault: events", func(r *result) string { return fmt.Sprint(r.report.strict) }},
		{"… states missing; repeated; not joined", func(r *result) string {
			return fmt.Sprintf("%d; %d; %d", r.report.missing, r.report.repeated, r.report.unjoined)
		}},
		{"… first states in the event of the second", func(r *result) string { return fmt.Sprint(r.report.folded) }},
		{"… out of order; by at most", func(r *result) string {
			return fmt.Sprintf("%d; %v", r.report.disordered, r.report.disorder.Round(time.Millisecond))
		}},
		{"redacted ends/s; visible against the rights", func(r *result) string {
			return fmt.Sprintf("%.0f; %d", float64(r.report.redacted)/r.seconds, r.report.leaked)
		}},
		{"lost, as the server reports", func(r *result) string { return fmt.Sprint(r.report.lost) }},
		{"merge delay p50; p99", func(r *result) string { return fmt.Sprintf("%v; %v", r.delay[0], r.delay[1]) }},
		{"agents late by themselves, p99", func(r *result) string { return r.fleetLate.String() }},
		{"server: cores", func(r *result) string { return fmt.Sprintf("%.2f", r.cores) }},
		{"server: RSS with the names of all pods, before any request", func(r *result) string {
			return fmt.Sprintf("%d MiB", r.idle.rss>>20)
		}},
		{"server: RSS at the end; peak", func(r *result) string {
			return fmt.Sprintf("%d MiB; %d MiB", r.usage.rss>>20, r.usage.peak>>20)
		}},
		{"this program: cores", func(r *result) string { return fmt.Sprintf("%.2f", r.others) }},
		{fmt.Sprintf("query flows --last %d, alone, p50; p95", o.last), func(r *result) string {
			return times(r.serial)
		}},
		{fmt.Sprintf("… %d at once, p50; p95", parallelQueries), func(r *result) string { return times(r.parallel) }},
		{"queries failed", func(r *result) string { return fmt.Sprint(len(r.failed)) }},
	}
	fmt.Fprintf(out, "%d agents × %d events/s, %d pods, %d CPUs\n\n", p.agents, p.flows, p.agents*p.pods,
		runtime.NumCPU())
	line, rule := "|", "|"
	for _, r := range append([]*result{{}}, results...) {
		line, rule = line+" "+r.name+" |", rule+"---|"
	}
	if _, err := fmt.Fprintf(out, "%s\n%s\n", line, rule); err != nil {
		return err
	}
	for _, row := range rows {
		line := "| " + row.name + " |"
		for _, r := range results {
			line += " " + row.value(r) + " |"
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}

func times(d []time.Duration) string {
	return fmt.Sprintf("%.2f s; %.2f s", quantile(d, 0.5).Seconds(), quantile(d, 0.95).Seconds())
}
