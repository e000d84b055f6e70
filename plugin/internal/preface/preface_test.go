package preface

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"server"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// held is a connection that delivers nothing of the other side once it has read so much, until release is closed.
type held struct {
	net.Conn
	wrote   func(n int)
	release <-chan struct{}
	open    func() bool
}

func (h *held) Read(b []byte) (int, error) {
	if !h.open() {
		<-h.release
	}
	return h.Conn.Read(b)
}

func (h *held) Write(b []byte) (int, error) {
	h.wrote(len(b))
	return h.Conn.Write(b)
}

// TestEager_SendsTheFirstRequestWithoutSettings holds back all that the server sends after its part of the handshake,
// until the client has sent its request.
func TestEager_SendsTheFirstRequestWithoutSettings(t *testing.T) {
	certificate := selfSigned(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	defer serving.Wait()
	defer server.Stop()

	release := make(chan struct{})
	var mu sync.Mutex
	var shaken bool // the handshake is over
	var sent int    // bytes after it
	released := sync.OnceFunc(func() { close(release) })
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		raw, err := d.DialContext(ctx, "tcp", listener.Addr().String())
		return &held{Conn: raw, release: release, open: func() bool {
			mu.Lock()
			defer mu.Unlock()
			return !shaken
		}, wrote: func(n int) {
			mu.Lock()
			defer mu.Unlock()
			if !shaken {
				return
			}
			// The preface of HTTP/2 and the settings take less, the headers of the request more.
			if sent += n; sent > 160 {
				released()
			}
		}}, err
	}
	roots := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(parsed)
	secure := credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "server", MinVersion: tls.VersionTLS13,
		VerifyConnection: func(tls.ConnectionState) error {
			mu.Lock()
			defer mu.Unlock()
			shaken = true
			return nil
		}})
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(Eager(secure)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := grpc_health_v1.NewHealthClient(conn)
	for range 3 {
		// Later ones exceed what the client may send before the server's settings, were they not in force.
		name := strings.Repeat("x", 1<<17)
		if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: name}); err == nil ||
			!strings.Contains(err.Error(), "unknown service") {
			t.Fatal(err)
		}
	}
}
