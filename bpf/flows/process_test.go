package flows

import (
	"net"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
)

// A thread with a name of its own makes a socket: the flow carries the name of the process.
func TestFlow_NamesProcessNotThread(t *testing.T) {
	tr := newTrace(t, Options{})
	server := tr.wanted("server")
	udp := listenUDP(tr, server, "127.0.0.1")
	var tcp net.Listener
	server.Run(tr, func() {
		var err error
		tcp, err = net.Listen("tcp", "127.0.0.1:0")
		tr.check(err)
	})
	bpftest.CloseAfter(t, tcp)
	for _, to := range []net.Addr{udp.LocalAddr(), tcp.Addr()} {
		t.Run(to.Network(), func(t *testing.T) {
			client := tr.wanted(to.Network())
			client.Run(t, func() {
				bpftest.OnThread(t, "libuv-worker", func() error {
					c, err := net.Dial(to.Network(), to.String())
					if err != nil {
						return err
					}
					_, err = c.Write([]byte("x"))
					t.Cleanup(func() { c.Close() })
					return err
				})
			})
			if got, want := tr.current(client).GetSrc().GetComm(), bpftest.Comm(t); got != want {
				t.Errorf("comm %q, want the process's: %q", got, want)
			}
		})
	}
}
