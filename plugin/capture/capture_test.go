package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const started = 1_796_000_000_123_456_789

// udp4 is a packet of UDP.
func udp4(src, dst string, payload int) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	b := make([]byte, 28+payload)
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], s.Addr().AsSlice())
	copy(b[16:], d.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], s.Port())
	binary.BigEndian.PutUint16(b[22:], d.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+payload))
	return b
}

// packet is an event of a pod.
func packet(n int, pod string, data []byte, change func(*event.Packet)) *event.Event {
	p := &event.Packet{Direction: event.PacketDirection_PACKET_DIRECTION_SENT, Length: uint32(len(data)), Data: data}
	if change != nil {
		change(p)
	}
	return &event.Event{
		Time: started + uint64(n), Node: "node-1", Namespace: "shop", Pod: pod, Container: "app",
		Workload: "deploy/web",
		Kind:     &event.Event_Packet{Packet: p},
	}
}

func process(p *event.Packet) { p.Pid, p.Comm = 4711, []byte("nc\x1b[0m") }

func received(p *event.Packet) { p.Direction = event.PacketDirection_PACKET_DIRECTION_RECEIVED }

func lost(pod string, n uint64) *event.Event {
	return &event.Event{
		Time: started, Node: "node-1", Namespace: "shop", Pod: pod,
		Kind: &event.Event_Lost{Lost: &event.Lost{Count: n, Stage: event.LossStage_LOSS_STAGE_KERNEL_BUFFER}},
	}
}

// namer knows one pod and one Service.
type namer struct{}

func (namer) Name(a netip.Addr, port uint16, _ event.Protocol) collect.Name {
	switch {
	case a == netip.MustParseAddr("10.0.0.1"):
		return collect.Name{Namespace: "shop", Pod: "web-0", Node: "node-1"}
	case a == netip.MustParseAddr("10.96.0.10") && port == 53:
		return collect.Name{Service: "kube-dns", ServiceNamespace: "kube-system"}
	}
	return collect.Name{}
}

func (namer) Backs(netip.AddrPort, netip.AddrPort, event.Protocol) bool { return false }

// write captures events into files.
func write(t *testing.T, c Config, events ...*event.Event) *Writer {
	t.Helper()
	if c.End == nil {
		c.End = func() {}
	}
	c.Application, c.Namer = "kubectl orb8 test", namer{}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if err := w.Show(ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

func tshark(t *testing.T, file string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark")
	}
	out, err := exec.Command("tshark", append([]string{"-r", file}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("tshark %q: %v: %s", args, err, out)
	}
	return string(out)
}

// dialogue are packets of two pods and their losses.
func dialogue() []*event.Event {
	query, answer := udp4("10.0.0.1:4000", "10.96.0.10:53", 20), udp4("10.96.0.10:53", "10.0.0.1:4000", 30)
	return []*event.Event{
		packet(0, "web-0", query, nil),
		packet(1, "web-0", answer, received),
		packet(2, "web-0", query, process),
		packet(3, "web-0", query, process),
		packet(4, "db-0", udp4("10.0.0.9:1", "10.0.0.1:2", 100)[:60], func(p *event.Packet) { p.Length = 128 }),
		lost("web-0", 7),
		{Node: "node-1", Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{}}},
	}
}

func TestWriter_AsTsharkReadsIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "all.pcapng")
	w := write(t, Config{Files: &Files{Name: file}, Filter: "udp"}, dialogue()...)
	if w.Shown() != 5 {
		t.Errorf("%d packets", w.Shown())
	}
	fields := []string{"-T", "fields", "-Nn"}
	for _, f := range []string{"frame.time_epoch", "frame.interface_name", "frame.len", "frame.cap_len", "ip.src_host",
		"ip.dst_host", "udp.dstport", "frame.packet_flags_direction", "frame.comment"} {
		fields = append(fields, "-e", f)
	}
	const pod = `pod shop/web-0, container app, node node-1`
	want := strings.Join([]string{
		"1796000000.123456789|shop/web-0|64|64|web-0.shop|kube-dns.kube-system.svc|53|0x00000002|" + pod,
		"1796000000.123456790|shop/web-0|74|74|kube-dns.kube-system.svc|web-0.shop|4000|0x00000001|",
		"1796000000.123456791|shop/web-0|64|64|web-0.shop|kube-dns.kube-system.svc|53|0x00000002|" +
			`process nc\x1b[0m, pid 4711`,
		"1796000000.123456792|shop/web-0|64|64|web-0.shop|kube-dns.kube-system.svc|53|0x00000002|",
		"1796000000.123456793|shop/db-0|144|76|10.0.0.9|web-0.shop|2|0x00000002|" +
			"pod shop/db-0, container app, node node-1",
	}, "\n") + "\n"
	if got := strings.ReplaceAll(tshark(t, file, fields...), "\t", "|"); !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWriter_Statistics(t *testing.T) {
	var out bytes.Buffer
	write(t, Config{Files: &Files{Name: Stdout, Stdout: &out}}, dialogue()...)
	got := map[uint32][2]uint64{}
	for _, b := range blocks(t, out.Bytes()) {
		if binary.LittleEndian.Uint32(b) == 5 {
			o := options(b[20 : len(b)-4])
			got[binary.LittleEndian.Uint32(b[8:])] = [2]uint64{number(o[4]), number(o[5])}
		}
	}
	if len(got) != 2 || got[0] != [2]uint64{4 + 7, 7} || got[1] != [2]uint64{1, 0} {
		t.Errorf("received and dropped: %v", got)
	}
}

// blocks splits a file into its blocks.
func blocks(t *testing.T, file []byte) (all [][]byte) {
	t.Helper()
	for len(file) > 0 {
		n := int(binary.LittleEndian.Uint32(file[4:]))
		if n%4 != 0 || n > len(file) || int(binary.LittleEndian.Uint32(file[n-4:])) != n {
			t.Fatalf("a block of %d bytes in %d", n, len(file))
		}
		all, file = append(all, file[:n]), file[n:]
	}
	return all
}

// options returns the values of options by their codes.
func options(b []byte) map[uint16][]byte {
	all := map[uint16][]byte{}
	for len(b) >= 4 {
		code, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if code == 0 {
			break
		}
		all[code] = b[4 : 4+n]
		b = b[4+(n+3)/4*4:]
	}
	return all
}

func number(b []byte) uint64 {
	if len(b) != 8 {
		return 1 << 63
	}
	return binary.LittleEndian.Uint64(b)
}

func TestWriter_EndsAtLimits(t *testing.T) {
	var many []*event.Event
	for i := range 100 {
		many = append(many, packet(i, "web-0", udp4("10.0.0.1:1", "10.0.0.2:2", 100), nil))
	}
	for name, c := range map[string]Config{"packets": {MaxPackets: 10}, "bytes": {MaxBytes: 5000}} {
		var out bytes.Buffer
		ended := 0
		c.Files, c.End = &Files{Name: Stdout, Stdout: &out}, func() { ended++ }
		w := write(t, c, many...)
		if ended != 1 || c.MaxPackets > 0 && w.Shown() != 10 || w.Shown() < 5 || w.Shown() > 40 ||
			c.MaxBytes > 0 && out.Len() > 5200 { // and the statistics
			t.Errorf("%s: ended %d times after %d packets, %d bytes", name, ended, w.Shown(), out.Len())
		}
	}
}

func TestFiles_Ring(t *testing.T) {
	dir := t.TempDir()
	var many []*event.Event
	for i := range 100 {
		many = append(many, packet(i, fmt.Sprint("pod-", i%3), udp4("10.0.0.1:1", "10.0.0.2:2", 400), nil))
	}
	w := write(t, Config{Files: &Files{Name: filepath.Join(dir, "ring.pcapng"), RotateBytes: 10_000, Keep: 3}}, many...)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%v, %v", entries, err)
	}
	_, files := w.Written()
	packets, last := 0, ""
	for i, e := range entries {
		path := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil || files[i] != path || len(b) > 10_700 { // and the statistics
			t.Errorf("%s: %d bytes, %v", e.Name(), len(b), err)
		}
		last = e.Name()
		for i, b := range blocks(t, b) {
			kind := binary.LittleEndian.Uint32(b)
			if i == 0 && kind != 0x0A0D0D0A || i == 1 && kind != 1 {
				t.Errorf("%s: block %d is of type %x", e.Name(), i, kind)
			}
			if kind == 6 {
				packets++
			}
		}
		tshark(t, path)
	}
	if last < "ring-00005.pcapng" || packets < 40 || packets > 75 {
		t.Errorf("%d packets, the last file is %s", packets, last)
	}
}

func TestFiles_Refusals(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.pcapng")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		file: "overwrite it with --force", dir: "is a directory", filepath.Join(dir, "no", "b"): "no such file",
		filepath.Join(file, "c"): "not a directory",
	} {
		err := (&Files{Name: name}).Check()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if err := (&Files{Name: name}).open(); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	f := &Files{Name: file, Force: true}
	if err := errors.Join(f.Check(), f.open(), f.close()); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() != 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// short is a file on a disk that takes limit bytes more.
type short struct {
	limit int
	got   []byte
}

func (s *short) Write(b []byte) (int, error) {
	n := min(len(b), s.limit)
	s.limit -= n
	s.got = append(s.got, b[:n]...)
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// TestWriter_Discard removes the file of a capture without packets, if the capture has made it.
func TestWriter_Discard(t *testing.T) {
	old := filepath.Join(t.TempDir(), "old.pcapng")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := packet(0, "pod", udp4("10.0.0.1:1", "10.0.0.2:2", 10), nil)
	for name, test := range map[string]struct {
		files  Files
		events []*event.Event
		left   bool
	}{
		"made":        {files: Files{Name: filepath.Join(t.TempDir(), "a.pcapng")}},
		"overwritten": {files: Files{Name: old, Force: true}, left: true},
		"packets": {
			files: Files{Name: filepath.Join(t.TempDir(), "b.pcapng")}, events: []*event.Event{one}, left: true,
		},
	} {
		w := write(t, Config{Files: &test.files}, test.events...)
		if err := w.Discard(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(test.files.Name); (err == nil) != test.left {
			t.Errorf("%s: %v, want the file to be left: %t", name, err, test.left)
		}
	}
}

func TestWriter_FullDisk(t *testing.T) {
	disk := &short{limit: 2000}
	ended := 0
	w, err := New(Config{Files: &Files{Name: Stdout, Stdout: disk}, End: func() { ended++ }})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil && i < 10_000; i++ {
		err = w.Show(packet(i, "web-0", udp4("10.0.0.1:1", "10.0.0.2:2", 100), nil))
	}
	if !errors.Is(err, syscall.ENOSPC) || !errors.Is(w.Close(), syscall.ENOSPC) || ended != 1 {
		t.Errorf("%v, ended %d times", err, ended)
	}
}

// TestFiles_EndWithAWholeBlock fills a disk: a file limit stands for it.
func TestFiles_EndWithAWholeBlock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "cut")
	f := &Files{Name: name}
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	file := f.file.(*os.File)
	f.file = &limited{File: file, left: 250}
	for range 4 {
		if err := f.add(bytes.Repeat([]byte{1}, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if info, err := os.Stat(name); err != nil || info.Size() != 200 {
		t.Errorf("%v, %v", info, err)
	}
}

type limited struct {
	*os.File
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n, err := l.File.Write(b[:min(len(b), l.left)])
	if l.left -= n; err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

func TestWriter_ReaderGone(t *testing.T) {
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := New(Config{Files: &Files{Name: Stdout, Stdout: out}, End: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil && i < 10_000; i++ {
		err = w.Show(packet(i, "web-0", udp4("10.0.0.1:1", "10.0.0.2:2", 100), nil))
	}
	if !errors.Is(err, io.ErrClosedPipe) || !errors.Is(w.Close(), io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

func TestWriter_BoundsItsMemory(t *testing.T) {
	var out bytes.Buffer
	var many []*event.Event
	for i := range maxPods + 100 {
		many = append(many, packet(i, fmt.Sprint("pod-", i), udp4("10.0.0.1:1", "10.0.0.2:2", 1), nil))
	}
	w, err := New(Config{Files: &Files{Name: Stdout, Stdout: &out}, End: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range many {
		if err := w.Show(ev); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.order) != maxPods+1 || len(w.interfaces) != maxPods+1 {
		t.Errorf("%d interfaces", len(w.order))
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if kinds := slices.Collect(func(yield func(uint32) bool) {
		for _, b := range blocks(t, out.Bytes()) {
			if binary.LittleEndian.Uint32(b) == 6 && !yield(binary.LittleEndian.Uint32(b[8:])) {
				return
			}
		}
	}); len(kinds) != len(many) || kinds[len(kinds)-1] != maxPods {
		t.Errorf("%d packets, the last one at interface %d", len(kinds), kinds[len(kinds)-1])
	}
}

// FuzzWriter writes packets of any bytes: what is written are whole blocks.
func FuzzWriter(f *testing.F) {
	f.Add(udp4("10.0.0.1:1", "10.0.0.2:2", 9), "web-0", "app", uint32(3))
	f.Add([]byte{0x60}, "", "\xff", uint32(0))
	f.Fuzz(func(t *testing.T, data []byte, pod, container string, length uint32) {
		var out bytes.Buffer
		ev := packet(0, pod, data, process)
		ev.Container, ev.GetPacket().Length = container, length
		received := packet(1, pod, data, received)
		write(t, Config{Files: &Files{Name: Stdout, Stdout: &out}}, ev, received)
		packets := 0
		for _, b := range blocks(t, out.Bytes()) {
			if binary.LittleEndian.Uint32(b) != 6 {
				continue
			}
			packets++
			captured, whole := binary.LittleEndian.Uint32(b[20:]), binary.LittleEndian.Uint32(b[24:])
			if int(captured) != 16+len(data) || whole < captured || !bytes.Equal(b[28+16:28+captured], data) {
				t.Errorf("%d of %d bytes", captured, whole)
			}
		}
		if packets != 2 {
			t.Errorf("%d packets", packets)
		}
	})
}
