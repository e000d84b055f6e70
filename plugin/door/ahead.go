package door

import (
	"context"
	"net"
	"time"
)

// maxAhead is how old a connection may be that was made ahead: a server gives a client 5 s for its handshake.
const maxAhead = 2 * time.Second

// ahead is a connection to a pod that is made while something else is waited for.
type ahead struct {
	pod    string
	made   time.Time
	cancel context.CancelFunc
	result chan dialled
}

type dialled struct {
	conn net.Conn
	err  error
}

// dialAhead begins to connect to a pod. The caller calls close.
func dialAhead(ctx context.Context, dial dialFunc, pod string) *ahead {
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{pod: pod, made: time.Now(), cancel: cancel, result: make(chan dialled, 1)}
	go func() {
		conn, err := dial(ctx, pod)
		a.result <- dialled{conn, err}
	}()
	return a
}

// dialer returns dial, but for the connection that was made ahead, which is given once.
func (a *ahead) dialer(dial dialFunc) dialFunc {
	return func(ctx context.Context, pod string) (net.Conn, error) {
		if a == nil || pod != a.pod || time.Since(a.made) > maxAhead {
			return dial(ctx, pod)
		}
		select {
		case r, ok := <-a.result:
			if ok {
				close(a.result)
			}
			if r.conn == nil {
				return dial(ctx, pod)
			}
			return r.conn, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// close ends what was not used, and waits for it.
func (a *ahead) close() {
	if a == nil {
		return
	}
	a.cancel()
	if r := <-a.result; r.conn != nil {
		_ = r.conn.Close() // nobody has used it
	}
}
