package tracer

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"google.golang.org/grpc/test/bufconn"
)

// silent opens connections that never send a byte.
func silent(t *testing.T, l *bufconn.Listener, n int) (all []net.Conn) {
	t.Helper()
	for range n {
		c, err := l.DialContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		all = append(all, c)
	}
	return all
}

// open counts the connections that the other end has not closed by a deadline.
func open(t *testing.T, all []net.Conn, deadline time.Time) (n int) {
	t.Helper()
	for _, c := range all {
		// A deadline that is past hides that the other end has closed.
		now := time.Now().Add(time.Millisecond)
		if now.Before(deadline) {
			now = deadline
		}
		if err := c.SetReadDeadline(now); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			n++
		}
	}
	return n
}

func TestAdmission_BoundsStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, nil)
		const many = 4 * maxUnauthenticated
		began := time.Now()
		strangers := silent(t, n.listener, many)
		// All places are taken, by the newest connections and by some of the first.
		client := n.greet()
		if left := open(t, strangers, time.Now().Add(time.Second)); left > maxUnauthenticated {
			t.Errorf("%d of %d silent connections are open", left, many)
		}
		// More connections do not replace an authenticated one, and it does not time out.
		strangers = append(strangers, silent(t, n.listener, many)...)
		if left := open(t, strangers, began.Add(3*handshakeTimeout)); left > 0 {
			t.Errorf("%d silent connections are open after %v", left, time.Since(began))
		}
		if err := client.control.Send(&session.ClientMessage{
			Message: &session.ClientMessage_Heartbeat{Heartbeat: &session.Heartbeat{}},
		}); err != nil {
			t.Fatal(err)
		}
		if m, err := client.control.Recv(); err != nil || m.GetHeartbeat() == nil {
			t.Errorf("the client got %v, %v", m, err)
		}
	})
}

func TestAdmission_ClosedConnectionsLeave(t *testing.T) {
	t.Parallel()
	a := newAdmission()
	var all []*stranger
	for range maxUnauthenticated {
		near, far := net.Pipe()
		defer far.Close()
		all = append(all, a.admit(near))
	}
	for i, s := range all {
		if i%2 == 0 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		} else if !s.leave() {
			t.Errorf("the connection %d was refused", i)
		}
	}
	if len(a.waiting) != 0 || a.refused != 0 {
		t.Errorf("%d wait and %d were refused", len(a.waiting), a.refused)
	}
}

func TestAdmission_PushesOutAtTheLimit(t *testing.T) {
	t.Parallel()
	a := newAdmission()
	for range 3 * maxUnauthenticated {
		near, far := net.Pipe()
		defer far.Close()
		a.admit(near)
	}
	if len(a.waiting) != maxUnauthenticated || a.refused != 2*maxUnauthenticated {
		t.Errorf("%d wait and %d were refused", len(a.waiting), a.refused)
	}
	for i, s := range a.waiting {
		if s.place != i {
			t.Errorf("the connection %d has the place %d", i, s.place)
		}
	}
	for _, s := range append([]*stranger(nil), a.waiting...) {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
