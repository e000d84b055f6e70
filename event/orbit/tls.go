package orbit

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc/credentials"
)

const (
	// AuthorityKey is the key of the bundle in the ConfigMap that AuthorityName names.
	AuthorityKey = "ca.crt"
	// AuthorityName names the Secret with the authorities' keys and the ConfigMap with their certificates.
	AuthorityName = "orb8-authority"
)

// Bounds of bundles and chains.
const (
	maxBundleBytes = 64 << 10
	maxBundleCerts = 16
	maxChain       = 4
)

// Bundle is the certificates of the authorities that are accepted: one, or several while one replaces another.
type Bundle struct {
	certs []*x509.Certificate
	pool  *x509.CertPool
}

// NewBundle returns a bundle of certificates.
func NewBundle(certs ...*x509.Certificate) *Bundle {
	b := &Bundle{certs: certs, pool: x509.NewCertPool()}
	for _, c := range certs {
		b.pool.AddCert(c)
	}
	return b
}

// ParseBundle reads the PEM of a bundle, which has at least one certificate, and nothing else.
func ParseBundle(text []byte) (*Bundle, error) {
	if len(text) > maxBundleBytes {
		return nil, fmt.Errorf("bundle of authorities: %d bytes, at most %d are accepted", len(text), maxBundleBytes)
	}
	var certs []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("bundle of authorities: not PEM of certificates")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return nil, fmt.Errorf("bundle of authorities: %w", err)
		case !cert.IsCA:
			return nil, fmt.Errorf("bundle of authorities: certificate of %q: not an authority", cert.Subject)
		case len(certs) == maxBundleCerts:
			return nil, fmt.Errorf("bundle of authorities: more than %d certificates", maxBundleCerts)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("bundle of authorities: no certificate")
	}
	return NewBundle(certs...), nil
}

// PEM is the bundle as ParseBundle reads it.
func (b *Bundle) PEM() []byte {
	var text []byte
	for _, c := range b.certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// Certificates returns the certificates of the bundle.
func (b *Bundle) Certificates() []*x509.Certificate { return b.certs }

// Verify returns who holds a chain of certificates, the leaf first. An authority of the bundle must have issued it, it
// must be valid now, and it must be for usage.
func (b *Bundle) Verify(chain []*x509.Certificate, usage x509.ExtKeyUsage) (Peer, error) {
	if len(chain) == 0 || len(chain) > maxChain {
		return Peer{}, fmt.Errorf("chain of %d certificates: want 1 to %d", len(chain), maxChain)
	}
	leaf := chain[0]
	// Verify accepts a certificate without usages for any.
	if !slices.Contains(leaf.ExtKeyUsage, usage) {
		return Peer{}, errors.New("certificate is not for this use")
	}
	o := x509.VerifyOptions{Roots: b.pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(o); err != nil {
		return Peer{}, err
	}
	return PeerOf(leaf)
}

// Credentials are the certificate of one end and the authorities that it accepts. Each handshake calls the functions,
// so that a new connection uses what was renewed.
type Credentials struct {
	// Certificate returns the end's own certificate; nil, of clients only: it has none.
	Certificate func() (*tls.Certificate, error)
	Bundle      func() (*Bundle, error)
}

func (c *Credentials) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage, accept func(Peer) error) error {
	bundle, err := c.Bundle()
	if err != nil {
		return err
	}
	peer, err := bundle.Verify(chain, usage)
	if err != nil {
		return err
	}
	return accept(peer)
}

// Accept accepts the peers of a role.
func Accept(role Role) func(Peer) error {
	return func(p Peer) error {
		if p.Role != role {
			return fmt.Errorf("certificate of %s: want one of %s", p.URI(), Peer{Role: role}.URI())
		}
		return nil
	}
}

// AcceptAgent accepts the agent of a node.
func AcceptAgent(node string) func(Peer) error {
	return func(p Peer) error {
		if p.Role != RoleAgent || p.Node != node {
			return fmt.Errorf("certificate of %s: want that of %s", p.URI(), Peer{Role: RoleAgent, Node: node}.URI())
		}
		return nil
	}
}

// ServerTLS is the configuration of a server that accepts the clients that accept accepts. Where anonymous is true, it
// also accepts clients without a certificate. Sessions are not resumed, since a resumed one is not verified again.
func ServerTLS(c Credentials, anonymous bool, accept func(Peer) error) *tls.Config {
	ask := tls.RequireAnyClientCert
	if anonymous {
		ask = tls.RequestClientCert
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true,
		ClientAuth:             ask,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.Certificate() },
		VerifyConnection: func(s tls.ConnectionState) error {
			if anonymous && len(s.PeerCertificates) == 0 {
				return nil
			}
			return c.verify(s.PeerCertificates, x509.ExtKeyUsageClientAuth, accept)
		},
	}
}

// ClientTLS is the configuration of a client that accepts the servers that accept accepts.
func ClientTLS(c Credentials, accept func(Peer) error) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		ServerName: "orb8",
		// verify, below, verifies the chain and the role. Servers are reached through port-forwards and by the
		// addresses of pods: no host name identifies them.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			return c.verify(s.PeerCertificates, x509.ExtKeyUsageServerAuth, accept)
		},
	}
	if c.Certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.Certificate()
		}
	}
	return config
}

// ServerCredentials are the transport credentials of a gRPC server. refused is called for each connection whose
// handshake fails, as that of a client without TLS does.
func ServerCredentials(config *tls.Config, refused func(client net.Addr, err error)) credentials.TransportCredentials {
	return &reporting{credentials.NewTLS(config), refused}
}

type reporting struct {
	credentials.TransportCredentials
	refused func(net.Addr, error)
}

func (r *reporting) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := r.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		r.refused(conn.RemoteAddr(), err)
		linger(conn)
	}
	return c, info, err
}

const (
	// lingerTime and lingerBytes limit what is read of a client that was refused.
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 64 << 10
)

// linger ends the writing side of a connection and reads what the client has sent meanwhile. Closing it with that
// unread would reset it, and the client would not learn from the alert why it was refused.
func linger(conn net.Conn) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, conn, lingerBytes) // the connection has ended either way
}

func (r *reporting) Clone() credentials.TransportCredentials {
	return &reporting{r.TransportCredentials.Clone(), r.refused}
}

// ClientHandshake is not for servers.
func (r *reporting) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials of a server")
}
