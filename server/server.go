package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/kubernetes"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/health"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/clientset"
	"github.com/orb8-dev/kubectl-orb8/server/metrics"
)

// Authority issues certificates; authority.Authority is one.
type Authority interface {
	// AgentTLS is for the connection to the agent of a node.
	AgentTLS(node string) *tls.Config
	// Certify issues the certificate of an agent.
	Certify(ctx context.Context, r *orbit.CertifyRequest) (*orbit.CertifyAnswer, error)
	// Expiry returns the ends of the server's certificate and of the authority.
	Expiry() (own, authority time.Time)
}

// Options configure a server.
type Options struct {
	Client kubernetes.Interface
	// Namespace is where orb8 is installed, Agents the name of the agents' Service.
	Namespace, Agents string
	Version           string
	// Listener serves gRPC with Credentials; Health serves HTTP. Both are closed when Run returns.
	Listener, Health net.Listener
	Credentials      credentials.TransportCredentials
	Authority        Authority
	Door             Door
	// Past has what agents hold no more; nil: nothing does.
	Past Past
	// Memory limits what requests hold together, bytes; 0: half of the Go heap's limit, GOMEMLIMIT.
	Memory int
	// Metrics count what the server does; nil: nothing does. Scrape is the port for Prometheus, which serves them.
	Metrics *metrics.Metrics
	Scrape  ScrapeOptions
	Log     *slog.Logger
}

const (
	// maxStreams limits the requests on one connection.
	maxStreams = 64
	// maxRequestBytes limits a request.
	maxRequestBytes = 256 << 10
)

// Run serves until ctx ends, and returns nil then.
func Run(ctx context.Context, o Options) error {
	// They are closed by who serves on them, or here; either way the second error says nothing.
	defer func() {
		_, _ = o.Listener.Close(), o.Health.Close()
		if o.Scrape.Listener != nil {
			_ = o.Scrape.Listener.Close()
		}
	}()
	pods, err := cluster.Open(ctx, clientset.Of(o.Client), cluster.Query{AllNamespaces: true},
		cluster.Options{Note: func(note string) { o.Log.Warn(note) }})
	if err != nil {
		return err
	}
	defer pods.Close()
	toAgent := func(node string) credentials.TransportCredentials {
		return credentials.NewTLS(o.Authority.AgentTLS(node))
	}
	s := &Service{door: o.Door, past: o.Past, agents: newAgents(toAgent, o.Log), cluster: pods, version: o.Version,
		log: o.Log, expiry: o.Authority.Expiry, memory: newMemory(o.Memory), turns: newTurns(),
		agentTimeout: agentTimeout, metrics: o.Metrics}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	s.running = serving
	// Requests end before the connections to the agents do.
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()
	var ready atomic.Bool
	var work, watching sync.WaitGroup
	failed := make(chan error, 3)
	watching.Go(func() {
		s.agents.watch(connected, o.Client, o.Namespace, o.Agents, func() { ready.Store(true) })
	})
	work.Go(func() { failed <- s.serve(serving, &o) })
	if o.Scrape.Listener != nil {
		work.Go(func() { failed <- s.serveMetrics(serving, &o) })
	}
	work.Go(func() {
		failed <- health.Serve(serving, o.Health, func() string {
			if ready.Load() {
				return ""
			}
			return "the agents are not known yet"
		})
	})
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	work.Wait()
	disconnect()
	watching.Wait()
	return err
}

// serve serves gRPC until ctx ends.
func (s *Service) serve(ctx context.Context, o *Options) error {
	g := grpc.NewServer(
		grpc.Creds(o.Credentials),
		grpc.ForceServerCodecV2(orbit.NewCodec()),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(orbit.MaxMessageBytes),
		grpc.MaxHeaderListSize(32<<10), // tokens
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(func(
			ctx context.Context, r any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
		) (answer any, err error) {
			end := s.metrics.Begin(info.FullMethod)
			defer func() { end(err) }()
			if err := s.authenticate(ctx, info.FullMethod); err != nil {
				return nil, err
			}
			return handle(ctx, r)
		}),
		grpc.StreamInterceptor(func(
			srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler,
		) (err error) {
			end := s.metrics.Begin(info.FullMethod)
			defer func() { end(err) }()
			if err := s.authenticate(stream.Context(), info.FullMethod); err != nil {
				return err
			}
			return handle(srv, stream)
		}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			// Strangers do not learn which services there are.
			if _, err := s.door.Identify(stream.Context()); err != nil {
				return err
			}
			return status.Error(codes.Unimplemented, "no such method")
		}),
	)
	orbit.RegisterOrbitServiceServer(g, s)
	orbit.RegisterCertificatesServer(g, &certificates{authority: o.Authority})
	healthv1.RegisterHealthServer(g, grpchealth.NewServer())
	reflection.Register(g)
	return orbit.Serve(ctx, g, o.Listener)
}

// authenticate refuses strangers at the services that do not identify their callers themselves.
func (s *Service) authenticate(ctx context.Context, method string) error {
	for _, service := range []string{orbit.OrbitService_ServiceDesc.ServiceName,
		orbit.Certificates_ServiceDesc.ServiceName} {
		if strings.HasPrefix(method, "/"+service+"/") {
			return nil
		}
	}
	_, err := s.door.Identify(ctx)
	return err
}

// certificates is the gRPC service for agents.
type certificates struct {
	orbit.UnimplementedCertificatesServer
	authority Authority
}

// Certify implements orbit.CertificatesServer.
func (c *certificates) Certify(ctx context.Context, r *orbit.CertifyRequest) (*orbit.CertifyAnswer, error) {
	return c.authority.Certify(ctx, r)
}
