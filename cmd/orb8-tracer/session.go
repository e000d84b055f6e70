//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strconv"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/host"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/tracer"
)

const (
	// defaultCgroupMount is where a host has its cgroups, for those who run the tracer outside a pod.
	defaultCgroupMount = "/sys/fs/cgroup"
	// gcPercent: the tracer is a guest on the node, so rather a little more time for the garbage collector than memory.
	gcPercent = 25
)

// serve runs one session as the environment says.
func serve(ctx context.Context, getenv func(string) string, stdout, stderr io.Writer) error {
	client, err := session.ParsePublicKey(getenv(session.EnvClientKey))
	if err != nil {
		return fmt.Errorf("%s: %w", session.EnvClientKey, err)
	}
	node := getenv(session.EnvNodeName)
	if node == "" {
		return fmt.Errorf("%s is not set", session.EnvNodeName)
	}
	identity, err := session.NewIdentity()
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, session.Port)
	if err != nil {
		return err
	}
	debug.SetGCPercent(gcPercent)
	log := slog.New(slog.NewTextHandler(stderr, nil))
	return tracer.Run(ctx, tracer.Config{
		Node:      node,
		Version:   version.Version(),
		Release:   host.Release(),
		BootID:    host.BootID(),
		Instance:  host.RandomInstance(),
		Identity:  identity,
		Client:    client,
		Listeners: listeners,
		Kernel:    tracer.Host{CgroupMount: cgroupMount(getenv)},
		Ready:     stdout,
		Log:       log,
	})
}

// listen opens the port on the loopback addresses that there are. Nobody outside the pod's network namespace gets to
// them but by a port-forward.
func listen(ctx context.Context, port int) ([]net.Listener, error) {
	var config net.ListenConfig
	var listeners []net.Listener
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		l, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		listeners = append(listeners, l)
	}
	if len(listeners) == 0 {
		return nil, errors.Join(errs...)
	}
	return listeners, nil
}
