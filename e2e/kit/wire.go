package kit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Wire is a link in user space that delays and loses packets. Unlike netem it needs no module of the kernel, and unlike
// a firewall it leaves no trace in the kernel of this machine: the packets are lost outside it, as on a real line.
type Wire struct {
	// Delay is added to each packet.
	Delay time.Duration
	// Loss is the fraction of packets that the wire loses; 1 loses all.
	Loss float64

	passed, lost atomic.Uint64
}

// Passed returns the number of packets that have passed the wire.
func (w *Wire) Passed() uint64 { return w.passed.Load() }

// Lost returns the number of packets that the wire has lost.
func (w *Wire) Lost() uint64 { return w.lost.Load() }

// wirePackets is the number of packets that a wire holds. More wait in the queue of its device.
const wirePackets = 4096

// wires counts the wires of this process, for the names of their devices and tables.
var wires atomic.Uint32

// Wire routes the packets that a node on this machine (NeedOwn) sends to an IPv4 address through a wire, until the end
// of the test. Conntrack of the node must not translate them: a client of a Service runs on another node.
func (e *Env) Wire(t testing.TB, node string, to netip.Addr, w *Wire) {
	t.Helper()
	layWire(t, nodeNetwork(t, node), to, w)
}

// layWire is Wire in a network namespace, by the path of its file.
func layWire(t testing.TB, network string, to netip.Addr, w *Wire) {
	t.Helper()
	n := wires.Add(1)
	in, out := fmt.Sprintf("orb8wire%di", n), fmt.Sprintf("orb8wire%do", n)
	devices, err := openTUNs(network, in, out)
	if err != nil {
		t.Fatalf("a wire to %s: %v", to, err)
	}
	var running sync.WaitGroup
	running.Go(func() { w.carry(devices[0], devices[1]) })
	t.Cleanup(func() {
		// The devices end with their files, and with them the routes.
		if err := errors.Join(devices[0].Close(), devices[1].Close()); err != nil {
			t.Errorf("close the wire to %s: %v", to, err)
		}
		running.Wait()
	})
	run := func(input string, args ...string) {
		t.Helper()
		cmd := exec.Command("nsenter", append([]string{"--net=" + network}, args...)...)
		cmd.Stdin = strings.NewReader(input)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("a wire to %s: %q: %v: %s", to, args, err, out)
		}
	}
	// Packets enter the wire by a rule for the address. Those that come out of it follow the main table.
	table, priority := fmt.Sprint(8800+n), fmt.Sprint(100+2*n)
	after := fmt.Sprint(101 + 2*n)
	run("", "ip", "link", "set", in, "up")
	run("", "ip", "link", "set", out, "up")
	run("", "sysctl", "-qw", "net.ipv4.conf."+out+".rp_filter=0")
	run("", "ip", "route", "add", "default", "dev", in, "table", table)
	run("", "ip", "rule", "add", "iif", out, "lookup", "main", "priority", priority)
	run("", "ip", "rule", "add", "to", to.String(), "lookup", table, "priority", after)
	t.Cleanup(func() {
		run("", "ip", "rule", "del", "priority", priority)
		run("", "ip", "rule", "del", "priority", after)
	})
	// Conntrack has seen them before, and would take some for invalid.
	untracked := "table ip " + out
	run(fmt.Sprintf("%s {\n chain pre {\n type filter hook prerouting priority raw;\n iifname %q notrack\n }\n}\n",
		untracked, out), "nft", "-f", "-")
	t.Cleanup(func() { run("delete "+untracked+"\n", "nft", "-f", "-") })
	if t.Failed() {
		t.FailNow()
	}
}

// openTUNs creates TUN devices in a network namespace. They exist while their files are open.
func openTUNs(network string, names ...string) (files []*os.File, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread stays in the namespace, and ends with the goroutine
		var ns *os.File
		if ns, err = os.Open(network); err != nil {
			return
		}
		if err = errors.Join(unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET), ns.Close()); err != nil {
			return
		}
		for _, name := range names {
			f, openErr := openTUN(name)
			if openErr != nil {
				err = fmt.Errorf("create %s: %w", name, openErr)
				return
			}
			files = append(files, f)
		}
	}()
	<-done
	if err != nil {
		for _, f := range files {
			f.Close()
		}
	}
	return files, err
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// carry carries packets from one device to the other until they are closed.
func (w *Wire) carry(in, out *os.File) {
	type packet struct {
		data []byte
		due  time.Time
	}
	held := make(chan packet, wirePackets)
	var running sync.WaitGroup
	defer running.Wait()
	defer close(held)
	running.Go(func() {
		for p := range held {
			time.Sleep(time.Until(p.due))
			if _, err := out.Write(p.data); err == nil {
				w.passed.Add(1)
			}
		}
	})
	for {
		data := make([]byte, 1<<16)
		n, err := in.Read(data)
		if errors.Is(err, unix.EIO) {
			time.Sleep(poll) // the device is not up yet
			continue
		}
		if err != nil {
			return
		}
		if w.Loss > 0 && rand.Float64() < w.Loss {
			w.lost.Add(1)
			continue
		}
		held <- packet{data[:n:n], time.Now().Add(w.Delay)}
	}
}
