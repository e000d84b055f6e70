//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/capabilities"
	"github.com/orb8-dev/kubectl-orb8/internal/host"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/tracer"
	"github.com/orb8-dev/kubectl-orb8/tracer/gpu"
)

// doctorStay is how long doctor stays after its report: the plugin may miss that a pod ran which ends at once.
const doctorStay = 20 * time.Second

// numbers are the capabilities of capabilities(7) by name, without CAP_.
var numbers = map[string]int{
	"BPF": unix.CAP_BPF, "PERFMON": unix.CAP_PERFMON, "NET_ADMIN": unix.CAP_NET_ADMIN,
	"SYS_RESOURCE": unix.CAP_SYS_RESOURCE, "SYS_PTRACE": unix.CAP_SYS_PTRACE, "SETUID": unix.CAP_SETUID,
	"SETGID": unix.CAP_SETGID, "SYS_ADMIN": unix.CAP_SYS_ADMIN,
}

// doctor examines the node for the configuration in the environment, prints the report and waits for ctx or doctorStay.
func doctor(ctx context.Context, getenv func(string) string, stdout io.Writer) error {
	config, err := session.ParseConfig(getenv(session.EnvConfig))
	if err != nil {
		return err
	}
	gpus := config.GetGpu()
	kernel := tracer.Host{CgroupMount: cgroupMount(getenv)}
	r := tracer.Examine(ctx, kernel)
	r.Version, r.Kernel, r.Arch = version.Version(), host.Release(), machine()
	_, err = os.Stat("/sys/kernel/btf/vmlinux")
	r.BTF = err == nil
	if r.Granted, r.Missing, err = compareCapabilities("/proc/self/status", r.Kernel, gpus != nil); err != nil {
		return err
	}
	if gpus != nil {
		found := gpu.Examine(ctx, gpu.Options{
			Library: gpus.GetLibrary(), PodResources: gpus.GetPodResources(), Node: getenv(session.EnvNodeName),
		})
		if found.Calls, err = tracer.ExamineCalls(ctx, kernel, gpus.GetCudaLibrary()); err != nil {
			found.CallsError = err.Error()
		}
		r.GPU = &found
	}
	if _, err := fmt.Fprintln(stdout, r.Line()); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(doctorStay):
	}
	return nil
}

// cgroupMount is where the host's cgroups are.
func cgroupMount(getenv func(string) string) string {
	if dir := getenv(session.EnvCgroupRoot); dir != "" {
		return dir
	}
	return defaultCgroupMount
}

// compareCapabilities gives which of the capabilities for a kernel a process has, by its status file
// (proc_pid_status(5)).
func compareCapabilities(status, kernel string, gpus bool) (granted, missing []string, err error) {
	b, err := os.ReadFile(status)
	if err != nil {
		return nil, nil, fmt.Errorf("read own capabilities: %w", err)
	}
	_, rest, ok := strings.Cut(string(b), "\nCapEff:")
	word, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(word), 16, 64)
	if !ok || err != nil {
		return nil, nil, fmt.Errorf("read own capabilities: no CapEff in %s", status)
	}
	for _, name := range capabilities.For(kernel, gpus) {
		if mask&(1<<numbers[name]) != 0 {
			granted = append(granted, name)
		} else {
			missing = append(missing, name)
		}
	}
	return granted, missing, nil
}

// machine is what uname -m prints.
func machine() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Machine[:])
}
