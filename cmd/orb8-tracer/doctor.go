//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/tracer"
	"github.com/orb8-dev/kubectl-orb8/tracer/gpu"
)

// doctorStay is how long the report can be fetched: a pod that has ended at once is never seen to run.
const doctorStay = 20 * time.Second

// wanted are the capabilities that probes need, by their numbers in capabilities(7).
var wanted = []struct {
	name   string
	number int
}{
	{"BPF", unix.CAP_BPF},
	{"PERFMON", unix.CAP_PERFMON},
	{"NET_ADMIN", unix.CAP_NET_ADMIN},
	{sysResource, unix.CAP_SYS_RESOURCE},
	{sysPtrace, unix.CAP_SYS_PTRACE},
	{setUID, unix.CAP_SETUID},
	{setGID, unix.CAP_SETGID},
	{sysAdmin, unix.CAP_SYS_ADMIN},
}

// sysPtrace, setUID and setGID are wanted where GPUs are read.
const (
	sysPtrace = "SYS_PTRACE"
	setUID    = "SETUID"
	setGID    = "SETGID"
)

var gpuOnly = []string{sysPtrace, setUID, setGID}

// sysAdmin is wanted besides on Linux before 6.6, whose uprobes take it.
const sysAdmin = "SYS_ADMIN"

// sysResource is wanted on Linux before 5.11 only, which counts maps as memory that the process has locked.
const sysResource = "SYS_RESOURCE"

// takesSysResource and takesSysAdmin say whether the kernel of a release such as "5.10.0-32-cloud-amd64" does.
func takesSysResource(release string) bool { return before(release, 5, 11) }
func takesSysAdmin(release string) bool    { return before(release, 6, 6) }

func before(release string, major, minor int) bool {
	var have [2]int
	_, err := fmt.Sscanf(release, "%d.%d", &have[0], &have[1])
	return err == nil && (have[0] < major || have[0] == major && have[1] < minor)
}

// doctorGPU is doctor with a look at the GPUs.
func doctorGPU(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	wanted := flags.Bool("gpu", false, "")
	library := flags.String("nvml-library", "", "")
	podResources := flags.String("pod-resources", "", "")
	cuda := flags.String("cuda-library", "", "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || !*wanted {
		return errUsage
	}
	return doctor(ctx, getenv, stdout, &gpuSearch{gpu.Options{Library: *library, PodResources: *podResources, Node: getenv(session.EnvNodeName)}, *cuda})
}

// gpuSearch is how to look at GPUs, and where the driver's library for programs is; empty: it is looked for.
type gpuSearch struct {
	gpu.Options
	cuda string
}

// doctor examines the node, prints the report and stays until it is told to go. gpus: how to look at GPUs; nil: not.
func doctor(ctx context.Context, getenv func(string) string, stdout io.Writer, gpus *gpuSearch) error {
	host := tracer.Host{CgroupMount: cgroupMount(getenv)}
	r := tracer.Examine(ctx, host)
	r.Version, r.Kernel, r.Arch = version.Version(), kernelRelease(), machine()
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	r.BTF = err == nil
	if r.Granted, r.Missing, err = capabilities("/proc/self/status", r.Kernel, gpus != nil); err != nil {
		return err
	}
	if gpus != nil {
		found := gpu.Examine(ctx, gpus.Options)
		if found.Calls, err = tracer.ExamineCalls(ctx, host, gpus.cuda); err != nil {
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

// capabilities tells which of those wanted on a kernel a process has, by its status file (proc_pid_status(5)).
func capabilities(status, kernel string, gpus bool) (granted, missing []string, err error) {
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
	for _, c := range wanted {
		if c.name == sysResource && !takesSysResource(kernel) || slices.Contains(gpuOnly, c.name) && !gpus || c.name == sysAdmin && !(gpus && takesSysAdmin(kernel)) {
			continue
		}
		if mask&(1<<c.number) != 0 {
			granted = append(granted, c.name)
		} else {
			missing = append(missing, c.name)
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
