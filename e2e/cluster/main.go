// Command cluster runs the test bed: a real two-node Kubernetes cluster on one machine, without Docker or a registry.
// API server, scheduler, controller manager, kubelets and kube-proxies are built from their Go modules; etcd,
// containerd, runc and the CNI plugins are the distribution's. Each node is a network namespace with its own kubelet,
// containerd and kube-proxy, and a bridge in a third namespace connects them. So no rule or sysctl of the host changes,
// and the host's routes into the cluster end with their link.
//
//	cluster build                              build the binaries and images that the cache lacks
//	cluster up                                 start the cluster unless it is up; the last line is the kubeconfig
//	cluster down                               stop the cluster and leave nothing behind
//	cluster status                             fail unless the cluster is up
//	cluster kubeconfig                         print the kubeconfig's path
//	cluster load ARCHIVE ...                   import docker archives into both nodes
//	cluster digest IMAGE                       add a name with the digest to an image on both nodes; print it
//	cluster user NAME [--group GROUP]          print the path of a kubeconfig with a fresh certificate for NAME
//	cluster restart|stop|start COMPONENT [NODE]
//
// ORB8_E2E_KUBERNETES=1.30 builds and starts the oldest version that orb8 is tested with instead of the newest.
// ORB8_E2E_KUBECONFIG names another cluster to use: then up only checks it, down does nothing, and load uses kind if
// the context is kind's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: cluster build | up | down | status | kubeconfig | load ARCHIVE ... | " +
	"digest IMAGE | user NAME [--group GROUP] | restart|stop|start COMPONENT [NODE]")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	if path := os.Getenv("ORB8_E2E_KUBECONFIG"); path != "" {
		return (&external{kubeconfig: path}).run(ctx, args)
	}
	c, err := newCluster()
	if err != nil {
		return err
	}
	command, args := args[0], args[1:]
	if command == "up" || command == "down" {
		unlock, err := c.lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	switch {
	case command == "build" && len(args) == 0:
		_, err := c.build(ctx)
		return err
	case command == "up" && len(args) == 0:
		if err := c.up(ctx); err != nil {
			return err
		}
		fmt.Println(c.kubeconfig("admin"))
	case command == "down" && len(args) == 0:
		return c.down(ctx)
	case command == "status" && len(args) == 0:
		return c.status(ctx)
	case command == "kubeconfig" && len(args) == 0:
		fmt.Println(c.kubeconfig("admin"))
	case command == "load" && len(args) > 0:
		return c.load(ctx, args)
	case command == "digest" && len(args) == 1:
		name, err := c.nameByDigest(ctx, args[0])
		if err != nil {
			return err
		}
		fmt.Println(name)
	case command == "user" && len(args) == 1:
		return c.user(args[0], "")
	case command == "user" && len(args) == 3 && args[1] == "--group":
		return c.user(args[0], args[2])
	case (command == "restart" || command == "stop" || command == "start") && (len(args) == 1 || len(args) == 2):
		return c.control(ctx, command, args)
	default:
		return errUsage
	}
	return nil
}

// logf prints a line of progress to stderr.
func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
