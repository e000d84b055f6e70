package orbit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Backdate is how long before it is issued a certificate begins: the clocks of two nodes may differ.
const Backdate = 10 * time.Minute

// Renewal is when a certificate is to be renewed: two thirds of its life are over.
func Renewal(c *x509.Certificate) time.Time {
	begin := c.NotBefore.Add(Backdate)
	return begin.Add(c.NotAfter.Sub(begin) * 2 / 3)
}

// AgentDNS is a DNS name in the certificates of all agents. Prometheus knows servers by DNS names only.
const AgentDNS = "orb8-agent"

// Template is what an authority signs for a peer: all but names of servers in DNS.
func (p Peer) Template(now time.Time, life time.Duration) (*x509.Certificate, error) {
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "orb8 " + p.Role.String()},
		NotBefore: now.Add(-Backdate), NotAfter: now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{p.URI()},
	}
	switch p.Role {
	case RoleServer:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	case RoleAgent:
		if err := CheckNode(p.Node); err != nil {
			return nil, err
		}
		t.ExtKeyUsage, t.DNSNames = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []string{AgentDNS}
	case RoleViewer:
		user, err := p.User.Extension()
		if err != nil {
			return nil, err
		}
		t.ExtKeyUsage, t.ExtraExtensions = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, []pkix.Extension{user}
	default:
		return nil, errors.New("no certificate for an unknown role")
	}
	return t, nil
}

// MaxRequestBytes caps a certificate request, DER. One with an ECDSA key takes 250 bytes.
const MaxRequestBytes = 4 << 10

// ParseRequest returns the key of a PKCS #10 request that its holder has signed: ECDSA P-256 or Ed25519. A request that
// asks for names is refused, since the issuer decides on all names.
func ParseRequest(der []byte) (crypto.PublicKey, error) {
	if len(der) > MaxRequestBytes {
		return nil, fmt.Errorf("certificate request: %d bytes, at most %d are accepted", len(der), MaxRequestBytes)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if len(r.DNSNames)+len(r.IPAddresses)+len(r.EmailAddresses)+len(r.URIs) > 0 {
		return nil, errors.New("certificate request: want no subject alternative names")
	}
	switch key := r.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return nil, errors.New("certificate request: want a key of ECDSA P-256 or Ed25519")
		}
	case ed25519.PublicKey:
	default:
		return nil, errors.New("certificate request: want a key of ECDSA P-256 or Ed25519")
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return r.PublicKey, nil
}
