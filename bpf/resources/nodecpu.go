package resources

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// statFile has the time of all CPUs of the node by what they did, in ticks since the boot (proc_stat(5)).
const statFile = "/proc/stat"

// ticks is CPU time, of all CPUs together.
type ticks struct{ all, idle uint64 }

// leastTicks is how many ticks a share is taken of: fewer, as of two readings at once, say nothing.
const leastTicks = 10

// nodeCPU is how busy the node's CPUs are.
type nodeCPU struct {
	last ticks
	// percent is of the time between the last two readings that were far enough apart; nil before.
	percent *uint64
}

// read takes the counters of now.
func (n *nodeCPU) read(file string) error {
	now, err := readTicks(file)
	if err != nil {
		return err
	}
	if now.all >= n.last.all && now.all-n.last.all < leastTicks && n.last != (ticks{}) {
		return nil
	}
	n.percent = nil
	// The kernel's counter of idle time may go back a little.
	if all := now.all - n.last.all; n.last != (ticks{}) && now.all > n.last.all && now.idle >= n.last.idle {
		n.percent = ptr(100 - min(100*(now.idle-n.last.idle)/all, 100))
	}
	n.last = now
	return nil
}

// errNoTicks is that the first line is not that of all CPUs.
var errNoTicks = errors.New(`want "cpu" and eight numbers`)

// readTicks reads the first line: "cpu", user, nice, system, idle, iowait, irq, softirq, steal, and what user and nice
// hold already. A CPU that waits for a disk has nothing to run.
func readTicks(file string) (t ticks, err error) {
	f, err := os.Open(file)
	if err != nil {
		return t, err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return t, fmt.Errorf("%s: %w", file, err)
	}
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return t, fmt.Errorf("%s: %q: %w", file, line, errNoTicks)
	}
	for i, field := range fields[1:9] {
		v, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return t, fmt.Errorf("%s: %q: %w", file, line, errNoTicks)
		}
		t.all += v
		if i == 3 || i == 4 {
			t.idle += v
		}
	}
	return t, nil
}
