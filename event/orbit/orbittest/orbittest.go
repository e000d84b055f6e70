// Package orbittest issues certificates for tests.
package orbittest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// Authority issues certificates.
type Authority struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// NewKey makes a key.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// New makes an authority that is valid for a year.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{Key: NewKey(t)}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.Cert = sign(t, template, template, a.Key.Public(), a.Key)
	return a
}

// Bundle is the bundle of this authority.
func (a *Authority) Bundle() *orbit.Bundle { return orbit.NewBundle(a.Cert) }

// Sign signs a template for a key.
func (a *Authority) Sign(t testing.TB, template *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	return sign(t, template, a.Cert, key, a.Key)
}

// Issue issues the certificate of a peer, with a key.
func (a *Authority) Issue(t testing.TB, peer orbit.Peer, life time.Duration) *tls.Certificate {
	t.Helper()
	template, err := peer.Template(time.Now(), life)
	if err != nil {
		t.Fatal(err)
	}
	key := NewKey(t)
	leaf := a.Sign(t, template, key.Public())
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// Credentials are those of a peer with one certificate; nil: none.
func (a *Authority) Credentials(cert *tls.Certificate) orbit.Credentials {
	c := orbit.Credentials{Bundle: func() (*orbit.Bundle, error) { return a.Bundle(), nil }}
	if cert != nil {
		c.Certificate = func() (*tls.Certificate, error) { return cert, nil }
	}
	return c
}

// Request makes a PKCS #10 request, DER.
func Request(t testing.TB, template *x509.CertificateRequest, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func sign(
	t testing.TB, template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer,
) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
