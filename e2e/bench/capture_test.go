//go:build bench

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

const (
	// capturedRate is how many packets a second the measured pod sends: datagrams that are packets of 200 bytes.
	capturedRate    = 100_000
	capturedPayload = 200 - 20 - 8
	capturedFilter  = "udp dst port 7000"
)

// stream sends such packets for so many seconds. It returns how many were sent and how many the server's network took
// in, each a second.
func stream(t *testing.T, client, server *kit.Pod, seconds int) (count int, sent, received float64) {
	t.Helper()
	count = capturedRate * seconds
	before := datagramsIn(t, server)
	r := client.Exec(t, "udp", "-to", at(server, t), "-connected", "-count", strconv.Itoa(count), "-size",
		strconv.Itoa(capturedPayload), "-rate", strconv.Itoa(capturedRate))[0]
	took := r.End.Sub(r.Start).Seconds()
	return count, float64(r.DatagramsSent) / took, float64(datagramsIn(t, server)-before) / took
}

// datagramsIn returns the datagrams that came to sockets of the pod, also those that found no room in a buffer.
func datagramsIn(t *testing.T, pod *kit.Pod) (n uint64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", pod.HostPID(t)))
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]string
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); fields[0] == "Udp:" {
			lines = append(lines, fields)
		}
	}
	if len(lines) != 2 || len(lines[0]) != len(lines[1]) {
		t.Fatalf("/proc/PID/net/snmp has other lines of Udp than names and numbers: %q", lines)
	}
	for i, name := range lines[0] {
		if name != "InDatagrams" && name != "RcvbufErrors" {
			continue
		}
		v, err := strconv.ParseUint(lines[1][i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		n += v
	}
	return n
}

// TestCapture_100000PerSecond captures what a pod sends, and counts what is in the file.
func TestCapture_100000PerSecond(t *testing.T) {
	e := need(t)
	ns, client, server := pairOn(t, e, e.Nodes[0], e.Nodes[0])
	stream(t, client, server, 1)
	calm(t)
	file := filepath.Join(t.TempDir(), "flood.pcapng")
	tr := e.Trace(t, "capture", "client", "-n", ns, "--filter", capturedFilter, "-w", file)
	tr.AwaitStreaming(t, 1)
	count, sent, received := stream(t, client, server, 10)
	rss, viewer := tracerRSS(t, e), residentMiB(t, tr.PID())
	tr.Stop(t)
	captured, lost := packetsIn(t, file), lostPackets(t, tr.Stderr())
	t.Log(tr.Stderr())
	row(t, fmt.Sprintf("packets of 200 bytes that a captured pod sent in 10 s (%.0f/s; %.0f/s arrived): in the file, "+
		"and counted as lost", sent, received), fmt.Sprintf("%d: %d, %d", count, captured, lost),
		"none lost, or all counted")
	row(t, "memory at the end of this load (RSS)", fmt.Sprintf("tracer %.0f MiB, viewer %.0f MiB", rss, viewer), "")
	if captured+lost != count {
		t.Errorf("%d captured, %d lost: %d of %d are not accounted for", captured, lost, count-captured-lost, count)
	}
}

// TestCapture_Throughput compares how much of the same load arrives with a capture, with tcpdump, and without.
func TestCapture_Throughput(t *testing.T) {
	e := need(t)
	ns, client, server := pairOn(t, e, e.Nodes[0], e.Nodes[0])
	load := func() float64 {
		_, _, received := stream(t, client, server, 2)
		return received
	}
	load()
	without := func() float64 {
		calm(t)
		return load()
	}
	report := func(what string, ratios []float64, goal string) {
		low, high := interval(ratios)
		row(t, fmt.Sprintf("these packets that arrive with %s relative to without (median of %d pairs)", what, pairs),
			fmt.Sprintf("%.1f %% (%.1f–%.1f %%)", 100*median(ratios), 100*low, 100*high), goal)
	}
	file := filepath.Join(t.TempDir(), "one.pcapng")
	report("a capture", alternate(without, func() float64 {
		tr := e.Trace(t, "capture", "client", "-n", ns, "--filter", capturedFilter, "--force", "-w", file)
		tr.AwaitStreaming(t, 1)
		calm(t)
		v := load()
		tr.Stop(t)
		return v
	}), "≥ 95 %")
	report("tcpdump in the pod's network", alternate(without, func() float64 {
		stop := client.Tcpdump(t, capturedFilter)
		calm(t)
		v := load()
		if err := os.Remove(stop(capturedFilter, 1)); err != nil {
			t.Error(err)
		}
		return v
	}), "")
}

// packetsIn returns the number of packets of a file.
func packetsIn(t *testing.T, file string) int {
	t.Helper()
	out, err := exec.Command("capinfos", "-c", "-M", "-T", "-r", file).CombinedOutput()
	if err != nil {
		t.Fatalf("capinfos: %v: %s", err, out)
	}
	fields := strings.Fields(string(out))
	n, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		t.Fatalf("capinfos: %q", out)
	}
	return n
}

var lostParts = regexp.MustCompile(`([0-9]+) at \S+ \(`)

// lostPackets sums the losses of the closing line.
func lostPackets(t *testing.T, stderr string) (sum int) {
	t.Helper()
	_, lost, _ := strings.Cut(stderr, "LOST ")
	for _, m := range lostParts.FindAllStringSubmatch(lost, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
