package kit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWire_DelaysAndLosesPackets connects two network namespaces by a third one, the router, which has a wire.
func TestWire_DelaysAndLosesPackets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("needs TUN devices: %v", err)
	}
	client, router, server := networkNamespace(t), networkNamespace(t), networkNamespace(t)
	ip := func(ns, args string) {
		t.Helper()
		if out, err := exec.Command("nsenter", append([]string{"--net=" + ns, "ip"},
			strings.Fields(args)...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	to := netip.MustParseAddr("10.88.2.2")
	for i, ns := range []string{client, server} {
		// iproute2 names the other namespace by the pid of a process in it.
		link, net := fmt.Sprintf("end%d", i+1), fmt.Sprintf("10.88.%d", i+1)
		ip(router, fmt.Sprintf("link add %s type veth peer name eth0 netns %s", link, pidOf(ns)))
		ip(router, fmt.Sprintf("addr add %s.1/24 dev %s", net, link))
		ip(router, "link set "+link+" up")
		ip(ns, fmt.Sprintf("addr add %s.2/24 dev eth0", net))
		ip(ns, "link set eth0 up")
		ip(ns, "route add default via "+net+".1")
	}
	inNetwork(t, router, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
	var l net.Listener
	inNetwork(t, server, func() (err error) {
		l, err = net.Listen("tcp4", ":8080")
		return err
	})
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c) // ends with the client
				c.Close()
			}()
		}
	}()
	exchange := func(size int) (took time.Duration) {
		t.Helper()
		inNetwork(t, client, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			start := time.Now()
			c, err := new(net.Dialer).DialContext(ctx, "tcp4", netip.AddrPortFrom(to, 8080).String())
			if err != nil {
				return err
			}
			defer c.Close()
			sent := bytes.Repeat([]byte("x"), size)
			go func() { _, _ = c.Write(sent) }() // the answer shows a failure
			got := make([]byte, size)
			if err := c.SetReadDeadline(start.Add(20 * time.Second)); err != nil {
				return err
			}
			if _, err := io.ReadFull(c, got); err != nil {
				return err
			}
			took = time.Since(start)
			if !bytes.Equal(got, sent) {
				return fmt.Errorf("got %d other bytes", len(got))
			}
			return nil
		})
		return took
	}
	exchange(100)
	t.Run("a delay", func(t *testing.T) {
		w := &Wire{Delay: 50 * time.Millisecond}
		layWire(t, router, to, w)
		// The handshake and the request pass once each.
		if took := exchange(100); took < 100*time.Millisecond || took > time.Second {
			t.Errorf("an exchange took %s, want 100 ms", took)
		}
		if w.Passed() < 3 || w.Lost() > 0 {
			t.Errorf("%d packets passed, %d lost", w.Passed(), w.Lost())
		}
	})
	t.Run("a loss", func(t *testing.T) {
		w := &Wire{Loss: 0.05}
		layWire(t, router, to, w)
		for range 10 {
			exchange(200_000)
		}
		if share := float64(w.Lost()) / float64(w.Lost()+w.Passed()); share < 0.01 || share > 0.12 {
			t.Errorf("%d of %d packets lost", w.Lost(), w.Lost()+w.Passed())
		}
	})
	t.Run("no wire is left", func(t *testing.T) {
		if took := exchange(100); took > 50*time.Millisecond {
			t.Errorf("an exchange took %s", took)
		}
		out, err := exec.Command("nsenter", "--net="+router, "ip", "rule").CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("orb8")) || bytes.Count(out, []byte("\n")) != 3 {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// networkNamespace creates a network namespace that lasts as long as the test, and returns the path of its file.
func networkNamespace(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("unshare", "--net", "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
	for start := time.Now(); ; time.Sleep(poll) {
		if ns, err := os.Readlink(path); err == nil && ns != own {
			return path
		}
		if time.Since(start) > waitTimeout {
			t.Fatal("no network namespace")
		}
	}
}

// pidOf returns the pid in a path of networkNamespace.
func pidOf(path string) string { return strings.Split(path, "/")[2] }

// inNetwork calls f in a network namespace, with an unlocked thread of its own.
func inNetwork(t *testing.T, path string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread stays in the namespace, and ends with the goroutine
		ns, err := os.Open(path)
		if err == nil {
			if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
				err = f()
			}
			ns.Close()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
