package resources

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const netstat = `TcpExt: SyncookiesSent ListenOverflows ListenDrops
TcpExt: 1 22 333
IpExt: InNoRoutes ListenOverflows
IpExt: 4 5
`

func TestListenReader_Parse(t *testing.T) {
	var l listenReader
	for name, c := range map[string]struct {
		text string
		want *uint64
	}{
		"the counter":           {netstat, ptr[uint64](22)},
		"of another kernel":     {strings.Replace(netstat, "SyncookiesSent ", "", 1), ptr[uint64](1)},
		"without the counter":   {strings.ReplaceAll(netstat, "ListenOverflows", "X"), nil},
		"without the group":     {strings.ReplaceAll(netstat, "TcpExt", "X"), nil},
		"without numbers":       {"TcpExt: A ListenOverflows\n", nil},
		"with too few of them":  {"TcpExt: A ListenOverflows\nTcpExt: 1\n", nil},
		"with something else":   {"TcpExt: A ListenOverflows\nTcpExt: 1 x\n", nil},
		"nothing":               {"", nil},
		"of the kernel before":  {netstat, ptr[uint64](22)},
		"after another layout":  {"TcpExt: ListenOverflows\nTcpExt: 7\n", ptr[uint64](7)},
		"with a negative value": {"TcpExt: ListenOverflows\nTcpExt: -1\n", nil},
	} {
		if got := l.parse([]byte(c.text)); (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// directory returns a directory with a cgroup.procs of this process.
func directory(t testing.TB, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/cgroup.procs", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestListenReader_CountsOverflows fills the accept queue of a listener in this test's network namespace.
func TestListenReader_CountsOverflows(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, as which bpftest.Main runs tests in a network namespace of their own")
	}
	l := newListenReader("/proc")
	own := directory(t, fmt.Sprintf("%d\n1\n", os.Getpid()))
	before := l.read(own)
	if before == nil {
		t.Fatal("the counter is not known")
	}
	listener := socket(t)
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(listener, 1); err != nil { // room for two
		t.Fatal(err)
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := unix.Connect(socket(t), address); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(waitTimeout)
	for {
		now := l.read(own)
		if now == nil {
			t.Fatal("the counter is not known any more")
		}
		if *now > *before {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the third connection is not counted: %d, before %d", *now, *before)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for name, dir := range map[string]string{
		"of a process of the node": directory(t, "1\n"), "without a process": directory(t, ""),
		"of a process elsewhere": directory(t, "0\n"), "of a process that is gone": directory(t, "4194305\n"),
		"of no cgroup": t.TempDir(),
	} {
		if n := l.read(dir); n != nil {
			t.Errorf("%s: %d, want unknown", name, *n)
		}
	}
}

func socket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func BenchmarkListenReader(b *testing.B) {
	l := newListenReader("/proc")
	l.node = 1 // also where this is the node's own network
	own := directory(b, fmt.Sprintf("%d\n", os.Getpid()))
	b.ReportAllocs()
	for b.Loop() {
		if l.read(own) == nil {
			b.Fatal("the counter is not known")
		}
	}
}
