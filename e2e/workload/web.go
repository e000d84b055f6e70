package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// webOptions are the properties of a service.
type webOptions struct {
	to      urls
	delay   time.Duration
	work    time.Duration
	timeout time.Duration
	answer  int
	reset   bool
	sick    bool
}

// web is a service that speaks HTTP. For each request it uses -burn of a CPU, waits -delay, calls its dependencies one
// after another, and answers -answer bytes, or 502 if a dependency has failed. /healthz answers 200, or 503 with -sick.
func web(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var o webOptions
	listen := flags.String("listen", ":8080", "address and port")
	secure := flags.Bool("tls", false, "serve TLS with a certificate of its own")
	backlog := flags.Int("backlog", 0, "length of the accept queue; 0: the kernel's default")
	pause := flags.Duration("accept", 0, "time between two accepted connections")
	flags.Var(&o.to, "call", "URL of a dependency; may be given several times")
	flags.DurationVar(&o.delay, "delay", 0, "time to wait before the answer")
	flags.DurationVar(&o.work, "burn", 0, "CPU time of an answer")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long to wait for a dependency")
	flags.IntVar(&o.answer, "answer", 200, "bytes of an answer")
	flags.BoolVar(&o.reset, "reset", false, "reset the connection instead of an answer")
	flags.BoolVar(&o.sick, "sick", false, "answer 503 to /healthz")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if *backlog > 0 {
		if err := limitBacklog(l.(*net.TCPListener), *backlog); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	l = &slowListener{l, *pause}
	if *secure {
		config, err := selfSigned()
		if err != nil {
			return errors.Join(err, l.Close())
		}
		l = tls.NewListener(l, config)
	}
	calls := newTally()
	server := &http.Server{Handler: o.handler(newCaller(calls, o.timeout, false, 0))}
	printReport(report.Report{Kind: report.Listening})
	var running sync.WaitGroup
	running.Go(func() {
		<-ctx.Done()
		_ = server.Close() // Serve returns its error
	})
	if len(o.to) > 0 {
		running.Go(func() { calls.printReports(ctx) })
	}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	running.Wait()
	return nil
}

// handler answers requests.
func (o *webOptions) handler(dependencies *caller) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if o.sick {
			http.Error(w, "the database is not initialized", http.StatusServiceUnavailable)
		}
	})
	answer := make([]byte, o.answer)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // the client has gone
		}
		if o.reset {
			resetConnection(w)
			return
		}
		spin(o.work)
		select {
		case <-time.After(o.delay):
		case <-r.Context().Done():
			return
		}
		if err := dependencies.callAll(r.Context(), o.to); err != nil {
			http.Error(w, errorName(err), http.StatusBadGateway)
			return
		}
		_, _ = w.Write(answer) // fails only if the client has gone
	})
	return mux
}

// resetConnection closes a connection with a RST.
func resetConnection(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return // the client has gone
	}
	_ = endConnection(c.(*net.TCPConn), endReset) // the client reports the end
}

// limitBacklog sets the length of a listener's accept queue. The kernel accepts a second listen(2) for that.
func limitBacklog(l *net.TCPListener, n int) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var listenErr error
	err = raw.Control(func(fd uintptr) { listenErr = unix.Listen(int(fd), n) })
	return errors.Join(err, listenErr)
}

// slowListener waits before each accept.
type slowListener struct {
	net.Listener
	pause time.Duration
}

// Accept waits for the pause, then for a connection.
func (l *slowListener) Accept() (net.Conn, error) {
	time.Sleep(l.pause)
	return l.Listener.Accept()
}

// selfSigned makes a certificate that only clients without verification accept.
func selfSigned() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos: []string{"http/1.1"}}, nil
}
