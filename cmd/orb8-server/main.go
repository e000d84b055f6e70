//go:build linux

// Command orb8-server answers for the whole cluster in persistent mode, in the pods of a Deployment.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/host"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/scrape"
	"github.com/orb8-dev/kubectl-orb8/server"
	"github.com/orb8-dev/kubectl-orb8/server/access"
	"github.com/orb8-dev/kubectl-orb8/server/authority"
	"github.com/orb8-dev/kubectl-orb8/server/metrics"
	"github.com/orb8-dev/kubectl-orb8/server/past"
	"github.com/orb8-dev/kubectl-orb8/server/signer"
)

// envNamespace holds the namespace that orb8 is installed in (downward API: metadata.namespace).
const envNamespace = "ORB8_NAMESPACE"

func main() { host.Main("orb8-server", run) }

// settings are the command line.
type settings struct {
	listen, health, agents string
	certificateLife        time.Duration
	authoritySecret        string
	metrics, metricsAuth   string
	metricsTLS, version    bool
	history                past.Options
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("orb8-server", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.listen, "listen", fmt.Sprintf(":%d", orbit.ServerPort), "`address` of gRPC")
	flags.StringVar(&s.health, "health", ":8081", "`address` of /healthz and /readyz")
	flags.StringVar(&s.agents, "agents", "orb8-agent", "`name` of the agents' Service")
	flags.DurationVar(&s.certificateLife, "certificate-life", orbit.AgentLife,
		"`time` after which certificates of servers and agents end, and users' at the latest")
	flags.StringVar(&s.authoritySecret, "authority-secret", "",
		"`name` of the Secret with the certificate authority; empty: servers make their own")
	flags.StringVar(&s.metrics, "metrics", ":9091", "`address` of /metrics; empty: none")
	flags.StringVar(&s.metricsAuth, "metrics-auth", scrape.AuthKubernetes, scrape.AuthUsage)
	flags.BoolVar(&s.metricsTLS, "metrics-tls", true, "serve metrics by HTTPS, with the server's certificate")
	bindHistory(flags, &s.history)
	flags.BoolVar(&s.version, "version", false, "print the version")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, nil
	} else if err != nil {
		return nil, host.ErrUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "orb8-server: unexpected argument %q\n", flags.Arg(0))
		return nil, host.ErrUsage
	}
	if s.certificateLife < minCertificateLife || s.certificateLife > orbit.AgentLife {
		fmt.Fprintf(stderr, "orb8-server: --certificate-life %v: want %v to %v\n", s.certificateLife,
			minCertificateLife, orbit.AgentLife)
		return nil, host.ErrUsage
	}
	return s, nil
}

// bindHistory adds the flags of the history store.
func bindHistory(flags *flag.FlagSet, o *past.Options) {
	flags.StringVar(&o.URL, "history", "", "`URL` of a VictoriaLogs that has what agents hold no more; empty: none")
	flags.StringVar(&o.Credentials, "history-credentials", "", "`directory` with what the store requires: headers, "+
		"token, ca.crt, tls.crt and tls.key, as far as they are there")
	flags.Func("history-resource", "`name=value,...` that the resource of records must have", func(text string) error {
		o.Resource = map[string]string{}
		for pair := range strings.SplitSeq(text, ",") {
			name, value, ok := strings.Cut(pair, "=")
			if text != "" && (!ok || name == "" || value == "") {
				return errors.New("want name=value, with commas between")
			} else if ok {
				o.Resource[name] = value
			}
		}
		return nil
	})
}

// openHistory opens the history store; nil: there is none.
func openHistory(o past.Options, log *slog.Logger) (server.Past, error) {
	if o.URL == "" {
		return nil, nil
	}
	o.UserAgent, o.Log = "orb8-server/"+version.Version(), log
	return past.Open(o)
}

// minCertificateLife leaves time to renew a certificate.
const minCertificateLife = time.Minute

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if s == nil {
		return err
	}
	if s.version {
		_, err := fmt.Fprintln(stdout, version.Version())
		return err
	}
	namespace := getenv(envNamespace)
	if namespace == "" {
		return fmt.Errorf("%s is not set", envNamespace)
	}
	config, err := apiConfig(getenv)
	if err != nil {
		return fmt.Errorf("the API server's address and token: %w", err)
	}
	config.UserAgent = "orb8-server/" + version.Version()
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	// A user without a right in the whole cluster costs a review for each namespace and kind.
	reviews := rest.CopyConfig(config)
	reviews.QPS, reviews.Burst = 500, 1000
	reviewer, err := kubernetes.NewForConfig(reviews)
	if err != nil {
		return err
	}
	auth, err := scrape.ParseAuth(s.metricsAuth, reviews)
	if err != nil {
		return err
	}
	return serve(ctx, s, client, reviewer, auth, namespace, slog.New(slog.NewTextHandler(stderr, nil)))
}

// serve runs the server with its authority, and the signer of users' certificates, until ctx ends.
func serve(
	ctx context.Context, s *settings, client, reviewer kubernetes.Interface, auth *scrape.Auth, namespace string,
	log *slog.Logger,
) error {
	certificates, err := authority.Open(ctx, client, authority.Options{Namespace: namespace,
		Secret: s.authoritySecret, LeafLife: s.certificateLife, Log: log})
	if err != nil {
		return err
	}
	store, err := openHistory(s.history, log)
	if err != nil {
		return fmt.Errorf("--history: %w", err)
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", s.listen)
	if err != nil {
		return err
	}
	health, err := listen.Listen(ctx, "tcp", s.health)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	counted := metrics.New()
	port, err := s.openMetrics(ctx, auth, certificates)
	if err != nil {
		return errors.Join(err, listener.Close(), health.Close())
	}
	door := access.New(reviewer, access.Options{Log: log})
	ctx, end := context.WithCancelCause(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer end(nil)
	work.Go(func() { end(certificates.Run(ctx)) })
	work.Go(func() { end(signer.Run(ctx, client, certificates, log, counted.Certificate)) })
	err = server.Run(ctx, server.Options{
		Client: client, Namespace: namespace, Agents: s.agents, Version: version.Version(), Listener: listener,
		Health: health, Authority: certificates, Door: doorOf{door}, Past: store, Log: log, Metrics: counted,
		Scrape:      port,
		Credentials: orbit.ServerCredentials(certificates.ServerTLS(), door.Refuse),
	})
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// openMetrics opens the port for Prometheus.
func (s *settings) openMetrics(
	ctx context.Context, auth *scrape.Auth, certificates *authority.Authority,
) (o server.ScrapeOptions, err error) {
	if s.metrics == "" {
		return o, nil
	}
	o.Auth = auth
	if s.metricsTLS {
		o.TLS = certificates.MetricsTLS()
	}
	var listen net.ListenConfig
	o.Listener, err = listen.Listen(ctx, "tcp", s.metrics)
	return o, err
}

// doorOf makes a server.Door of access.Access.
type doorOf struct{ *access.Access }

// Open implements server.Door.
func (d doorOf) Open(ctx context.Context, user *orbit.User, kinds, namespaces []string) (server.View, error) {
	view, err := d.Access.Open(ctx, user, kinds, namespaces)
	if err != nil {
		return nil, err
	}
	return view, nil
}
