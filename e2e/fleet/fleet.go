package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/server/authority"
)

// fleet is the agents of a plan, and the API server that knows them.
type fleet struct {
	*plan
	faults    faults
	api       *api
	apiURL    string
	agents    []*agent
	authority *authority.Authority
	bundle    *orbit.Bundle
	key       *ecdsa.PrivateKey // of all agents
	late      histogram
	running   sync.WaitGroup
}

// faults are the shares of the agents that are not as they should be, and what else changes.
type faults struct {
	unreachable, slow, lying, restarting float64
	// churn is the number of pods that end and begin in a second.
	churn int
}

// of returns what is wrong with the agent of a node: faulty ones are spread evenly.
func (f *faults) of(node, agents int) fault {
	// Each kind takes the nodes at which its count grows, at a distance from the others.
	hit := func(share float64, offset int) (n int, ok bool) {
		node := (node + offset*7) % agents
		n = int(float64(node+1) * share)
		return n, n > int(float64(node)*share)
	}
	if n, ok := hit(f.unreachable, 0); ok {
		return [...]fault{refuses, silent, mute}[n%3]
	}
	if _, ok := hit(f.slow, 1); ok {
		return slow
	}
	if n, ok := hit(f.lying, 2); ok {
		return [...]fault{future, otherNode, oversized, newer}[n%4]
	}
	if _, ok := hit(f.restarting, 3); ok {
		return restarts
	}
	return none
}

// startFleet plays the API server and the agents until ctx ends. The caller waits then.
func startFleet(ctx context.Context, p *plan, what faults) (*fleet, error) {
	f := &fleet{plan: p, faults: what, api: newAPI(func(namespace string) bool {
		for i := range namespaces {
			if namespaceName(i) == namespace {
				return !isHidden(i)
			}
		}
		return false
	})}
	if err := p.objects(f.api); err != nil {
		return nil, err
	}
	if err := f.serveAPI(ctx); err != nil {
		return nil, err
	}
	if err := f.openAuthority(ctx); err != nil {
		return nil, err
	}
	p.start = time.Now().Truncate(tick)
	for node := range p.agents {
		a, err := newAgent(p, node, what.of(node, p.agents), &f.late)
		if err != nil {
			return nil, err
		}
		a.now.Store(origin)
		f.agents = append(f.agents, a)
		if err := f.serveAgent(ctx, a); err != nil {
			return nil, fmt.Errorf("agent of %s: %w", nodeName(node), err)
		}
	}
	f.running.Go(func() { f.advance(ctx) })
	f.running.Go(func() { f.churnPods(ctx) })
	return f, nil
}

// serveAPI serves the API server's objects on a loopback port.
func (f *fleet) serveAPI(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	f.apiURL = "http://" + listener.Addr().String()
	server := &http.Server{Handler: f.api, ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	f.running.Go(func() { _ = server.Serve(listener) }) // it ends with Close
	f.running.Go(func() {
		<-ctx.Done()
		_ = server.Close()
	})
	return nil
}

// openAuthority makes the certificate authority as the first server of an installation does.
func (f *fleet) openAuthority(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(&rest.Config{Host: f.apiURL})
	if err != nil {
		return err
	}
	f.authority, err = authority.Open(ctx, client, authority.Options{Namespace: install,
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	published, err := client.CoreV1().ConfigMaps(install).Get(ctx, orbit.AuthorityName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if f.bundle, err = orbit.ParseBundle([]byte(published.Data[orbit.AuthorityKey])); err != nil {
		return err
	}
	f.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return err
}

// credentials are those of a peer, with a new certificate.
func (f *fleet) credentials(peer orbit.Peer) (orbit.Credentials, error) {
	chain, err := f.authority.Sign(peer, f.key.Public(), time.Hour)
	if err != nil {
		return orbit.Credentials{}, err
	}
	cert := &tls.Certificate{Certificate: [][]byte{chain[0].Raw}, PrivateKey: f.key, Leaf: chain[0]}
	return orbit.Credentials{
		Certificate: func() (*tls.Certificate, error) { return cert, nil },
		Bundle:      func() (*orbit.Bundle, error) { return f.bundle, nil },
	}, nil
}

// serveAgent lets an agent listen until ctx ends.
func (f *fleet) serveAgent(ctx context.Context, a *agent) error {
	if a.fault == refuses {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", agentListen(a.node))
	if err != nil {
		return err
	}
	if a.fault == silent {
		f.running.Go(func() { hold(ctx, listener) })
		return nil
	}
	own, err := f.credentials(orbit.Peer{Role: orbit.RoleAgent, Node: nodeName(a.node)})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	tlsConfig := orbit.ServerTLS(own, false, orbit.Accept(orbit.RoleServer))
	f.running.Go(func() {
		for ctx.Err() == nil {
			f.serveOnce(ctx, a, tlsConfig, listener)
			if ctx.Err() != nil {
				return
			}
			a.instance.Add(1)
			if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", agentListen(a.node)); err != nil {
				slog.Error("an agent does not begin anew", "node", nodeName(a.node), "err", err)
				return
			}
		}
	})
	return nil
}

// restartAfter is how long one that restarts runs, with some variation.
const restartAfter = 10 * time.Second

// serveOnce lets an agent serve until ctx ends, or it restarts.
func (f *fleet) serveOnce(ctx context.Context, a *agent, config *tls.Config, listener net.Listener) {
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.ForceServerCodecV2(orbit.NewCodec()),
		grpc.MaxSendMsgSize(2*orbit.MaxMessageBytes), grpc.ReadBufferSize(2<<10), grpc.WriteBufferSize(4<<10))
	orbit.RegisterAgentServer(g, a)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.fault == restarts {
		life := restartAfter + time.Duration(a.node%50)*100*time.Millisecond
		defer time.AfterFunc(life, cancel).Stop()
	}
	defer context.AfterFunc(ctx, g.Stop)()
	_ = g.Serve(listener) // it ends with Stop
}

// hold accepts connections and sends nothing on them.
func hold(ctx context.Context, listener net.Listener) {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }() // nothing was written
			_, _ = io.Copy(io.Discard, conn)
		}()
		context.AfterFunc(ctx, func() { _ = conn.Close() })
	}
}

// advance lets the agents send, tick by tick.
func (f *fleet) advance(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for at := origin; ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		// Ticks that this goroutine was too late for are caught up one by one: each may wake other streams.
		for now := f.tickAt(time.Now()); at < now; {
			at++
			for _, a := range f.agents {
				a.advance(at)
			}
		}
	}
}

// churnPods ends pods and begins others with their addresses.
func (f *fleet) churnPods(ctx context.Context) {
	if f.faults.churn == 0 {
		return
	}
	ticker := time.NewTicker(time.Second / time.Duration(f.faults.churn))
	defer ticker.Stop()
	var last *corev1.Pod
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if last != nil {
			f.api.remove(podsOf, last.Namespace, last.Name)
		}
		// A pod of no flow, beyond those of the plan.
		next := podObject(pod{n % f.plan.agents, f.pods})
		next.Name += fmt.Sprint("-", n)
		next.UID = types.UID(next.Name)
		if err := f.api.put(podsOf, next); err != nil {
			slog.Error("begin a pod", "err", err)
			return
		}
		last = next
	}
}
