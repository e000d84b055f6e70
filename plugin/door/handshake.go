package door

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"

	"google.golang.org/grpc/credentials"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// dialFunc connects to the server in a pod.
type dialFunc func(ctx context.Context, pod string) (net.Conn, error)

// refusedError is a server's refusal of the user's certificate, as far as the client can know.
type refusedError struct{ cause error }

func (e *refusedError) Error() string {
	return fmt.Sprintf("it does not accept the certificate that orb8 has signed (%v): its authority was just "+
		"replaced, or clocks differ: try again, and see kubectl orb8 status", e.cause)
}

func (e *refusedError) Unwrap() error { return e.cause }

// attempt is one attempt to connect. gRPC reports only that one has failed, so the attempt keeps why.
type attempt struct {
	credentials.TransportCredentials
	mu  sync.Mutex
	why error
}

// fail keeps the first error, which says what to do.
func (a *attempt) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.why == nil {
		a.why = err
	}
}

// reason is why the attempt has failed.
func (a *attempt) reason() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.why == nil {
		return errors.New("the connection failed")
	}
	return a.why
}

// dialer keeps the error of dial.
func (a *attempt) dialer(dial dialFunc) dialFunc {
	return func(ctx context.Context, pod string) (net.Conn, error) {
		conn, err := dial(ctx, pod)
		if err != nil {
			a.fail(explainDial(err))
		}
		return conn, err
	}
}

// ClientHandshake implements credentials.TransportCredentials.
func (a *attempt) ClientHandshake(
	ctx context.Context, authority string, raw net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := a.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		a.fail(explainHandshake(err))
		return nil, nil, err
	}
	return &attemptConn{Conn: conn, attempt: a}, info, nil
}

// Clone implements credentials.TransportCredentials. A connection is of one attempt.
func (a *attempt) Clone() credentials.TransportCredentials { return a }

// attemptConn keeps the error of the first read: with TLS 1.3 a client learns only then whether its certificate is
// accepted.
type attemptConn struct {
	net.Conn
	attempt *attempt
	answers bool
}

func (c *attemptConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.answers = c.answers || n > 0
	if err != nil && !c.answers {
		c.attempt.fail(explainFirstRead(err))
	}
	return n, err
}

// explainDial explains why a pod cannot be reached.
func explainDial(err error) error {
	if strings.Contains(err.Error(), "forbidden") {
		return fmt.Errorf("%w: %w: an administrator grants it with kubectl orb8 rbac --viewer", ErrForbidden, err)
	}
	return err
}

// explainHandshake explains why a server is not trusted.
func explainHandshake(err error) error {
	var clear tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &clear):
		return fmt.Errorf("it does not speak TLS, so it is no server of orb8: %w", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("its certificate is of another authority than those in ConfigMap %s: it is no server of "+
			"this installation, or its authority was just replaced: try again: %w", orbit.AuthorityName, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("its certificate is not valid now: compare the clock of this machine with that of the "+
			"cluster, and see kubectl orb8 status: %w", err)
	case closed(err):
		return errors.New("it closed the connection before it answered, as a server does that starts or ends: " +
			"try again")
	}
	return err
}

// explainFirstRead explains why a trusted server does not answer. It may close the connection before its alert arrives.
func explainFirstRead(err error) error {
	var remote *net.OpError
	switch {
	case errors.As(err, &remote) && remote.Op == "remote error":
		return &refusedError{remote.Err}
	case closed(err):
		return &refusedError{errors.New("it closed the connection after the handshake")}
	}
	return err
}

func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET)
}

// reasons are why none of several servers could be reached.
type reasons []error

func (r reasons) Error() string {
	var all []string
	for _, err := range r {
		all = append(all, err.Error())
	}
	return strings.Join(all, "; ")
}

func (r reasons) Unwrap() []error { return r }
