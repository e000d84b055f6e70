//go:build linux

// Command orb8-agent runs on every node in persistent mode, in the pods of a DaemonSet.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/agent"
	"github.com/orb8-dev/kubectl-orb8/agent/identity"
	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/host"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/scrape"
	"github.com/orb8-dev/kubectl-orb8/tracer"
)

// gcPercent: the agent is a guest on the node, so rather a little more time for the garbage collector than memory.
const gcPercent = 20

// ringBytes is the size of a ring buffer, a quarter of what a tracer has. The kernel maps it into the process twice.
const ringBytes = 1 << 20

func main() { host.Main("orb8-agent", run) }

// settings are the command line.
type settings struct {
	config, historyMemory, historyDir, historyDisk, stateDir string
	server, authority, token, listen, health                 string
	metrics, metricsAuth                                     string
	metricsTLS, version                                      bool
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("orb8-agent", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.config, "config", "/etc/orb8/config.yaml", "configuration `file`, read again when it changes")
	flags.StringVar(&s.historyMemory, "history-memory", "32Mi", "most memory of the history")
	flags.StringVar(&s.historyDir, "history-dir", "", "keep the history in this `directory`, too")
	flags.StringVar(&s.historyDisk, "history-disk", "256Mi", "most bytes in --history-dir")
	flags.StringVar(&s.stateDir, "state-dir", "", "`directory` for what the next process on this node starts with")
	flags.StringVar(&s.server, "server", "", "`address` of the servers, which issue the agent's certificate")
	flags.StringVar(&s.authority, "authority", "/var/run/orb8/authority/ca.crt", "`file` of the servers' authority")
	flags.StringVar(&s.token, "token", "/var/run/secrets/orb8/token", "`file` of the pod's service account token")
	flags.StringVar(&s.listen, "listen", fmt.Sprintf(":%d", orbit.AgentPort), "`address` of gRPC")
	flags.StringVar(&s.health, "health", ":9092", "`address` of /healthz and /readyz")
	flags.StringVar(&s.metrics, "metrics", ":9091", "`address` of /metrics; empty: none")
	flags.StringVar(&s.metricsAuth, "metrics-auth", scrape.AuthKubernetes, scrape.AuthUsage)
	flags.BoolVar(&s.metricsTLS, "metrics-tls", true, "serve metrics by HTTPS, with the agent's certificate")
	flags.BoolVar(&s.version, "version", false, "print the version")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, nil
	} else if err != nil {
		return nil, host.ErrUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "orb8-agent: unexpected argument %q\n", flags.Arg(0))
		return nil, host.ErrUsage
	}
	return s, nil
}

// bytes reads a quantity such as 32Mi.
func bytes(flag, value string) (int64, error) {
	q, err := resource.ParseQuantity(value)
	if err != nil || q.Value() <= 0 {
		return 0, fmt.Errorf("--%s %q: want a number of bytes such as 32Mi", flag, value)
	}
	return q.Value(), nil
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if s == nil {
		return err
	}
	if s.version {
		_, err := fmt.Fprintln(stdout, version.Version())
		return err
	}
	node := getenv(session.EnvNodeName)
	if node == "" {
		return fmt.Errorf("%s is not set", session.EnvNodeName)
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	options := agent.Options{
		Node: node, Version: version.Version(), Release: host.Release(), BootID: host.BootID(),
		Instance: host.RandomInstance(), ConfigFile: s.config, StateDir: s.stateDir, HistoryDir: s.historyDir,
		Kernel: tracer.Host{CgroupMount: cgroupMount(getenv), RingBytes: ringBytes}, Log: log,
	}
	if options.HistoryMemory, err = bytes("history-memory", s.historyMemory); err != nil {
		return err
	}
	if options.HistoryDirBytes, err = bytes("history-disk", s.historyDisk); err != nil {
		return err
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("the API server's address and token: %w", err)
	}
	config.UserAgent = "orb8-agent/" + version.Version()
	if options.Pods, err = targets.PodsOf(config, node); err != nil {
		return err
	}
	certificate, err := identity.Open(identity.Options{Server: s.server, AuthorityFile: s.authority,
		TokenFile: s.token, Node: node, Log: log})
	if err != nil {
		return err
	}
	options.TLS, options.Certified = certificate.ServerTLS(), certificate.Ready()
	var listen net.ListenConfig
	if options.Listener, err = listen.Listen(ctx, "tcp", s.listen); err != nil {
		return err
	}
	if options.Health, err = listen.Listen(ctx, "tcp", s.health); err != nil {
		return errors.Join(err, options.Listener.Close())
	}
	if options.Metrics, err = s.openMetrics(ctx, config, certificate); err != nil {
		return errors.Join(err, options.Listener.Close(), options.Health.Close())
	}
	debug.SetGCPercent(gcPercent)
	if limit := debug.SetMemoryLimit(-1); limit == math.MaxInt64 {
		log.Warn("GOMEMLIMIT is not set: the tables of the probes have their default sizes")
	}
	if err := host.YieldToPods(); err != nil {
		log.Warn("the agent may disturb the pods of a busy node", "err", err)
	}
	running, end := context.WithCancel(ctx)
	defer end()
	var renewing sync.WaitGroup
	defer renewing.Wait()
	defer end()
	renewing.Go(func() { certificate.Run(running) })
	return agent.Run(running, options)
}

// openMetrics opens the port for Prometheus.
func (s *settings) openMetrics(
	ctx context.Context, config *rest.Config, certificate *identity.Identity,
) (o agent.MetricsOptions, err error) {
	if s.metrics == "" {
		return o, nil
	}
	if o.Auth, err = scrape.ParseAuth(s.metricsAuth, config); err != nil {
		return o, err
	}
	if s.metricsTLS {
		o.TLS = certificate.MetricsTLS()
	}
	o.Expiry = func() uint64 {
		if at := certificate.Expiry(); !at.IsZero() {
			return uint64(at.UnixNano())
		}
		return 0
	}
	var listen net.ListenConfig
	o.Listener, err = listen.Listen(ctx, "tcp", s.metrics)
	return o, err
}

// defaultCgroupMount is where a host has its cgroups, for those who run the agent outside a pod.
const defaultCgroupMount = "/sys/fs/cgroup"

func cgroupMount(getenv func(string) string) string {
	if dir := getenv(session.EnvCgroupRoot); dir != "" {
		return dir
	}
	return defaultCgroupMount
}
