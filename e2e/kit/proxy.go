package kit

import (
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// Proxy is a TCP proxy between a user and the API server whose connections can be cut, and can be as slow as those to a
// server far away.
type Proxy struct {
	// Kubeconfig is the path of the administrator's kubeconfig, with the proxy as the server.
	Kubeconfig string

	target string
	// roundTrip is the time that a byte and its answer take more than without the proxy.
	roundTrip time.Duration
	mu        sync.Mutex
	down      bool
	conns     map[net.Conn]bool
}

// Proxy starts a proxy to the API server.
func (e *Env) Proxy(t testing.TB) *Proxy {
	t.Helper()
	return e.FarProxy(t, 0)
}

// FarProxy starts a proxy to an API server that is so far away.
func (e *Env) FarProxy(t testing.TB, roundTrip time.Duration) *Proxy {
	t.Helper()
	config, err := clientcmd.LoadFromFile(e.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{roundTrip: roundTrip, conns: map[net.Conn]bool{}, Kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	for _, cluster := range config.Clusters {
		server, err := url.Parse(cluster.Server)
		if err != nil {
			t.Fatal(err)
		}
		p.target = server.Host
		cluster.TLSServerName = server.Hostname()
		cluster.Server = "https://" + listener.Addr().String()
	}
	if err := clientcmd.WriteToFile(*config, p.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close() // ends Accept; its port is not needed again
		p.Cut()
		work.Wait()
	})
	return p
}

func (p *Proxy) serve(c net.Conn) {
	defer c.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.hold(c) {
		return
	}
	defer p.release(c)
	time.Sleep(p.roundTrip) // the TCP handshake, which the client has with the proxy already
	var copies sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, server}, {server, c}} {
		copies.Go(func() {
			p.copy(way[0], way[1])
			way[0].Close()
			way[1].Close()
		})
	}
	copies.Wait()
}

// copy ends with either connection, also by an error.
func (p *Proxy) copy(to, from net.Conn) {
	if p.roundTrip == 0 {
		_, _ = io.Copy(to, from)
		return
	}
	type packet struct {
		due  time.Time
		data []byte
	}
	packets := make(chan packet, 1024)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(packets)
		for {
			data := make([]byte, 16<<10)
			n, err := from.Read(data)
			if n > 0 {
				packets <- packet{time.Now().Add(p.roundTrip / 2), data[:n]}
			}
			if err != nil {
				return
			}
		}
	})
	failed := false
	for next := range packets {
		time.Sleep(time.Until(next.due))
		if !failed {
			_, err := to.Write(next.data)
			failed = err != nil
		}
		if failed {
			from.Close() // ends the reading
		}
	}
	reading.Wait()
}

func (p *Proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	return !p.down
}

func (p *Proxy) release(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// Cut closes all connections, and closes new ones at once, until Restore.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		c.Close()
	}
}

// Restore ends Cut: new connections pass.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}
