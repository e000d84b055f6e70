package kit

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// ConnectProxy is an HTTP proxy between users and a cluster. It tunnels connections to one host only: the API server,
// by a name that nobody else resolves.
type ConnectProxy struct {
	// URL of the proxy, with the password if it asks for one.
	URL string
	// Tunnels counts the connections so far.
	Tunnels atomic.Int64
}

// hiddenHost is the name of the API server that only a ConnectProxy resolves.
const hiddenHost = "api.hidden.invalid"

// ConnectProxy starts a proxy to the server with this address. With a password, it refuses who does not send that.
func (e *Env) ConnectProxy(t testing.TB, target string, password *url.Userinfo) *ConnectProxy {
	t.Helper()
	p := &ConnectProxy{}
	var tunnels sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := ""
		if password != nil {
			want = "Basic " + base64.StdEncoding.EncodeToString([]byte(password.String()))
		}
		switch {
		case r.Method != http.MethodConnect || r.Host != hiddenHost+":443":
			http.Error(w, "this proxy tunnels to "+hiddenHost+":443 only", http.StatusForbidden)
		case r.Header.Get("Proxy-Authorization") != want:
			w.Header().Set("Proxy-Authenticate", "Basic")
			http.Error(w, "log in", http.StatusProxyAuthRequired)
		default:
			p.Tunnels.Add(1)
			tunnels.Add(1)
			defer tunnels.Done()
			tunnel(w, target)
		}
	}))
	t.Cleanup(func() {
		server.Close() // no tunnel begins after it
		tunnels.Wait() // each ends with its client
	})
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	address.User = password
	p.URL = address.String()
	return p
}

// tunnel connects a client to a server until either ends.
func tunnel(w http.ResponseWriter, target string) {
	server, err := net.Dial("tcp", target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	w.WriteHeader(http.StatusOK)
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	var copies sync.WaitGroup
	copies.Go(func() {
		_, _ = io.Copy(server, buffered)
		server.Close()
	})
	_, _ = io.Copy(client, server)
	client.Close()
	copies.Wait()
}
