package syscalls

import "strings"

// kind is how an argument is read.
type kind uint8

const (
	hex kind = iota // a pointer, or flags without names here
	number
	unsigned
	octal
	fd
	dirFD
	path
	text
	sockaddr
	openFlags
	fileFlags
	protection
	mapFlags
	signal
	whence
	family
	socketType
	messageFlags
	clock
	futexOp
	fcntlCommand
	accessMode
	atFlags
	epollOp
	cloneFlags
	advice
	accessFlags
	unlinkFlags
	maskHow
)

var kindWords = map[string]kind{
	"hex": hex, "int": number, "size": unsigned, "mode": octal, "fd": fd, "at": dirFD, "path": path, "str": text,
	"addr":   sockaddr,
	"oflags": openFlags, "fflags": fileFlags, "prot": protection, "mflags": mapFlags, "sig": signal, "whence": whence,
	"family": family,
	"type":   socketType, "msgflags": messageFlags, "clock": clock, "futexop": futexOp, "cmd": fcntlCommand,
	"access":  accessMode,
	"atflags": atFlags, "epollop": epollOp, "clone": cloneFlags, "advice": advice, "eaccess": accessFlags,
	"unlinkflags": unlinkFlags, "how": maskHow,
}

// signature describes a call's arguments.
type signature []kind

// unknown is the signature of calls that the table does not have: all that the registers held.
var unknown = signature{hex, hex, hex, hex, hex, hex}

func signatureOf(name string) signature {
	words, ok := signatures[name]
	if !ok {
		return unknown
	}
	s := signature{}
	for _, w := range strings.Fields(words) {
		s = append(s, kindWords[w])
	}
	return s
}

// signatures are the arguments of calls by name, as man 2 has them.
var signatures = map[string]string{
	"accept": "fd hex hex", "accept4": "fd hex hex type", "access": "path access", "acct": "path",
	"add_key": "str str hex size int",
	"alarm":   "size", "arch_prctl": "hex hex", "bind": "fd addr size", "bpf": "int hex size", "brk": "hex",
	"capget": "hex hex",
	"capset": "hex hex", "chdir": "path", "chmod": "path mode", "chown": "path int int", "chroot": "path",
	"clock_getres": "clock hex", "clock_gettime": "clock hex", "clock_nanosleep": "clock hex hex hex",
	"clock_settime": "clock hex",
	"clone":         "clone hex hex hex hex", "clone3": "hex size", "close": "fd", "close_range": "int int hex",
	"connect":         "fd addr size",
	"copy_file_range": "fd hex int hex size hex", "creat": "path mode", "dup": "fd", "dup2": "fd int",
	"dup3":         "fd int fflags",
	"epoll_create": "int", "epoll_create1": "fflags", "epoll_ctl": "fd epollop int hex",
	"epoll_pwait":  "fd hex int int hex size",
	"epoll_pwait2": "fd hex int hex hex size", "epoll_wait": "fd hex int int", "eventfd": "size",
	"eventfd2": "size fflags",
	"execve":   "path hex hex", "execveat": "at path hex hex atflags", "exit": "int", "exit_group": "int",
	"faccessat": "at path access", "faccessat2": "at path access eaccess", "fadvise64": "fd int size int",
	"fallocate": "fd hex int int",
	"fchdir":    "fd", "fchmod": "fd mode", "fchmodat": "at path mode", "fchmodat2": "at path mode atflags",
	"fchown":   "fd int int",
	"fchownat": "at path int int atflags", "fcntl": "fd cmd hex", "fcntl64": "fd cmd hex", "fdatasync": "fd",
	"fgetxattr": "fd str hex size", "finit_module": "fd str hex", "flistxattr": "fd hex size", "flock": "fd hex",
	"fork":         "",
	"fremovexattr": "fd str", "fsetxattr": "fd str hex size hex", "fstat": "fd hex", "fstat64": "fd hex",
	"fstatat64": "at path hex atflags",
	"fstatfs":   "fd hex", "fsync": "fd", "ftruncate": "fd int", "futex": "hex futexop size hex hex size",
	"futex_time64": "hex futexop size hex hex size", "futex_wait": "hex size hex hex hex clock",
	"futex_wake": "hex size int hex",
	"futimesat":  "at path hex", "get_robust_list": "int hex hex", "getcpu": "hex hex hex", "getcwd": "hex size",
	"getdents":   "fd hex size",
	"getdents64": "fd hex size", "getegid": "", "getegid32": "", "geteuid": "", "geteuid32": "", "getgid": "",
	"getgid32":  "",
	"getgroups": "int hex", "getitimer": "int hex", "getpeername": "fd hex hex", "getpgid": "int", "getpgrp": "",
	"getpid":  "",
	"getppid": "", "getpriority": "int int", "getrandom": "hex size hex", "getresgid": "hex hex hex",
	"getresuid": "hex hex hex",
	"getrlimit": "int hex", "getrusage": "int hex", "getsid": "int", "getsockname": "fd hex hex",
	"getsockopt": "fd int int hex hex",
	"gettid":     "", "gettimeofday": "hex hex", "getuid": "", "getuid32": "", "getxattr": "path str hex size",
	"init_module":       "hex size str",
	"inotify_add_watch": "fd path hex", "inotify_init": "", "inotify_init1": "fflags", "inotify_rm_watch": "fd int",
	"io_uring_enter": "fd size size hex hex size", "io_uring_register": "fd size hex size",
	"io_uring_setup": "size hex",
	"ioctl":          "fd hex hex", "keyctl": "int hex hex hex hex", "kill": "int sig", "lchown": "path int int",
	"lgetxattr": "path str hex size",
	"link":      "path path", "linkat": "at path at path atflags", "listen": "fd int", "listxattr": "path hex size",
	"llistxattr": "path hex size", "lremovexattr": "path str", "lseek": "fd int whence",
	"lsetxattr": "path str hex size hex",
	"lstat":     "path hex", "lstat64": "path hex", "madvise": "hex size advice", "membarrier": "int hex int",
	"memfd_create": "str hex",
	"mincore":      "hex size hex", "mkdir": "path mode", "mkdirat": "at path mode", "mknod": "path mode hex",
	"mknodat": "at path mode hex",
	"mlock":   "hex size", "mlock2": "hex size hex", "mlockall": "hex", "mmap": "hex size prot mflags fd hex",
	"mmap2": "hex size prot mflags fd hex", "mount": "path path hex hex hex", "mprotect": "hex size prot",
	"mremap": "hex size size hex hex",
	"msync":  "hex size hex", "munlock": "hex size", "munlockall": "", "munmap": "hex size",
	"name_to_handle_at": "at path hex hex hex",
	"nanosleep":         "hex hex", "newfstatat": "at path hex atflags", "open": "path oflags mode",
	"openat":  "at path oflags mode",
	"openat2": "at path hex size", "pause": "", "perf_event_open": "hex int int int hex", "personality": "hex",
	"pidfd_getfd": "fd int hex",
	"pidfd_open":  "int hex", "pidfd_send_signal": "fd sig hex hex", "pipe": "hex", "pipe2": "hex fflags",
	"pivot_root": "path path",
	"poll":       "hex size int", "ppoll": "hex size hex hex size", "prctl": "int hex hex hex hex",
	"pread64": "fd hex size int",
	"preadv":  "fd hex size int", "preadv2": "fd hex size int int hex", "prlimit64": "int int hex hex",
	"process_vm_readv": "int hex size hex size hex", "process_vm_writev": "int hex size hex size hex",
	"pselect6": "int hex hex hex hex hex",
	"ptrace":   "int int hex hex", "pwrite64": "fd hex size int", "pwritev": "fd hex size int",
	"pwritev2": "fd hex size int int hex",
	"read":     "fd hex size", "readahead": "fd int size", "readlink": "path hex size",
	"readlinkat": "at path hex size",
	"readv":      "fd hex size",
	"reboot":     "hex hex hex hex", "recv": "fd hex size msgflags", "recvfrom": "fd hex size msgflags hex hex",
	"recvmmsg": "fd hex size msgflags hex",
	"recvmsg":  "fd hex msgflags", "removexattr": "path str", "rename": "path path", "renameat": "at path at path",
	"renameat2": "at path at path hex", "request_key": "str str hex int", "restart_syscall": "", "rmdir": "path",
	"rseq":         "hex size hex hex",
	"rt_sigaction": "sig hex hex size", "rt_sigpending": "hex size", "rt_sigprocmask": "how hex hex size",
	"rt_sigqueueinfo": "int sig hex",
	"rt_sigreturn":    "", "rt_sigsuspend": "hex size", "rt_sigtimedwait": "hex hex hex size",
	"rt_tgsigqueueinfo":      "int int sig hex",
	"sched_get_priority_max": "int", "sched_get_priority_min": "int", "sched_getaffinity": "int size hex",
	"sched_getattr":  "int hex size hex",
	"sched_getparam": "int hex", "sched_getscheduler": "int", "sched_setaffinity": "int size hex",
	"sched_setattr":  "int hex hex",
	"sched_setparam": "int hex", "sched_setscheduler": "int int hex", "sched_yield": "", "seccomp": "int hex hex",
	"select": "int hex hex hex hex",
	"send":   "fd hex size msgflags", "sendfile": "fd int hex size", "sendfile64": "fd int hex size",
	"sendmmsg": "fd hex size msgflags",
	"sendmsg":  "fd hex msgflags", "sendto": "fd hex size msgflags addr size", "set_robust_list": "hex size",
	"set_tid_address": "hex",
	"setdomainname":   "str size", "setfsgid": "int", "setfsuid": "int", "setgid": "int", "setgid32": "int",
	"setgroups":   "int hex",
	"sethostname": "str size", "setitimer": "int hex hex", "setns": "fd hex", "setpgid": "int int",
	"setpriority": "int int int",
	"setregid":    "int int", "setresgid": "int int int", "setresuid": "int int int", "setreuid": "int int",
	"setrlimit": "int hex", "setsid": "",
	"setsockopt": "fd int int hex size", "setuid": "int", "setuid32": "int", "setxattr": "path str hex size hex",
	"shmat":  "int hex hex",
	"shmctl": "int int hex", "shmdt": "hex", "shmget": "hex size hex", "shutdown": "fd int", "sigaltstack": "hex hex",
	"signalfd4": "fd hex size fflags",
	"socket":    "family type int", "socketpair": "family type int hex", "splice": "fd hex int hex size hex",
	"stat": "path hex", "stat64": "path hex",
	"statfs": "path hex", "statx": "at path atflags hex hex", "swapoff": "path", "swapon": "path hex",
	"symlink":   "path path",
	"symlinkat": "path at path", "sync": "", "sync_file_range": "fd int int hex", "syncfs": "fd", "sysinfo": "hex",
	"syslog": "int hex int",
	"tee":    "fd int size hex", "tgkill": "int int sig", "time": "hex", "timer_create": "clock hex hex",
	"timer_delete":  "int",
	"timer_gettime": "int hex", "timer_settime": "int hex hex hex", "timerfd_create": "clock fflags",
	"timerfd_gettime": "fd hex",
	"timerfd_settime": "fd hex hex hex", "times": "hex", "tkill": "int sig", "truncate": "path int", "umask": "mode",
	"umount":  "path",
	"umount2": "path hex", "uname": "hex", "unlink": "path", "unlinkat": "at path unlinkflags", "unshare": "clone",
	"utime":     "path hex",
	"utimensat": "at path hex atflags", "utimes": "path hex", "vfork": "", "vhangup": "", "wait4": "int hex hex hex",
	"waitid":  "int int hex hex hex",
	"waitpid": "int hex hex", "write": "fd hex size", "writev": "fd hex size",
}
