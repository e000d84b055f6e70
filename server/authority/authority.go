// Package authority is the certificate authority of an installation. All replicas of the server share it: its keys are
// in a Secret, its certificates in a ConfigMap that agents and viewers read.
package authority

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/refusals"
	"github.com/orb8-dev/kubectl-orb8/server/tokens"
)

// Options are an Authority's. Zero durations are the defaults.
type Options struct {
	// Namespace is that of the installation.
	Namespace string
	// Secret is a Secret in the namespace that holds an authority, as cert-manager makes it for a Certificate with
	// isCA: true (tls.crt, tls.key). Whenever it changes, the new authority replaces the old one. Empty: the server
	// makes and rotates the authorities itself.
	Secret string
	// Life is an authority's. At two thirds of it, another one begins to replace it.
	Life time.Duration
	// LeafLife is that of the certificates of servers and agents, and the longest of users'. It is AgentLife at most.
	LeafLife time.Duration
	// Overlap is how long a new authority is in the bundle before it signs. A kubelet takes two minutes to project a
	// changed ConfigMap.
	Overlap time.Duration
	// Interval is how often the Secret is read.
	Interval time.Duration
	Log      *slog.Logger
}

const (
	defaultLife     = 365 * 24 * time.Hour
	defaultOverlap  = 15 * time.Minute
	defaultInterval = 15 * time.Second
	// timeout bounds one reading of the objects.
	timeout = 30 * time.Second
)

// Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	o       Options
	client  kubernetes.Interface
	tokens  *tokens.Reviewer
	refused *refusals.Log

	mu sync.Mutex
	// issuers are the accepted ones that are published: no one can verify what another one signs.
	issuers issuers
	bundle  *orbit.Bundle
	leaf    *tls.Certificate
}

// Open reads the authority, or makes it where there is none, and issues the server's own certificate.
func Open(ctx context.Context, client kubernetes.Interface, o Options) (*Authority, error) {
	o.Life, o.Overlap = cmp.Or(o.Life, defaultLife), cmp.Or(o.Overlap, defaultOverlap)
	o.Interval = cmp.Or(o.Interval, defaultInterval)
	// An authority is kept until the last leaf has ended, by AgentLife.
	o.LeafLife = min(cmp.Or(o.LeafLife, orbit.AgentLife), orbit.AgentLife)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Authority{o: o, client: client, tokens: tokens.New(client), refused: refusals.New(o.Log)}
	if err := a.refresh(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Run keeps the authority, the bundle and the server's own certificate fresh until ctx is done.
func (a *Authority) Run(ctx context.Context) error {
	ticker := time.NewTicker(a.o.Interval)
	defer ticker.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := a.refresh(ctx)
		text := ""
		if err != nil && ctx.Err() == nil {
			text = err.Error()
			if text != last {
				a.o.Log.Error("the certificate authority is not up to date", "error", err)
			}
		}
		last = text
	}
}

// refresh reads the objects, changes what is due, and renews the server's own certificate. Without the API server, the
// certificate is renewed by what was read before.
func (a *Authority) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	read, err := a.sync(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.issuers, a.bundle = read, read.bundle()
	}
	return errors.Join(err, a.renewLeaf(time.Now()))
}

// renewLeaf issues the server's own certificate where there is none, two thirds of its life are over, or its issuer is
// no longer accepted. The lock is held.
func (a *Authority) renewLeaf(now time.Time) error {
	if a.leaf != nil && now.Before(orbit.Renewal(a.leaf.Leaf)) {
		chain := []*x509.Certificate{a.leaf.Leaf}
		if _, err := a.bundle.Verify(chain, x509.ExtKeyUsageServerAuth); err == nil {
			return nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the server's key: %w", err)
	}
	const name = "orb8-server"
	names := []string{name, name + "." + a.o.Namespace, name + "." + a.o.Namespace + ".svc"}
	cert, err := a.sign(now, orbit.Peer{Role: orbit.RoleServer}, key.Public(), a.o.LeafLife, names...)
	if err != nil {
		return fmt.Errorf("issue the server's certificate: %w", err)
	}
	a.leaf = &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	return nil
}

// Sign issues a certificate for a peer's key, of LeafLife at most. It returns the chain, the leaf first.
func (a *Authority) Sign(peer orbit.Peer, key crypto.PublicKey, life time.Duration) ([]*x509.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	cert, err := a.sign(time.Now(), peer, key, min(life, a.o.LeafLife))
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{cert}, nil
}

// sign issues a certificate, which does not outlive its issuer. The lock is held.
func (a *Authority) sign(
	now time.Time, peer orbit.Peer, key crypto.PublicKey, life time.Duration, names ...string,
) (*x509.Certificate, error) {
	by := a.issuers.signer(now)
	if by == nil {
		return nil, errors.New("no valid certificate authority")
	}
	template, err := peer.Template(now, life)
	if err != nil {
		return nil, err
	}
	template.DNSNames = append(template.DNSNames, names...)
	if template.NotAfter.After(by.cert.NotAfter) {
		template.NotAfter = by.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key, by.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// credentials are the server's own, as they are at each handshake.
func (a *Authority) credentials() orbit.Credentials {
	return orbit.Credentials{
		Certificate: func() (*tls.Certificate, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.leaf, nil
		},
		Bundle: func() (*orbit.Bundle, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.bundle, nil
		},
	}
}

// ServerTLS is for the server's own port: clients are viewers, or have no certificate.
func (a *Authority) ServerTLS() *tls.Config {
	return orbit.ServerTLS(a.credentials(), true, orbit.Accept(orbit.RoleViewer))
}

// MetricsTLS is for the port of the server's metrics, whose clients have no certificate.
func (a *Authority) MetricsTLS() *tls.Config {
	own := a.credentials()
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.Certificate() }}
}

// AgentTLS is for connections to the agent of a node.
func (a *Authority) AgentTLS(node string) *tls.Config {
	return orbit.ClientTLS(a.credentials(), orbit.AcceptAgent(node))
}

// Refusals is the number of requests of agents that were refused so far.
func (a *Authority) Refusals() uint64 { return a.refused.Count() }

// Expiry is when the server's own certificate ends, and when the newest authority does.
func (a *Authority) Expiry() (own, authority time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	newest := slices.MaxFunc(a.issuers, func(x, y issuer) int { return x.cert.NotAfter.Compare(y.cert.NotAfter) })
	return a.leaf.Leaf.NotAfter, newest.cert.NotAfter
}
