package tracer

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

const (
	// maxUnauthenticated limits the connections that have not proven their key yet. Each takes about 30 KiB during its
	// handshake.
	maxUnauthenticated = 128
	// handshakeTimeout is how long a connection may take to prove its key.
	handshakeTimeout = 4 * time.Second
)

// admission limits unauthenticated connections, in number and in time, before TLS. A connection beyond the limit
// replaces another one, chosen at random: an attacker cannot keep all places, and a client that was replaced
// reconnects. Authenticated connections do not count.
type admission struct {
	limit   int
	timeout time.Duration

	mu      sync.Mutex
	waiting []*stranger
	// refused counts the connections that were replaced or timed out.
	refused uint64
}

func newAdmission() *admission {
	return &admission{limit: maxUnauthenticated, timeout: handshakeTimeout}
}

// stranger is a connection that was unauthenticated when it was accepted.
type stranger struct {
	net.Conn
	admission *admission
	// place is its index in waiting; negative once it has left.
	place int
	late  *time.Timer
}

// listener gives the connections of l a place among the strangers.
func (a *admission) listener(l net.Listener) net.Listener { return &admitting{l, a} }

type admitting struct {
	net.Listener
	admission *admission
}

func (l *admitting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.admission.admit(conn), nil
}

// admit gives a connection a place. If all are taken, it replaces another connection.
func (a *admission) admit(conn net.Conn) *stranger {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) >= a.limit {
		a.refuse(a.waiting[rand.IntN(len(a.waiting))])
	}
	s := &stranger{Conn: conn, admission: a, place: len(a.waiting)}
	a.waiting = append(a.waiting, s)
	s.late = time.AfterFunc(a.timeout, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if s.place >= 0 {
			a.refuse(s)
		}
	})
	return s
}

// refuse closes a connection that waits. The caller holds mu.
func (a *admission) refuse(s *stranger) {
	a.remove(s)
	a.refused++
	_ = s.Conn.Close() // its reader gets the error
}

// remove takes a connection from those that wait. The caller holds mu.
func (a *admission) remove(s *stranger) {
	if s.place < 0 {
		return
	}
	last := len(a.waiting) - 1
	a.waiting[s.place] = a.waiting[last]
	a.waiting[s.place].place = s.place
	a.waiting[last] = nil
	a.waiting = a.waiting[:last]
	s.place = -1
	s.late.Stop()
}

// leave gives up the place of a connection. It returns false if the connection was refused.
func (s *stranger) leave() bool {
	s.admission.mu.Lock()
	defer s.admission.mu.Unlock()
	if s.place < 0 {
		return false
	}
	s.admission.remove(s)
	return true
}

// Close closes the connection and gives up its place.
func (s *stranger) Close() error {
	s.leave()
	return s.Conn.Close()
}

// admitted are transport credentials that free a connection's place after it has proven its key.
type admitted struct {
	credentials.TransportCredentials
}

func (c admitted) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, info, err := c.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		return nil, nil, err
	}
	if s, ok := conn.(*stranger); ok && !s.leave() {
		_ = secure.Close()
		return nil, nil, context.DeadlineExceeded
	}
	return secure, info, nil
}

func (c admitted) Clone() credentials.TransportCredentials {
	return admitted{c.TransportCredentials.Clone()}
}
