package images

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// bounded is an HTTP client for registries.
type bounded struct{ http.RoundTripper }

// transport is an HTTP client that also trusts o.CA.
func (o *Options) transport() (http.RoundTripper, error) {
	if len(o.CA) == 0 {
		return bounded{remote.DefaultTransport}, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(o.CA) {
		return nil, errors.New("no certificate in PEM")
	}
	own := remote.DefaultTransport.(*http.Transport).Clone()
	own.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return bounded{own}, nil
}

// RoundTrip refuses what the library for registries would do: send passwords without TLS to private addresses, and
// hold any number of bytes of what is no layer.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if ip := net.ParseIP(r.URL.Hostname()); r.URL.Scheme != "https" && r.URL.Hostname() != "localhost" &&
		(ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s has no TLS", r.URL.Host)
	}
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil && !asksForBlob(r) {
		response.Body = &limited{ReadCloser: response.Body, left: maxManifest}
	}
	return response, err
}

// asksForBlob reports whether a request, or the one that was redirected to it, is for .../blobs/DIGEST. The registry
// chooses what it redirects to.
func asksForBlob(r *http.Request) bool {
	for r.Response != nil && r.Response.Request != nil {
		r = r.Response.Request
	}
	return path.Base(path.Dir(r.URL.Path)) == "blobs"
}

// limited is a body of a limited size.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("an answer of more than %d bytes", maxManifest)
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
