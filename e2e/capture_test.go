package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestCapture compares the packets of a capture with those of tcpdump at the device of the pod, byte by byte.
func TestCapture(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-tcp", ":7000",
			"-udp", ":7000"}})
	client, server := pods[0], pods[1]
	file := filepath.Join(t.TempDir(), "all.pcapng")
	all := e.Trace(t, "capture", "-n", ns, "-w", file, "--fail-on-loss")
	all.AwaitStreaming(t, 2)
	stops := []func(string, int) string{client.Tcpdump(t, "tcp or udp"), server.Tcpdump(t, "tcp or udp")}

	for _, v6 := range []bool{false, true} {
		to := netip.AddrPortFrom(server.IP(t, v6), 7000).String()
		client.Exec(t, "tcp", "-to", to, "-send", "300000", "-recv", "200000")
		client.Exec(t, "udp", "-to", to, "-count", "5", "-size", "100")
	}
	client.Exec(t, "dns", "-name", "kubernetes.default.svc.cluster.local.", "-network", "ip4")
	awaitPackets(t, file, `dns.flags.response == 1`)
	all.Stop(t)
	if !strings.Contains(all.Stderr(), "packets, ") || !strings.Contains(all.Stderr(), "nothing lost") {
		t.Errorf("stderr:\n%s", all.Stderr())
	}

	// The last packets: the answer to the lookup, and the datagrams over both versions of IP.
	files := []string{stops[0]("udp and src port 53", 1), stops[1]("udp and dst port 7000", 10)}
	for i, pod := range pods {
		t.Run(pod.Name, func(t *testing.T) {
			comparePackets(t, file, files[i], ns+"/"+pod.Name)
		})
	}
	t.Run("names", func(t *testing.T) { checkNames(t, file, ns, e.Nodes) })
}

// awaitPackets waits until a capture that is being written has a packet that a display filter of tshark matches.
func awaitPackets(t *testing.T, file, filter string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if kit.Tshark(t, file, true, "-Y", filter)[0] != "" {
			return
		}
	}
	t.Fatalf("no packet with %s", filter)
}

// comparePackets expects the packets of tcpdump at a pod's interface, but those without a socket.
func comparePackets(t *testing.T, file, tcpdump, pod string) {
	t.Helper()
	own := filepath.Join(t.TempDir(), "own.pcapng")
	kit.Tshark(t, file, false, "-Y", fmt.Sprintf("frame.interface_name == %q", pod), "-w", own)
	ours, theirs := kit.PacketBytes(t, own), kit.PacketBytes(t, tcpdump)
	left := slices.Clone(theirs)
	for _, p := range ours {
		i := slices.Index(left, p)
		if i < 0 {
			t.Errorf("%d bytes that tcpdump has not: %.120s", len(p)/2, p)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	t.Logf("%d packets, tcpdump %d", len(ours), len(theirs))
	for _, p := range left {
		if !withoutSocket(p) {
			t.Errorf("only tcpdump has %d bytes: %.160s", len(p)/2, p)
		}
	}
	if len(ours) < 40 {
		t.Errorf("only %d packets", len(ours))
	}
}

// withoutSocket reports whether a packet, in hex, is one that may have no socket: at the end of a TCP connection, the
// FIN that comes after the pod's own, and what answers it.
func withoutSocket(packet string) bool {
	b, err := hex.DecodeString(packet)
	if err != nil || len(b) < 40 {
		return false
	}
	protocol, tcp, length := b[9], b[int(b[0]&15)*4:], int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 == 6 {
		protocol, tcp, length = b[6], b[40:], 40+int(binary.BigEndian.Uint16(b[4:]))
	}
	if protocol != 6 || len(tcp) < 20 {
		return false
	}
	payload, flags := length-(len(b)-len(tcp))-int(tcp[12]>>4)*4, tcp[13]
	const fin, syn, ack = 1, 2, 16
	return payload == 0 && flags&syn == 0 && (flags&fin != 0 || flags == ack)
}

// checkNames expects names, comments and counters in the file, as tshark shows them.
func checkNames(t *testing.T, file, ns string, nodes []string) {
	t.Helper()
	args := []string{"-Nn", "-T", "fields", "-E", "separator=|"}
	for _, field := range []string{"frame.interface_name", "frame.interface_description", "ip.src_host", "ip.dst_host",
		"frame.packet_flags_direction", "tcp.flags.syn", "tcp.flags.ack", "frame.comment"} {
		args = append(args, "-e", field)
	}
	got := strings.Join(kit.Tshark(t, file, false, args...), "\n")
	for _, want := range []string{
		`(?m)^NS/client\|pod on node NODE1\|client\.NS\|server\.NS\|0x00000002\|(1|True)\|(0|False)\|` +
			`pod NS/client, container workload, node NODE1,process workload, pid \d+$`,
		`(?m)^NS/server\|pod on node NODE2\|client\.NS\|server\.NS\|0x00000001\|(1|True)\|(0|False)\|` +
			`pod NS/server, container workload, node NODE2$`,
		`(?m)^NS/server\|.*\|server\.NS\|client\.NS\|0x00000002\|.*\|process workload, pid \d+$`,
		`(?m)^NS/client\|.*\|client\.NS\|kube-dns\.kube-system\.svc\|0x00000002\|`,
	} {
		want = strings.NewReplacer("NS", ns, "NODE1", nodes[0], "NODE2", nodes[1]).Replace(want)
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("no line matches %s in\n%.3000s", want, got)
		}
	}
}

// TestCapture_Cut kills a capture with a filter, and reads what it has written.
func TestCapture_Cut(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	pod := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0], Args: []string{"serve", "-quiet",
		"-tcp", ":7000", "-udp", ":7000"}})[0]
	tr := e.Trace(t, "capture", "client", "-n", ns, "-w", "-", "--filter", "udp port 7000 and greater 100", "--snaplen",
		"60")
	tr.AwaitStreaming(t, 1)
	pod.Exec(t, "tcp", "-to", "127.0.0.1:7000", "-send", "1000", "-recv", "1000")
	pod.Exec(t, "udp", "-to", "127.0.0.1:7000", "-count", "3", "-size", "32")
	pod.Exec(t, "udp", "-to", "127.0.0.1:7000", "-count", "3", "-size", "500")
	awaitPackets(t, tr.Output, "udp")
	tr.Signal(t, syscall.SIGKILL)
	tr.Wait(t)
	info, err := os.Stat(tr.Output)
	if err == nil {
		err = os.Truncate(tr.Output, info.Size()-5)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range kit.Tshark(t, tr.Output, true, "-T", "fields", "-e", "frame.len", "-e", "frame.cap_len") {
		if line != "544\t76" { // with the header in place of a device's
			t.Errorf("a packet of %s bytes", line)
		}
	}
}

// TestCapture_Refusals checks errors that need no tracer, and a disk that is full.
func TestCapture_Refusals(t *testing.T) {
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "quiet"})
	existing := filepath.Join(t.TempDir(), "existing.pcapng")
	if err := os.WriteFile(existing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-w", existing}, 1, "the file exists: choose another name, or overwrite it with --force"},
		{[]string{"-w", "/nowhere/x.pcapng"}, 1, "no such file or directory"},
		{[]string{"-w", "/dev/full"}, 1, "no space left on device"},
		{[]string{}, 2, "-w is missing"},
		{[]string{"-w", "-", "--filter", "tcp prot 80"}, 2, `column 5: unexpected "prot"`},
	} {
		tr := e.Trace(t, append([]string{"capture", "-n", ns}, test.args...)...)
		if code := tr.Wait(t); code != test.code || !strings.Contains(tr.Stderr(), test.want) {
			t.Errorf("%q: exit code %d, want %d with %q:\n%s", test.args, code, test.code, test.want, tr.Stderr())
		}
	}
	// A capture that no node takes part in leaves no file that the next try would meet.
	absent := filepath.Join(t.TempDir(), "absent.pcapng")
	tr := e.Trace(t, "capture", "-n", ns, "-w", absent, "--image", "orb8.dev/e2e/absent:none", "--image-pull-policy",
		"Never")
	if code := tr.Wait(t); code != 1 || !strings.Contains(tr.Stderr(), "no node could be traced") {
		t.Errorf("exit code %d, want 1 as no node can be traced:\n%s", code, tr.Stderr())
	}
	if _, err := os.Stat(absent); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", absent, err)
	}
}
