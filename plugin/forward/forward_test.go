package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// serve is an API server with nothing but port-forward over SPDY, as those before 1.30 have it: the WebSocket upgrade
// is refused. handle gets each pair of streams.
func serve(t *testing.T, handle func(errs, data httpstream.Stream)) *rest.Config {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if want := "/api/v1/namespaces/demo/pods/web-0/portforward"; r.URL.Path != want {
			t.Errorf("asked for %s, want %s", r.URL.Path, want)
		}
		if r.Method != http.MethodPost { // a WebSocket upgrade is a GET
			http.Error(w, "no such upgrade", http.StatusBadRequest)
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
			t.Error(err)
			return
		}
		streams := make(chan httpstream.Stream, 2)
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			if port := s.Headers().Get(corev1.PortHeader); port != "9090" {
				return fmt.Errorf("port %s", port)
			}
			streams <- s
			return nil
		})
		if conn == nil {
			return
		}
		defer func() { _ = conn.Close() }() // the client has closed it in most tests
		first, second := <-streams, <-streams
		if first.Headers().Get(corev1.StreamType) != corev1.StreamTypeError { // they are opened at once
			first, second = second, first
		}
		handle(first, second)
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}
}

func dial(t *testing.T, config *rest.Config) io.ReadWriteCloser {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := NewDialer(config, "demo", 9090)
	t.Cleanup(d.Close)
	c, err := d.Dial(ctx, "web-0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// write writes a text to a stream.
func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	_, err := io.WriteString(w, text)
	check(t, err)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func TestConn_CopiesBothWays(t *testing.T) {
	config := serve(t, func(errs, data httpstream.Stream) {
		if _, err := io.Copy(data, io.LimitReader(data, 1<<20)); err != nil { // an echo
			t.Error(err)
		}
		data.Close()
		errs.Close()
	})
	c := dial(t, config)
	want := strings.Repeat("orb8", 1<<18)
	go write(t, c, want)
	got, err := io.ReadAll(c)
	if err != nil || string(got) != want {
		t.Errorf("read %d of %d bytes back, %v", len(got), len(want), err)
	}
}

func TestConn_ReturnsRemoteError(t *testing.T) {
	config := serve(t, func(errs, data httpstream.Stream) {
		write(t, errs, "an error occurred forwarding 9090: connection refused\n")
		errs.Close()
		_, _ = io.Copy(io.Discard, data) // until the client ends or resets the stream
	})
	c := dial(t, config)
	_, err := c.Read(make([]byte, 1))
	remote := (*Error)(nil)
	if !errors.As(err, &remote) ||
		err.Error() != "port-forward to demo/web-0:9090: an error occurred forwarding 9090: connection refused" {
		t.Errorf("error %v", err)
	}
}

func TestConn_DeadlineEndsRead(t *testing.T) {
	done := make(chan struct{})
	config := serve(t, func(_, data httpstream.Stream) {
		_, _ = io.Copy(io.Discard, data) // until the client ends or resets the stream
		close(done)
	})
	c := dial(t, config).(*conn)
	check(t, c.SetDeadline(time.Now().Add(time.Hour)))
	check(t, c.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a write went through after the deadline")
	}
	<-done
}

func TestConn_ClearedDeadlineNeverExpires(t *testing.T) {
	release := make(chan struct{})
	config := serve(t, func(errs, data httpstream.Stream) {
		<-release
		write(t, data, "late")
		data.Close()
		errs.Close()
	})
	c := dial(t, config).(*conn)
	check(t, c.SetDeadline(time.Now().Add(time.Minute)))
	check(t, c.SetDeadline(time.Time{}))
	if c.deadlines.read != nil || c.deadlines.write != nil {
		t.Error("a timer is left")
	}
	close(release)
	if got, err := io.ReadAll(c); err != nil || string(got) != "late" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestDial_ReturnsWhenCancelled(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	defer close(hang)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := NewDialer(&rest.Config{Host: server.URL}, "demo", 9090).Dial(ctx, "web-0"); !errors.Is(err,
		context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestDial_RefusalNamesThePod(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer server.Close()
	_, err := NewDialer(&rest.Config{Host: server.URL}, "demo", 9090).Dial(t.Context(), "web-0")
	if err == nil || !strings.Contains(err.Error(), "port-forward to demo/web-0:9090") {
		t.Errorf("error %v", err)
	}
}
