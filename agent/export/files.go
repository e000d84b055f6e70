package export

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/internal/credentials"
)

const (
	maxHeaders = 32
	maxHeader  = 16 << 10
)

// header is a header of requests. Its name is in lower case.
type header struct{ name, value string }

// files are the contents of the files that a configuration names.
type files struct {
	headers []header
	tls     *tls.Config // nil: without TLS
	sum     [sha256.Size]byte
}

// readFiles reads the files of a configuration. An error names the key and the file, and holds nothing of its contents.
func readFiles(c *Config) (*files, error) {
	f := &files{}
	sum := sha256.New()
	read := func(key, name string) ([]byte, error) {
		if name == "" {
			return nil, nil
		}
		text, err := credentials.Read(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		fmt.Fprintf(sum, "%s %d\n", key, len(text))
		sum.Write(text)
		return text, nil
	}
	text, err := read("headersFile", c.HeadersFile)
	if err != nil {
		return nil, err
	}
	if f.headers, err = parseHeaders(text); err != nil {
		return nil, fmt.Errorf("headersFile: %s: %w", c.HeadersFile, err)
	}
	if !c.TLS.Insecure {
		ca, caErr := read("tls.caFile", c.TLS.CAFile)
		cert, certErr := read("tls.certFile", c.TLS.CertFile)
		key, keyErr := read("tls.keyFile", c.TLS.KeyFile)
		if err := errors.Join(caErr, certErr, keyErr); err != nil {
			return nil, err
		}
		if f.tls, err = newTLS(c, ca, cert, key); err != nil {
			return nil, err
		}
	}
	sum.Sum(f.sum[:0])
	return f, nil
}

func newTLS(c *Config, ca, cert, key []byte) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName}
	if c.TLS.CAFile != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("tls.caFile: %s: no certificate in PEM", c.TLS.CAFile)
		}
	}
	if c.TLS.CertFile != "" {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls.certFile: %s with tls.keyFile: %s: %w", c.TLS.CertFile, c.TLS.KeyFile, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// reserved are headers that belong to the protocol.
var reserved = []string{"connection", "content-encoding", "content-length", "content-type", "host", "te", "trailer",
	"transfer-encoding", "upgrade", "user-agent"}

// parseHeaders reads a line "name: value" for each header. Empty lines and lines that begin with # are ignored. An
// error names the line and holds no value.
func parseHeaders(text []byte) (all []header, err error) {
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(string(line), ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !ok || !isToken(name):
			return nil, fmt.Errorf("line %d: want \"name: value\"", number)
		case slices.Contains(reserved, name) || strings.HasPrefix(name, "grpc-") || strings.HasSuffix(name, "-bin"):
			return nil, fmt.Errorf("line %d: the header %s belongs to the protocol", number, name)
		case !credentials.IsPrintable(value):
			return nil, fmt.Errorf("line %d: the value of %s has characters that are not printable ASCII", number, name)
		case len(all) == maxHeaders || len(line) > maxHeader:
			return nil, fmt.Errorf("line %d: want at most %d headers of %d bytes", number, maxHeaders, maxHeader)
		}
		all = append(all, header{name, value})
	}
	return all, nil
}

// isToken reports whether s is a name of a header that HTTP and gRPC take.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != ""
}
