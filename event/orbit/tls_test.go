package orbit_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/orbit/orbittest"
)

// connect makes a TLS connection through a pipe, and returns what each end made of it.
func connect(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	s := tls.Server(a, server)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		if err != nil {
			a.Close()
		}
		done <- err
	}()
	c := tls.Client(b, client)
	// TLS 1.3: the client learns from the first byte whether the server has accepted its certificate.
	if _, clientErr = io.ReadFull(c, make([]byte, 1)); clientErr != nil {
		b.Close()
	}
	serverErr = <-done
	return s.ConnectionState(), serverErr, clientErr
}

func TestTLS_AcceptsByRoleAndAuthority(t *testing.T) {
	ca, other := orbittest.New(t), orbittest.New(t)
	server := orbit.Peer{Role: orbit.RoleServer}
	agent := orbit.Peer{Role: orbit.RoleAgent, Node: "n1"}
	viewer := orbit.Peer{Role: orbit.RoleViewer, User: alice}
	serverCert, agentCert := ca.Issue(t, server, time.Hour), ca.Issue(t, agent, time.Hour)
	viewerCert := ca.Issue(t, viewer, time.Hour)

	named := template(t, viewer)
	named.DNSNames, named.URIs, named.ExtraExtensions = []string{"orb8-server"}, nil, nil
	key := orbittest.NewKey(t)
	namedCert := &tls.Certificate{PrivateKey: key, Certificate: [][]byte{ca.Sign(t, named, key.Public()).Raw}}
	for _, test := range []struct {
		name           string
		server, client *tls.Certificate
		anonymous      bool
		acceptClient   func(orbit.Peer) error
		acceptServer   func(orbit.Peer) error
		want           string // part of either end's error; empty: they connect
	}{
		{"server and agent", agentCert, serverCert, false, orbit.Accept(orbit.RoleServer), orbit.AcceptAgent("n1"), ""},
		{"another node", agentCert, serverCert, false, orbit.Accept(orbit.RoleServer), orbit.AcceptAgent("n2"),
			"want that of orb8://agent/n2"},
		{"a server in place of an agent", serverCert, serverCert, false, orbit.Accept(orbit.RoleServer),
			orbit.AcceptAgent("n1"), "want that of orb8://agent/n1"},
		{"a viewer at an agent", agentCert, viewerCert, false, orbit.Accept(orbit.RoleServer),
			orbit.AcceptAgent("n1"), "want one of orb8://server"},
		{"an agent at an agent", agentCert, agentCert, false, orbit.Accept(orbit.RoleServer),
			orbit.AcceptAgent("n1"), "not for this use"},
		{"nobody at an agent", agentCert, nil, false, orbit.Accept(orbit.RoleServer), orbit.AcceptAgent("n1"),
			"didn't provide a certificate"},
		{"another authority's client", agentCert, other.Issue(t, server, time.Hour), false,
			orbit.Accept(orbit.RoleServer), orbit.AcceptAgent("n1"), "unknown authority"},
		{"another authority's server", other.Issue(t, server, time.Hour), viewerCert, true,
			orbit.Accept(orbit.RoleViewer), orbit.Accept(orbit.RoleServer), "unknown authority"},
		{"an expired client", agentCert, ca.Issue(t, server, -time.Second), false, orbit.Accept(orbit.RoleServer),
			orbit.AcceptAgent("n1"), "expired"},
		{"a name in DNS is none", agentCert, namedCert, false, orbit.Accept(orbit.RoleServer), orbit.AcceptAgent("n1"),
			"0 URIs"},
		{"a viewer at a server", serverCert, viewerCert, true, orbit.Accept(orbit.RoleViewer),
			orbit.Accept(orbit.RoleServer), ""},
		{"a viewer in place of a server", viewerCert, viewerCert, true, orbit.Accept(orbit.RoleViewer),
			orbit.Accept(orbit.RoleServer), "not for this use"},
		{"nobody at a server", serverCert, nil, true, orbit.Accept(orbit.RoleViewer),
			orbit.Accept(orbit.RoleServer), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			state, serverErr, clientErr := connect(t,
				orbit.ServerTLS(ca.Credentials(test.server), test.anonymous, test.acceptClient),
				orbit.ClientTLS(ca.Credentials(test.client), test.acceptServer))
			err := errors.Join(serverErr, clientErr)
			if test.want == "" {
				if err != nil || state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "h2" {
					t.Errorf("%v, version %x, protocol %q", err, state.Version, state.NegotiatedProtocol)
				}
				return
			}
			if serverErr == nil || clientErr == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("server %v, client %v, want %q", serverErr, clientErr, test.want)
			}
		})
	}
}

func TestTLS_RefusesOldVersionsAndClearText(t *testing.T) {
	ca := orbittest.New(t)
	server := orbit.ServerTLS(ca.Credentials(ca.Issue(t, orbit.Peer{Role: orbit.RoleServer}, time.Hour)), true,
		orbit.Accept(orbit.RoleViewer))
	client := orbit.ClientTLS(ca.Credentials(nil), orbit.Accept(orbit.RoleServer))
	client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, serverErr, clientErr := connect(t, server, client); serverErr == nil || clientErr == nil {
		t.Errorf("TLS 1.2 is accepted: %v, %v", serverErr, clientErr)
	}

	var refused error
	creds := orbit.ServerCredentials(server, func(_ net.Addr, err error) { refused = err })
	a, b := net.Pipe()
	go func() {
		_, _ = io.WriteString(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") // the end of the pipe is what matters
		_, _ = io.Copy(io.Discard, b)
	}()
	_, _, err := creds.Clone().ServerHandshake(a)
	a.Close()
	if err == nil || refused == nil || err.Error() != refused.Error() {
		t.Errorf("plain text: %v, reported %v", err, refused)
	}
}

func TestBundle(t *testing.T) {
	one, two := orbittest.New(t), orbittest.New(t)
	both := orbit.NewBundle(one.Cert, two.Cert)
	back, err := orbit.ParseBundle(both.PEM())
	check(t, err)
	for i, ca := range []*orbittest.Authority{one, two} {
		leaf := ca.Issue(t, orbit.Peer{Role: orbit.RoleServer}, time.Hour).Leaf
		if _, err := back.Verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("authority %d: %v", i, err)
		}
	}
	if _, err := back.Verify(nil, x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("no certificate is accepted")
	}
	leaf := orbit.NewBundle(one.Issue(t, orbit.Peer{Role: orbit.RoleServer}, time.Hour).Leaf).PEM()
	for name, text := range map[string][]byte{
		"nothing":   nil,
		"blanks":    []byte(" \n"),
		"text":      []byte("hello"),
		"a leaf":    leaf,
		"a key":     []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
		"too many":  bytes.Repeat(one.Bundle().PEM(), 17),
		"too long":  bytes.Repeat([]byte("\n"), 64<<10+1),
		"a cut end": both.PEM()[:len(both.PEM())-10],
	} {
		if _, err := orbit.ParseBundle(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseBundle(f *testing.F) {
	f.Add(orbittest.New(f).Bundle().PEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := orbit.ParseBundle(text)
		if err != nil {
			return
		}
		if _, err := orbit.ParseBundle(b.PEM()); err != nil {
			t.Errorf("accepted, but not what it is written as: %v", err)
		}
	})
}
