package door

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/orbit/orbittest"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

var alice = &orbit.User{Name: "alice"}

// cluster is an API server with an installed orb8, whose signer uses one authority after the other: the last one for
// all further requests.
type cluster struct {
	*kubefake.Client
	t       *testing.T
	signers []*orbittest.Authority
	signed  int
	newest  *certificatesv1.CertificateSigningRequest
}

// newCluster publishes the certificates of an authority.
func newCluster(t *testing.T, published *orbittest.Authority, signers ...*orbittest.Authority) *cluster {
	t.Helper()
	authority, ready := installed(t)
	authority.Data[orbit.AuthorityKey] = string(published.Bundle().PEM())
	c := &cluster{Client: kubefake.New(authority, ready), t: t, signers: signers}
	c.PrependReactor("create", "certificatesigningrequests", c.sign)
	c.PrependReactor("get", "certificatesigningrequests", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, c.newest, nil
	})
	return c
}

// sign answers a request with its certificate: the fake has no signer that does it later.
func (c *cluster) sign(a clienttesting.Action) (bool, runtime.Object, error) {
	r := a.(clienttesting.CreateAction).GetObject().(*certificatesv1.CertificateSigningRequest).DeepCopy()
	block, _ := pem.Decode(r.Spec.Request)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return true, nil, err
	}
	template, err := orbit.Peer{Role: orbit.RoleViewer, User: alice}.Template(time.Now(), time.Hour)
	if err != nil {
		return true, nil, err
	}
	by := c.signers[min(c.signed, len(c.signers)-1)]
	c.signed++
	r.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE",
		Bytes: by.Sign(c.t, template, request.PublicKey).Raw})
	c.newest = r
	return true, r, nil
}

// listen serves TCP on loopback until the test ends, and returns a dial of it.
func listen(t *testing.T, serve func(net.Listener)) dialFunc {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { serve(l) })
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
}

// each serves one connection after another.
func each(serve func(net.Conn)) func(net.Listener) {
	return func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			_ = conn.Close()
		}
	}
}

// service is a server that does not know the callers of the first streams.
type service struct {
	orbit.UnimplementedOrbitServiceServer
	mu        sync.Mutex
	strangers int
}

func (s *service) StreamEvents(_ *orbit.StreamRequest, stream grpc.ServerStreamingServer[orbit.Answer]) error {
	if err := s.identify(); err != nil {
		return err
	}
	return stream.Send(&orbit.Answer{})
}

func (s *service) Nodes(context.Context, *orbit.NodesRequest) (*orbit.NodesAnswer, error) {
	return &orbit.NodesAnswer{}, s.identify()
}

func (s *service) identify() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.strangers--; s.strangers >= 0 {
		return status.Error(codes.Unauthenticated, "the certificate has expired")
	}
	return nil
}

// speak is a server of orb8 with a certificate, that accepts viewers of an authority.
func speak(cert *tls.Certificate, accepted *orbittest.Authority, s *service) func(net.Listener) {
	return func(l net.Listener) {
		config := orbit.ServerTLS(accepted.Credentials(cert), true, orbit.Accept(orbit.RoleViewer))
		g := grpc.NewServer(grpc.Creds(orbit.ServerCredentials(config, func(net.Addr, error) {})))
		orbit.RegisterOrbitServiceServer(g, s)
		_ = g.Serve(l)
	}
}

func newDoor(c *cluster, dial dialFunc) *Door {
	d := New(Options{Client: c, Namespace: "orb8-system"})
	d.dial = dial
	return d
}

func TestDial_ExplainsFailedHandshakes(t *testing.T) {
	ca, other := orbittest.New(t), orbittest.New(t)
	server := orbit.Peer{Role: orbit.RoleServer}
	good := ca.Issue(t, server, time.Hour)
	hello := func(n net.Conn) { _, _ = n.Read(make([]byte, 1024)) }
	for name, test := range map[string]struct {
		serve func(net.Listener)
		want  []string
	}{
		"another authority": {speak(other.Issue(t, server, time.Hour), ca, &service{}), []string{
			"another authority than those in ConfigMap orb8-authority", "try again"}},
		"an expired certificate": {speak(ca.Issue(t, server, -time.Second), ca, &service{}), []string{
			"not valid now", "compare the clock", "has expired"}},
		"the client's certificate refused": {speak(good, other, &service{}), []string{
			"does not accept the certificate that orb8 has signed", "kubectl orb8 status"}},
		"an agent": {speak(ca.Issue(t, orbit.Peer{Role: orbit.RoleAgent, Node: "n1"}, time.Hour), ca, &service{}),
			[]string{"certificate of orb8://agent/n1: want one of orb8://server"}},
		"plain text": {each(func(n net.Conn) {
			hello(n)
			_, _ = n.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		}), []string{"does not speak TLS"}},
		"closed at once":        {each(func(net.Conn) {}), []string{"closed the connection before it answered"}},
		"closed in a handshake": {each(hello), []string{"closed the connection before it answered"}},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := newDoor(newCluster(t, ca, ca), listen(t, test.serve)).Dial(t.Context())
			if err == nil {
				_ = conn.Close()
				t.Fatal("connected")
			}
			for _, want := range append(test.want, `namespace "orb8-system"`, "orb8-server-1: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v\nwant %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("several lines: %q", err)
			}
		})
	}
}

func TestDial_ExplainsFailedPortForwards(t *testing.T) {
	ca := orbittest.New(t)
	for text, is := range map[string]error{
		`pods "orb8-server-1" is forbidden: User "alice" cannot create resource "pods/portforward"`: ErrForbidden,
		"port-forward to orb8-system/orb8-server-1:8080: connection refused":                        nil,
	} {
		_, err := newDoor(newCluster(t, ca, ca), func(context.Context, string) (net.Conn, error) {
			return nil, errors.New(text)
		}).Dial(t.Context())
		if err == nil || !strings.Contains(err.Error(), text) || errors.Is(err, ErrForbidden) != (is != nil) {
			t.Errorf("%v", err)
		}
	}
}

func TestDial_RenewsARefusedCertificate(t *testing.T) {
	before, now := orbittest.New(t), orbittest.New(t)
	// The signer has not seen the new authority yet when it signs the first request.
	c := newCluster(t, now, before, now)
	d := newDoor(c, listen(t, speak(now.Issue(t, orbit.Peer{Role: orbit.RoleServer}, time.Hour), now, &service{})))
	conn, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if c.signed != 2 {
		t.Errorf("%d certificates, want a second one", c.signed)
	}
	// The second one is kept.
	if conn, err = d.Dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if c.signed != 2 {
		t.Errorf("%d certificates for two connections", c.signed)
	}
}

func TestDial_RenewsAfterUnauthenticated(t *testing.T) {
	for name, call := range map[string]func(orbit.OrbitServiceClient) error{
		"a stream": func(client orbit.OrbitServiceClient) error {
			stream, err := client.StreamEvents(t.Context(), &orbit.StreamRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"a call": func(client orbit.OrbitServiceClient) error {
			_, err := client.Nodes(t.Context(), &orbit.NodesRequest{})
			return err
		},
	} {
		ca := orbittest.New(t)
		c := newCluster(t, ca, ca)
		d := newDoor(c, listen(t, speak(ca.Issue(t, orbit.Peer{Role: orbit.RoleServer}, time.Hour), ca,
			&service{strangers: 1})))
		for i, want := range []codes.Code{codes.Unauthenticated, codes.OK} {
			conn, err := d.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = call(orbit.NewOrbitServiceClient(conn))
			_ = conn.Close()
			if status.Code(err) != want || c.signed != i+1 {
				t.Errorf("%s, connection %d: %v after %d certificates", name, i, err, c.signed)
			}
		}
	}
}
