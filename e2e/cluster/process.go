package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// record identifies a process for later commands. The start time distinguishes it from one that reuses its pid.
type record struct {
	pid   int
	start uint64 // clock ticks since boot, field 22 of /proc/PID/stat
}

func (r record) String() string { return fmt.Sprintf("%d %d\n", r.pid, r.start) }

func parseRecord(s string) (r record, err error) {
	if _, err := fmt.Sscanf(s, "%d %d", &r.pid, &r.start); err != nil {
		return r, fmt.Errorf("pid file %q: want a pid and a start time: %w", s, err)
	}
	return r, nil
}

// statFields returns the fields of a stat line from the third on. The second one, the command, may contain spaces and
// parentheses.
func statFields(stat string) ([]string, error) {
	_, rest, ok := cutLast(stat, ")")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return nil, fmt.Errorf("stat %q: too short", stat)
	}
	return fields, nil
}

// startTime reads field 22 of a stat line.
func startTime(stat string) (uint64, error) {
	fields, err := statFields(stat)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func recordOf(pid int) (record, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return record{}, err
	}
	start, err := startTime(string(stat))
	return record{pid, start}, err
}

// alive reports whether this process still runs, or still has open files and ports.
func (r record) alive() bool {
	now, err := recordOf(r.pid)
	return err == nil && now == r && !ended(r.pid)
}

// ended reports whether a process is a zombie that only waits for its parent. Other threads that still run keep its
// ports open. They are all in the kernel's count of threads (proc(5), field 20), while a listing of /proc/PID/task
// stops early if the thread that it has reached ends.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields, err := statFields(string(stat))
	if err != nil || fields[0] != "Z" {
		return false
	}
	threads, err := strconv.Atoi(fields[17])
	return err == nil && threads <= 1
}

func (c *cluster) pidFile(p *component) string { return c.path("pids", p.file()) }

// launch starts a component that outlives this command.
func (c *cluster) launch(p *component) error {
	log, err := os.OpenFile(c.path("log", p.file()+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	argv := p.command()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.file(), err)
	}
	r, err := recordOf(cmd.Process.Pid)
	if err != nil {
		return errors.Join(fmt.Errorf("%s ended at once: see %s", p.file(), log.Name()), cmd.Wait())
	}
	// Reap it here while this command runs; init does after that.
	go func() { _ = cmd.Wait() }()
	return os.WriteFile(c.pidFile(p), []byte(r.String()), 0o644)
}

func (c *cluster) recorded(p *component) (record, bool) {
	b, err := os.ReadFile(c.pidFile(p))
	if err != nil {
		return record{}, false
	}
	r, err := parseRecord(string(b))
	return r, err == nil
}

// kill kills a component with SIGKILL: its state is going to be deleted, and an API server takes a minute to shut down.
func (c *cluster) kill(p *component) error {
	r, ok := c.recorded(p)
	if !ok || !r.alive() {
		return nil
	}
	if err := syscall.Kill(r.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", p.file(), err)
	}
	return awaitGone(r)
}

func awaitGone(r record) error {
	return poll(10*time.Second, fmt.Sprintf("process %d ends", r.pid), func() bool { return !r.alive() })
}

// poll checks a condition every 10 ms until it is true.
func poll(limit time.Duration, what string, done func() bool) error {
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v in vain: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// strays lists processes of ours without a pid file: containers, shims, and the rest of a killed run. It finds them by
// their cgroup, or by a path of ours among their arguments.
func (c *cluster) strays() []record {
	own := os.Getpid()
	var found []record
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil || pid == own {
			continue
		}
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		cgroups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if !c.owns(string(cmdline), string(cgroups)) {
			continue
		}
		if r, err := recordOf(pid); err == nil && !ended(pid) {
			found = append(found, r)
		}
	}
	return found
}

// owns reports whether a process is ours, by the texts of its /proc/PID/cmdline and /proc/PID/cgroup. Arguments count
// for daemons only: an editor may have one of our files open.
func (c *cluster) owns(cmdline, cgroups string) bool {
	for _, line := range strings.Split(cgroups, "\n") {
		// hierarchy:controllers:path
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, n := range c.nodes {
			if parts[2] == "/"+n.cgroup() || strings.HasPrefix(parts[2], "/"+n.cgroup()+"/") {
				return true
			}
		}
	}
	args := strings.Split(cmdline, "\x00")
	switch filepath.Base(args[0]) {
	case "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd", "containerd-shim-runc-v2",
		"kubelet", "kube-proxy", "runc",
		"nsenter": // which then executes one of the others
	default:
		return false
	}
	for _, arg := range args[1:] {
		if _, value, ok := strings.Cut(arg, "="); ok {
			arg = value
		}
		if arg == c.dir || strings.HasPrefix(arg, c.dir+"/") {
			return true
		}
	}
	return false
}
