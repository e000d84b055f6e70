package session

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// PublicKey is an Ed25519 public key (RFC 8032): all that one end needs to know the other by.
type PublicKey [ed25519.PublicKeySize]byte

// String is the key in unpadded URL-safe base64 (RFC 4648, section 5): 43 characters.
func (k PublicKey) String() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// ParsePublicKey reads what String prints.
func ParsePublicKey(s string) (PublicKey, error) {
	var k PublicKey
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != len(k) {
		return k, fmt.Errorf("public key %q: want %d bytes in unpadded URL-safe base64", s, len(k))
	}
	copy(k[:], raw)
	return k, nil
}

// Identity is one end's key pair with the self-signed certificate that TLS wants around it. It lives in memory only and
// as long as its process.
type Identity struct {
	key  PublicKey
	cert tls.Certificate
}

// NewIdentity makes a fresh key pair.
func NewIdentity() (*Identity, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make session key: %w", err)
	}
	// The peer checks the key and nothing else, so the certificate says as little as RFC 5280 lets it.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "orb8"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, fmt.Errorf("make session certificate: %w", err)
	}
	id := &Identity{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}}
	copy(id.key[:], public)
	return id, nil
}

// PublicKey is what the other end pins.
func (id *Identity) PublicKey() PublicKey { return id.key }

// ServerTLS accepts only the client that holds peer's private key. TLS 1.3, no session tickets.
func (id *Identity) ServerTLS(peer PublicKey) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{id.cert},
		ClientAuth:             tls.RequireAnyClientCert,
		VerifyConnection:       pin(peer),
		SessionTicketsDisabled: true,
		NextProtos:             []string{"h2"},
	}
}

// ClientTLS speaks only to the server that holds peer's private key.
func (id *Identity) ClientTLS(peer PublicKey) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.cert},
		// There is no authority and no name to verify against: pin compares the key itself, which is stricter.
		InsecureSkipVerify: true,
		VerifyConnection:   pin(peer),
		NextProtos:         []string{"h2"},
		ServerName:         "orb8",
	}
}

// ErrPeerKey is returned by the handshake when the other end holds another key than the pinned one.
var ErrPeerKey = errors.New("peer does not hold the pinned session key")

func pin(want PublicKey) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) != 1 {
			return ErrPeerKey
		}
		got, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
		if !ok || subtle.ConstantTimeCompare(got, want[:]) != 1 {
			return ErrPeerKey
		}
		return nil
	}
}
