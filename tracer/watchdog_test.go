//go:build linux

package tracer

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog_ExpiresAfterTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchdog(10*time.Second, 4*time.Second)
		defer w.stop()
		begin := time.Now()
		time.Sleep(9 * time.Second)
		w.heard()
		time.Sleep(3300 * time.Millisecond) // not when a step ends
		w.heard()
		<-w.expired
		if after := time.Since(begin); after != 16300*time.Millisecond || !w.met.Load() {
			t.Errorf("expired after %v, want 16.3s", after)
		}
		w.heard() // too late
	})
}

func TestWatchdog_NoContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		w := newWatchdog(8*time.Second, time.Second)
		defer w.stop()
		<-w.expired
		if after := time.Since(begin); after != 8*time.Second || w.met.Load() {
			t.Errorf("expired after %v, want 8s", after)
		}
	})
}

// stalled is the variable that makes the test's own binary the stopped process.
const stalled = "ORB8_TEST_WATCHDOG"

const stalledTimeout = 800 * time.Millisecond

// TestWatchdog_SurvivesStall stops a process for longer than its timeout while its client sends heartbeats.
func TestWatchdog_SurvivesStall(t *testing.T) {
	if os.Getenv(stalled) != "" {
		superviseStdin()
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWatchdog_SurvivesStall$")
	cmd.Env = append(os.Environ(), stalled+"=1", "GOMAXPROCS=1") // as a tracer
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Scan() // it runs
	signal := func(s syscall.Signal) {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	beat := func(d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			_, _ = io.WriteString(stdin, "heartbeat\n") // it may have ended
		}
	}
	beat(200 * time.Millisecond)
	signal(syscall.SIGSTOP)
	beat(2 * stalledTimeout)
	signal(syscall.SIGCONT)
	beat(2 * stalledTimeout)
	stdin.Close()
	lines.Scan()
	if got := lines.Text(); got != "end of input" {
		t.Errorf("the watchdog of a stopped process: %q", got)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// superviseStdin prints why it ends: the end of stdin, or a time without a line on it.
func superviseStdin() {
	w := newWatchdog(10*time.Second, stalledTimeout)
	defer w.stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for r := bufio.NewReader(os.Stdin); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if strings.HasPrefix(line, "heartbeat") {
				w.heard()
			}
		}
	}()
	go func() { // a backlog of events
		var sum [sha256.Size]byte
		for {
			select {
			case <-ended:
				return
			default:
				sum = sha256.Sum256(sum[:])
			}
		}
	}()
	fmt.Println("runs")
	select {
	case <-w.expired:
		fmt.Println("expired")
	case <-ended:
		fmt.Println("end of input")
	}
}
