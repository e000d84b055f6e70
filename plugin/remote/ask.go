package remote

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Ask sends a request to a server and returns the connection, which the caller closes. Where the server does not know
// the caller, it sends the request once more: the certificate has expired, or its authority was replaced, and the next
// connection has another one.
func Ask(ctx context.Context, dial Dial, request func(Conn) error) (Conn, error) {
	for attempt := 1; ; attempt++ {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		if err = request(conn); err == nil {
			return conn, nil
		}
		_ = conn.Close()
		if attempt == 2 || status.Code(err) != codes.Unauthenticated || ctx.Err() != nil {
			return nil, err
		}
	}
}
