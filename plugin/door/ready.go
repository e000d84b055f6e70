package door

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// ready waits until a connection has made its handshake.
func ready(ctx context.Context, conn *grpc.ClientConn, try *attempt) error {
	conn.Connect()
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			return try.reason()
		}
		if !conn.WaitForStateChange(ctx, state) {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("it did not answer within %v: see kubectl orb8 status", dialTimeout)
			}
			return fmt.Errorf("no connection: %w", context.Cause(ctx))
		}
	}
}
