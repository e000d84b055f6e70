package kit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// CgroupCounters reads a file with lines "NAME NUMBER" in the container's cgroup: nameV1 where the controller has a
// cgroup v1 hierarchy, else nameV2.
func (p *Pod) CgroupCounters(t testing.TB, controller, nameV1, nameV2 string) map[string]uint64 {
	t.Helper()
	file, _ := p.CgroupFile(t, controller, nameV1, nameV2)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	counters := map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		var name string
		var n uint64
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			t.Fatalf("%s: %q: %v", file, line, err)
		}
		counters[name] = n
	}
	return counters
}

// CPUStat reads the container's cpu.stat, with the names and units of cgroup v2.
func (p *Pod) CPUStat(t testing.TB) map[string]uint64 {
	t.Helper()
	stat := p.CgroupCounters(t, "cpu", "cpu.stat", "cpu.stat")
	if ns, ok := stat["throttled_time"]; ok {
		stat["throttled_usec"] = ns / 1000
	}
	return stat
}

// OOMKills returns the number of processes in the container that the kernel has killed for lack of memory.
func (p *Pod) OOMKills(t testing.TB) uint64 {
	t.Helper()
	return p.CgroupCounters(t, "memory", "memory.oom_control", "memory.events")["oom_kill"]
}

// Refaults returns the number of pages that were read from a file soon after they had been reclaimed.
func (p *Pod) Refaults(t testing.TB) uint64 {
	t.Helper()
	return p.CgroupCounters(t, "memory", "memory.stat", "memory.stat")["workingset_refault_file"]
}

// Pressure returns how long some thread of the container has waited for a resource, cpu, memory or io (PSI). It
// reports false where the kernel does not count it.
func (p *Pod) Pressure(t testing.TB, resource string) (some time.Duration, ok bool) {
	t.Helper()
	dir, _, err := cgroupDir(p.HostPID(t), "pressure") // no controller: PSI is of cgroup v2
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
		dir = strings.Replace(dir, "/sys/fs/cgroup", "/sys/fs/cgroup/unified", 1)
	}
	b, err := os.ReadFile(filepath.Join(dir, resource+".pressure"))
	if err != nil {
		return 0, false // ENOENT or EOPNOTSUPP
	}
	_, total, _ := strings.Cut(string(b), "total=") // the line "some" is the first
	micros, err := strconv.ParseInt(strings.Fields(total + " ")[0], 10, 64)
	if err != nil {
		t.Fatalf("%s.pressure of %s: %q", resource, p.Name, b)
	}
	return time.Duration(micros) * time.Microsecond, true
}

// CPUTime returns the time that the pod's processes have used CPUs and have waited for them, from the schedstat files
// of their threads.
func (p *Pod) CPUTime(t testing.TB) (used, waited time.Duration) {
	t.Helper()
	for _, pid := range p.HostPIDs(t, "workload") {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is valid
		for _, file := range files {
			b, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				continue // the thread has ended
			}
			var run, wait int64
			if _, scanErr := fmt.Sscan(string(b), &run, &wait); err != nil || scanErr != nil {
				t.Fatalf("%s: %q, %v", file, b, errors.Join(err, scanErr))
			}
			used, waited = used+time.Duration(run), waited+time.Duration(wait)
		}
	}
	return used, waited
}

// Netstat returns the counters of the pod's network namespace, by the names that nstat prints: TcpRetransSegs,
// TcpExtListenOverflows.
func (p *Pod) Netstat(t testing.TB) map[string]uint64 {
	t.Helper()
	counters := map[string]uint64{}
	for _, name := range []string{"snmp", "netstat"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", p.HostPID(t), name))
		if err != nil {
			t.Fatal(err)
		}
		// A line of names, then one of values: "Tcp: RtoMin ..." and "Tcp: 200 ...".
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		for i := 0; i+1 < len(lines); i += 2 {
			names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
			for j := 1; j < len(names) && j < len(values); j++ {
				if n, err := strconv.ParseUint(values[j], 10, 64); err == nil { // MaxConn is -1
					counters[strings.TrimSuffix(names[0], ":")+names[j]] = n
				}
			}
		}
	}
	return counters
}

// MachineCPU returns the CPU time of this machine since its start, and its idle part, in ticks (proc_stat(5)).
func MachineCPU(t testing.TB) (total, idle uint64) {
	t.Helper()
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line) // cpu, user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice
	for i, field := range fields[1:min(len(fields), 9)] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			t.Fatalf("/proc/stat: %q", line)
		}
		total += n
		if i == 3 || i == 4 {
			idle += n
		}
	}
	return total, idle
}
