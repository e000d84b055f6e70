package kit

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Tcpdump starts tcpdump on the device eth0 of the pod (NeedOwn). stop ends it, when so many packets that match an
// expression are in its file, and returns the file's name: what it has not read of the kernel then, it drops.
func (p *Pod) Tcpdump(t testing.TB, expression string) (stop func(last string, n int) string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), p.Name+".pcap")
	// By default its buffer of 2 MiB has eight places of 256 KiB, and it drops what a burst has more. This one has 32
	// MiB, for the largest packets of IP.
	cmd := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", p.HostPID(t)), "tcpdump", "-i", "eth0", "-Z",
		"root", "--immediate-mode", "-B", "32768", "-s", "66000", "-U", "-w", file, expression)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	var printed []string
	for lines.Scan() && !strings.Contains(lines.Text(), "listening on") {
		printed = append(printed, lines.Text())
	}
	stopped := false
	end := func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		for lines.Scan() {
			printed = append(printed, lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("tcpdump: %v: %s", err, strings.Join(printed, "; "))
		}
	}
	t.Cleanup(end)
	return func(last string, n int) string {
		t.Helper()
		awaitInFile(t, file, last, n)
		end()
		return file
	}
}

// awaitInFile waits until a file that tcpdump writes has so many packets that match an expression.
func awaitInFile(t testing.TB, file, expression string, n int) {
	t.Helper()
	var count int
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		// The last packet may be half written: then it is not counted.
		out, _ := exec.Command("tcpdump", "-Z", "root", "-nn", "-t", "-r", file, expression).Output()
		if count = strings.Count(string(out), "\n"); count >= n {
			return
		}
	}
	t.Fatalf("tcpdump has written %d packets with %s, want %d", count, expression, n)
}

// packetLine begins with the offset of 16 bytes of a packet.
var packetLine = regexp.MustCompile(`(?m)^\t0x([0-9a-f]{4}): *([0-9a-f ]*)$`)

// PacketBytes returns the packets of a capture, each from its IP header on, in hex, as tcpdump reads them.
func PacketBytes(t testing.TB, file string, expression ...string) (packets []string) {
	t.Helper()
	cmd := exec.Command("tcpdump", append([]string{"-Z", "root", "-nn", "-t", "-x", "-r", file}, expression...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tcpdump -r %s: %v: %s", file, err, stderr.String())
	}
	for _, m := range packetLine.FindAllStringSubmatch(string(out), -1) {
		text := strings.ReplaceAll(m[2], " ", "")
		if m[1] == "0000" {
			packets = append(packets, text)
		} else {
			packets[len(packets)-1] += text
		}
	}
	return packets
}

// Tshark reads a capture and returns the lines that it prints. cut is for a file whose end is missing.
func Tshark(t testing.TB, file string, cut bool, args ...string) []string {
	t.Helper()
	cmd := exec.Command("tshark", append([]string{"-r", file}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && !(cut && strings.Contains(stderr.String(), "cut short")) {
		t.Fatalf("tshark -r %s %q: %v: %s", file, args, err, stderr.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}
