package kit

import (
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// Proxy is a TCP proxy between a user and the API server whose connections can be cut.
type Proxy struct {
	// Kubeconfig is the path of the administrator's kubeconfig, with the proxy as the server.
	Kubeconfig string

	target string
	mu     sync.Mutex
	down   bool
	conns  map[net.Conn]bool
}

// Proxy starts a proxy to the API server.
func (e *Env) Proxy(t testing.TB) *Proxy {
	t.Helper()
	config, err := clientcmd.LoadFromFile(e.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{conns: map[net.Conn]bool{}, Kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
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
	var copies sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, server}, {server, c}} {
		copies.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // ends with either connection, also by an error
			way[0].Close()
			way[1].Close()
		})
	}
	copies.Wait()
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
