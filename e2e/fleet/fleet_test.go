package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	orb8 "github.com/orb8-dev/kubectl-orb8/server"
	"github.com/orb8-dev/kubectl-orb8/server/access"
	"github.com/orb8-dev/kubectl-orb8/server/authority"
)

// TestMain makes this program the server where the test below has started it: tests build no other program.
func TestMain(m *testing.M) {
	if os.Getenv("ORB8_BENCH_API") == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := serve(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve is a server as cmd/orb8-server runs it, without the signer of users' certificates.
func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	listen, health := flags.String("listen", "", ""), flags.String("health", "", "")
	agents := flags.String("agents", "", "")
	flags.String("metrics", "", "") // this server has none
	if err := flags.Parse(args); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	client, err := kubernetes.NewForConfig(&rest.Config{Host: os.Getenv("ORB8_BENCH_API"), QPS: 100, Burst: 200})
	if err != nil {
		return err
	}
	certificates, err := authority.Open(ctx, client, authority.Options{Namespace: install, Log: log})
	if err != nil {
		return err
	}
	var listeners [2]net.Listener
	for i, address := range []string{*listen, *health} {
		if listeners[i], err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
			return err
		}
	}
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { _ = certificates.Run(ctx) }) // it ends with ctx
	door := access.New(client, access.Options{Log: log})
	return orb8.Run(ctx, orb8.Options{Client: client, Namespace: install, Agents: *agents, Version: "fleet",
		Listener: listeners[0], Health: listeners[1], Authority: certificates, Door: doorOf{door}, Log: log,
		Credentials: orbit.ServerCredentials(certificates.ServerTLS(), door.Refuse)})
}

type doorOf struct{ *access.Access }

func (d doorOf) Open(ctx context.Context, u *orbit.User, kinds, namespaces []string) (orb8.View, error) {
	view, err := d.Access.Open(ctx, u, kinds, namespaces)
	if err != nil {
		return nil, err
	}
	return view, nil
}

// TestFleet_Small runs a small fleet with all faults. It checks what a busy machine does not change.
func TestFleet_Small(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &plan{agents: 40, flows: 6, pods: 4}
	// There are 120 flows at a time: few of the newest ones are in few of the newest events.
	o := &options{server: program, warmUp: 3 * time.Second, measure: 3 * time.Second, queries: 1, last: 50}
	r, err := measure(ctx, p, o, "small", faults{unreachable: 0.1, slow: 0.05, lying: 0.1, restarting: 0.05, churn: 10})
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := printTable(&table, p, o, []*result{r}); err != nil {
		t.Fatal(err)
	}
	t.Log(table.String())
	if r.report.strict == 0 || r.report.repeated > 0 || r.report.leaked > 0 || r.report.redacted == 0 {
		t.Errorf("%+v", r.report)
	}
	for _, err := range r.failed {
		t.Errorf("query: %v", err)
	}
}

// TestFaults_AreSpread counts the agents of each fault.
func TestFaults_AreSpread(t *testing.T) {
	f := faults{unreachable: 0.1, slow: 0.05, lying: 0.01, restarting: 0.01}
	got := map[fault]int{}
	for node := range 1000 {
		got[f.of(node, 1000)]++
	}
	unreachable := got[refuses] + got[silent] + got[mute]
	if unreachable != 100 || got[slow] != 50 || got[restarts] != 10 {
		t.Errorf("%d unreachable, %d slow, %d restarting", unreachable, got[slow], got[restarts])
	}
	for _, kind := range []fault{refuses, silent, mute, future, otherNode, oversized, newer} {
		if got[kind] == 0 {
			t.Errorf("no agent has fault %d", kind)
		}
	}
}
