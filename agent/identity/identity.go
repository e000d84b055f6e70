// Package identity is the certificate of an agent. A server issues it against the token of the agent's pod. The key is
// in memory only, and each certificate has another one.
package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/delay"
)

// Options are an Identity's.
type Options struct {
	// Node is the agent's own.
	Node string
	// Server is the address of the servers.
	Server string
	// TokenFile has the token of the pod, AuthorityFile the bundle of the authorities that are accepted. The kubelet
	// changes both.
	TokenFile, AuthorityFile string
	Log                      *slog.Logger
	// Dial connects to the server; nil: by TCP. For tests.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

const (
	minBackoff = time.Second
	maxBackoff = time.Minute
	// urgentBackoff is the longest without a valid certificate: nothing works without it.
	urgentBackoff = 10 * time.Second
	// interval is how often the file of the authorities is read.
	interval = 10 * time.Second
	// timeout bounds one call to a server.
	timeout      = 15 * time.Second
	maxFileBytes = 64 << 10
)

// Identity is the agent's certificate. It is safe for concurrent use.
type Identity struct {
	o     Options
	ready chan struct{}

	mu     sync.Mutex
	text   []byte // of the bundle's file
	bundle *orbit.Bundle
	leaf   *tls.Certificate
}

// Open returns an Identity without a certificate. Run gets it.
func Open(o Options) (*Identity, error) {
	if err := orbit.CheckNode(o.Node); err != nil {
		return nil, err
	}
	if _, _, err := net.SplitHostPort(o.Server); err != nil {
		return nil, fmt.Errorf("server %q: want HOST:PORT: %w", o.Server, err)
	}
	if o.TokenFile == "" || o.AuthorityFile == "" {
		return nil, errors.New("want the files of the token and of the authorities")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Identity{o: o, ready: make(chan struct{})}, nil
}

// Ready is closed when there is a certificate.
func (i *Identity) Ready() <-chan struct{} { return i.ready }

// Expiry is when the certificate ends; zero: there is none.
func (i *Identity) Expiry() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.leaf == nil {
		return time.Time{}
	}
	return i.leaf.Leaf.NotAfter
}

// ServerTLS is for the agent's port, which accepts servers only.
func (i *Identity) ServerTLS() *tls.Config {
	return orbit.ServerTLS(orbit.Credentials{Certificate: i.certificate, Bundle: i.authorities}, false,
		orbit.Accept(orbit.RoleServer))
}

// MetricsTLS is for the port of the agent's metrics, whose clients have no certificate.
func (i *Identity) MetricsTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return i.certificate() }}
}

func (i *Identity) certificate() (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.leaf == nil {
		return nil, errors.New("the agent has no certificate yet")
	}
	return i.leaf, nil
}

func (i *Identity) authorities() (*orbit.Bundle, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.bundle == nil {
		return nil, fmt.Errorf("the agent has not read %s yet", i.o.AuthorityFile)
	}
	return i.bundle, nil
}

// Run keeps the certificate fresh until ctx is done: it is renewed when two thirds of its life are over, and at once
// where its authority is no longer accepted.
func (i *Identity) Run(ctx context.Context) {
	backoff, next, last := minBackoff, time.Time{}, ""
	for {
		err := i.readAuthorities()
		if now := time.Now(); err == nil && i.due(now) && !now.Before(next) {
			if err = i.renew(ctx); err == nil {
				backoff, next = minBackoff, time.Time{}
			} else {
				next = now.Add(jitter(backoff))
				backoff = min(2*backoff, maxBackoff)
				if now.Add(urgentBackoff).After(i.Expiry()) {
					backoff = min(backoff, urgentBackoff)
				}
			}
		}
		if ctx.Err() != nil {
			return
		}
		text := ""
		if err != nil {
			if text = err.Error(); text != last {
				i.o.Log.Warn("the agent's certificate is not renewed", "error", err)
			}
		}
		last = text
		if delay.Wait(ctx, i.pause(next)) != nil {
			return
		}
	}
}

// pause is the time until the next round: the file of the authorities is read at least each interval.
func (i *Identity) pause(next time.Time) time.Duration {
	if until := time.Until(next); until > 0 {
		return min(until, interval)
	}
	if i.Expiry().IsZero() {
		return minBackoff // nothing works without it
	}
	return jitter(interval)
}

// jitter spreads the agents of a cluster: 0.8 to 1.2 times d.
func jitter(d time.Duration) time.Duration {
	return d*8/10 + mathrand.N(d*4/10+1)
}

// readAuthorities reads the bundle where its file has changed. A file that cannot be read does not replace what was
// read before.
func (i *Identity) readAuthorities() error {
	text, err := readFile(i.o.AuthorityFile)
	if err != nil {
		return fmt.Errorf("read the authorities: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.bundle != nil && bytes.Equal(text, i.text) {
		return nil
	}
	bundle, err := orbit.ParseBundle(text)
	if err != nil {
		return fmt.Errorf("%s: %w", i.o.AuthorityFile, err)
	}
	i.bundle, i.text = bundle, text
	return nil
}

// readFile reads a file within a bound.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(text) > maxFileBytes {
		err = fmt.Errorf("%s: more than %d bytes", path, maxFileBytes)
	}
	return text, err
}

// due reports whether a certificate is needed now.
func (i *Identity) due(now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.leaf == nil {
		return true
	}
	if !now.Before(orbit.Renewal(i.leaf.Leaf)) {
		return true
	}
	_, err := i.bundle.Verify(chainOf(i.leaf), x509.ExtKeyUsageServerAuth)
	return err != nil
}

func chainOf(c *tls.Certificate) []*x509.Certificate { return []*x509.Certificate{c.Leaf} }

// renew gets a certificate for a new key from a server.
func (i *Identity) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	token, err := readFile(i.o.TokenFile)
	if err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the agent's key: %w", err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return fmt.Errorf("make the certificate request: %w", err)
	}
	conn, err := i.connect()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it has no error that matters after the answer
	answer, err := orbit.NewCertificatesClient(conn).Certify(ctx, &orbit.CertifyRequest{
		Protocol: orbit.Protocol, Token: string(bytes.TrimSpace(token)), Request: request,
	})
	if err != nil {
		return fmt.Errorf("certify at %s: %w", i.o.Server, err)
	}
	leaf, err := i.check(answer.GetChain(), key)
	if err != nil {
		return fmt.Errorf("certificate from %s: %w", i.o.Server, err)
	}
	i.mu.Lock()
	first := i.leaf == nil
	i.leaf = leaf
	i.mu.Unlock()
	if first {
		close(i.ready)
	}
	i.o.Log.Info("the agent has a certificate", "node", i.o.Node, "expires", leaf.Leaf.NotAfter)
	return nil
}

func (i *Identity) connect() (*grpc.ClientConn, error) {
	creds := credentials.NewTLS(orbit.ClientTLS(orbit.Credentials{Bundle: i.authorities},
		orbit.Accept(orbit.RoleServer)))
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxFileBytes)),
	}
	target := i.o.Server
	if i.o.Dial != nil {
		target = "passthrough:///" + target
		options = append(options, grpc.WithContextDialer(i.o.Dial))
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", i.o.Server, err)
	}
	return conn, nil
}

// check returns the certificate of a chain that must be of this node and of this key.
func (i *Identity) check(chain [][]byte, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	var certs []*x509.Certificate
	for _, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	bundle, err := i.authorities()
	if err != nil {
		return nil, err
	}
	peer, err := bundle.Verify(certs, x509.ExtKeyUsageServerAuth)
	switch {
	case err != nil:
		return nil, err
	case !key.PublicKey.Equal(certs[0].PublicKey):
		return nil, errors.New("it is of another key")
	}
	if err := orbit.AcceptAgent(i.o.Node)(peer); err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: certs[0]}, nil
}
