package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// issuer is one certificate authority.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
	// signs is when it begins to sign. Before, it is only in the bundle, so that everyone can read it there.
	signs time.Time
}

// issuers are those of an installation, in the order in which they begin to sign. All replicas derive from the list and
// the time alone which of them signs, and which are accepted.
type issuers []issuer

const (
	// maxIssuers bounds them: further rotations wait.
	maxIssuers = 8
	// maxStateBytes bounds the list in the Secret.
	maxStateBytes = 64 << 10
)

// newIssuer makes an authority that begins to sign at a time.
func newIssuer(now, signs time.Time, life time.Duration) (issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return issuer{}, fmt.Errorf("make the authority's key: %w", err)
	}
	template := &x509.Certificate{
		// Distinct names let verifiers find the issuer of a certificate.
		Subject:   pkix.Name{CommonName: "orb8 authority " + now.UTC().Format(time.RFC3339)},
		NotBefore: now.Add(-orbit.Backdate), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return issuer{}, fmt.Errorf("make the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return issuer{cert, key, signs.UTC().Truncate(time.Second)}, err
}

// signer returns the issuer that signs, nil if none can: the newest whose time has come.
func (all issuers) signer(now time.Time) *issuer {
	for i := len(all) - 1; i >= 0; i-- {
		if !now.Before(all[i].signs) && now.Before(all[i].cert.NotAfter) {
			return &all[i]
		}
	}
	return nil
}

// accepted returns the issuers without those that have expired, and without those whose last leaf has.
func (all issuers) accepted(now time.Time) (accepted issuers) {
	for i := range all {
		replaced := i+1 < len(all) && now.After(all[i+1].signs.Add(orbit.AgentLife+orbit.Backdate))
		if now.Before(all[i].cert.NotAfter) && !replaced {
			accepted = append(accepted, all[i])
		}
	}
	return accepted
}

func (all issuers) bundle() *orbit.Bundle {
	certs := make([]*x509.Certificate, len(all))
	for i := range all {
		certs[i] = all[i].cert
	}
	return orbit.NewBundle(certs...)
}

// next returns the issuers that there should be now, and whether they differ. forced: rotate now. given is the newest
// issuer where another program makes them; nil: next makes them.
func (all issuers) next(now time.Time, o *Options, forced bool, given *issuer) (next issuers, changed bool, err error) {
	next = all.accepted(now)
	changed = len(next) != len(all)
	if len(next) > 0 {
		newest := next[len(next)-1].cert
		if given != nil {
			forced = !newest.Equal(given.cert)
		} else if !forced {
			forced = now.After(orbit.Renewal(newest))
		}
		if !forced {
			return next, changed, nil
		}
	}
	if len(next) >= maxIssuers {
		return next, changed, fmt.Errorf("rotate the authority: there are %d already", len(next))
	}
	signs := now
	if next.signer(now) != nil {
		signs = now.Add(o.Overlap)
	}
	if given != nil {
		return append(next, issuer{given.cert, given.key, signs.UTC().Truncate(time.Second)}), true, nil
	}
	made, err := newIssuer(now, signs, o.Life)
	if err != nil {
		return nil, false, err
	}
	return append(next, made), true, nil
}

// stored is the JSON of the issuers in the Secret.
type stored struct {
	Authorities []storedIssuer `json:"authorities"`
}

type storedIssuer struct {
	Certificate string    `json:"certificate"`
	Key         string    `json:"key"`
	SignsFrom   time.Time `json:"signsFrom"`
}

func (all issuers) encode() ([]byte, error) {
	var s stored
	for i := range all {
		key, err := x509.MarshalPKCS8PrivateKey(all[i].key)
		if err != nil {
			return nil, err
		}
		s.Authorities = append(s.Authorities, storedIssuer{
			Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: all[i].cert.Raw})),
			Key:         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
			SignsFrom:   all[i].signs,
		})
	}
	return json.Marshal(s)
}

func parseIssuers(text []byte) (all issuers, err error) {
	if len(text) > maxStateBytes {
		return nil, fmt.Errorf("%d bytes, at most %d are accepted", len(text), maxStateBytes)
	}
	var s stored
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	if len(s.Authorities) == 0 || len(s.Authorities) > maxIssuers {
		return nil, fmt.Errorf("%d authorities, want 1 to %d", len(s.Authorities), maxIssuers)
	}
	for i := range s.Authorities {
		one, err := parseIssuer(&s.Authorities[i])
		if err != nil {
			return nil, fmt.Errorf("authority %d: %w", i, err)
		}
		if i > 0 && one.signs.Before(all[i-1].signs) {
			return nil, fmt.Errorf("authority %d: signsFrom is before that of the one before it", i)
		}
		all = append(all, one)
	}
	return all, nil
}

func parseIssuer(s *storedIssuer) (issuer, error) {
	// The first of a chain, which is trusted even where it is not a root.
	bundle, err := orbit.ParseBundle([]byte(s.Certificate))
	if err != nil {
		return issuer{}, err
	}
	cert := bundle.Certificates()[0]
	pair, err := tls.X509KeyPair([]byte(s.Certificate), []byte(s.Key))
	if err != nil {
		return issuer{}, fmt.Errorf("key: %w", err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return issuer{}, fmt.Errorf("key: a %T does not sign", pair.PrivateKey)
	}
	return issuer{cert, signer, s.SignsFrom}, nil
}
