// Package preface lets a gRPC client send its first request together with the end of its TLS handshake, one round trip
// earlier.
package preface

import (
	"context"
	"net"

	"google.golang.org/grpc/credentials"
)

// settings is an empty SETTINGS frame of HTTP/2 (RFC 9113, section 6.5): length 0, type 4, no flags, stream 0.
const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// Eager returns credentials whose connections begin with an empty SETTINGS frame, before what the server sends. A
// client need not wait for the server's settings before its first request (RFC 9113, section 3.4), but gRPC waits for
// them. Those of the server come later and are in force from then on. The server gets one acknowledgement more than it
// has sent settings, which gRPC's ignores.
func Eager(c credentials.TransportCredentials) credentials.TransportCredentials { return eager{c} }

type eager struct {
	credentials.TransportCredentials
}

// ClientHandshake implements credentials.TransportCredentials.
func (e eager) ClientHandshake(
	ctx context.Context, authority string, raw net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := e.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	return &primed{Conn: conn, first: settings}, info, nil
}

// Clone implements credentials.TransportCredentials.
func (e eager) Clone() credentials.TransportCredentials { return eager{e.TransportCredentials.Clone()} }

// primed is a connection from which something else is read first.
type primed struct {
	net.Conn
	first string
}

func (p *primed) Read(b []byte) (int, error) {
	if p.first != "" {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}
