// Command fleet plays the agents of a large cluster, and its API server, to one orb8-server, and measures that: whether
// a stream is complete and in order, how long events take, and what the server takes.
//
// The agents are real to the server: each has an address, a certificate, and the gRPC service of agents. Their events
// follow a plan, so that each is checked at the other end. Each flow has two ends on two nodes, which the server joins,
// names and redacts.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var p plan
	var o options
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.IntVar(&p.agents, "agents", 1000, "`number` of nodes")
	flags.IntVar(&p.flows, "flows", 50, "`number` of events of each node in a second: ends of open flows")
	flags.IntVar(&p.pods, "pods", 30, "`number` of pods on each node")
	flags.StringVar(&o.server, "server", "", "`program`: orb8-server, built with the tag bench")
	flags.DurationVar(&o.warmUp, "warm-up", defaultWarmUp, "`time` before it is measured")
	flags.DurationVar(&o.measure, "for", defaultMeasure, "`time` for which the stream is measured")
	flags.IntVar(&o.queries, "queries", 10, "`number` of queries in sequence, and by each of four users at once")
	flags.IntVar(&o.last, "last", defaultLast, "`number` of the newest flows that a query is about")
	flags.StringVar(&o.only, "only", "", "`name` of the only run: healthy or faults")
	flags.StringVar(&o.memory, "memory", memoryLimit, "`limit` of the server's memory, GOMEMLIMIT")
	flags.StringVar(&o.profile, "profile", "", "`prefix` of files for the server's profiles")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	return measureAll(ctx, &p, &o, os.Stdout)
}
