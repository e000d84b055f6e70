package seccomp

import "github.com/orb8-dev/kubectl-orb8/event/calls"

// base are the calls that a runtime itself makes between loading the profile and executing the container's program:
// without one of them no container starts, and kubectl exec and exec probes fail.
//
// Sources: strace -f of "runc run" and "runc exec", runc 1.1.5 and 1.3.3, with and without noNewPrivileges: the calls
// of the thread that loads the filter, from there to execve (without noNewPrivileges runc loads it before it drops
// capabilities, and needs most of them). Of its other threads, those of Go's runtime, which newer versions of runc
// restrict as well. setresuid, setresgid, fchown and readlinkat are in the base profiles of the Security Profiles
// Operator for runc and crun. With these alone both versions start containers and execute programs in them. runc 1.3.3
// tries fsopen and open_tree as well, and does without.
var base = []string{
	"capget", "capset", "chdir", "close", "close_range", "epoll_ctl", "epoll_pwait", "execve", "exit", "exit_group",
	"faccessat2", "fchown", "fcntl", "fstat", "fstatfs", "futex", "getcwd", "getdents64", "getpid", "getppid", "gettid",
	"madvise", "mmap", "nanosleep", "newfstatat", "openat", "openat2", "prctl", "read", "readlinkat", "rt_sigprocmask",
	"rt_sigreturn", "sched_yield", "setgid", "setgroups", "setresgid", "setresuid", "setuid", "sigaltstack", "statx",
	"tgkill", "uname", "write",
}

// setup are calls that a runtime makes in the container's cgroup before it loads the profile, and that let a program
// out of its container or change it: mounts, namespaces, devices, keyrings, other filters.
//
// Source: the same traces, before the filter.
var setup = map[string]bool{
	"fsconfig": true, "fsmount": true, "fsopen": true, "keyctl": true, "mknodat": true, "mount": true,
	"mount_setattr": true, "move_mount": true, "open_tree": true, "pivot_root": true, "seccomp": true,
	"sethostname": true, "setns": true, "umount2": true, "unshare": true,
}

// entry are those that it makes when it joins a container, for kubectl exec and probes: it sets up a session keyring.
var entry = map[string]bool{"keyctl": true, "seccomp": true, "setns": true}

// architectures are those of a profile by the architecture of an observed call, each with the ones that the default
// profiles of containerd and CRI-O add, so that 32-bit programs are restricted by the same rules and not killed.
var architectures = []struct {
	of    []string
	names []string
}{
	{[]string{calls.AMD64.String(), calls.I386.String(), "x32"},
		[]string{"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}},
	{[]string{calls.ARM64.String(), calls.ARM.String()}, []string{"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"}},
}

// architectureOf is the name of the architecture of an observed call.
var architectureOf = map[string]string{
	calls.AMD64.String(): "SCMP_ARCH_X86_64", calls.I386.String(): "SCMP_ARCH_X86", "x32": "SCMP_ARCH_X32",
	calls.ARM64.String(): "SCMP_ARCH_AARCH64", calls.ARM.String(): "SCMP_ARCH_ARM",
}
