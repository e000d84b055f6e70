package syscalls

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// word is a value or a flag by name.
type word struct {
	value uint64
	name  string
}

// appendFlags appends the names of the flags in v, then what is left in hexadecimal; zero by its own name where there
// is one.
func appendFlags(dst []byte, v uint64, words []word) []byte {
	start := len(dst)
	for _, w := range words {
		if w.value == 0 || v&w.value != w.value {
			continue
		}
		if len(dst) > start {
			dst = append(dst, '|')
		}
		dst = append(dst, w.name...)
		v &^= w.value
	}
	if v == 0 && len(dst) > start {
		return dst
	}
	if len(dst) > start {
		return appendHex(append(dst, '|'), v)
	}
	if v == 0 {
		for _, w := range words {
			if w.value == 0 {
				return append(dst, w.name...)
			}
		}
		return append(dst, '0')
	}
	return appendHex(dst, v)
}

// appendName appends the name of v, else the number.
func appendName(dst []byte, v uint64, words []word) []byte {
	for _, w := range words {
		if w.value == v {
			return append(dst, w.name...)
		}
	}
	return strconv.AppendInt(dst, int64(int32(v)), 10)
}

func appendHex(dst []byte, v uint64) []byte { return strconv.AppendUint(append(dst, "0x"...), v, 16) }

// Those whose bits hold others come first.
var (
	openWords = []word{
		{unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"}, {unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_TRUNC, "O_TRUNC"},
		{unix.O_APPEND, "O_APPEND"}, {unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_SYNC, "O_SYNC"},
		{unix.O_DSYNC, "O_DSYNC"},
		{unix.O_DIRECT, "O_DIRECT"}, {largeFile, "O_LARGEFILE"}, {unix.O_TMPFILE, "O_TMPFILE"},
		{unix.O_DIRECTORY, "O_DIRECTORY"},
		{unix.O_NOFOLLOW, "O_NOFOLLOW"}, {unix.O_NOATIME, "O_NOATIME"}, {unix.O_CLOEXEC, "O_CLOEXEC"},
		{unix.O_PATH, "O_PATH"},
	}
	protectionWords = []word{
		{0, "PROT_NONE"}, {unix.PROT_READ, "PROT_READ"}, {unix.PROT_WRITE, "PROT_WRITE"}, {unix.PROT_EXEC, "PROT_EXEC"},
		{unix.PROT_GROWSDOWN, "PROT_GROWSDOWN"}, {unix.PROT_GROWSUP, "PROT_GROWSUP"},
	}
	mapWords = []word{
		{unix.MAP_SHARED_VALIDATE, "MAP_SHARED_VALIDATE"}, {unix.MAP_SHARED, "MAP_SHARED"},
		{unix.MAP_PRIVATE, "MAP_PRIVATE"},
		{unix.MAP_FIXED, "MAP_FIXED"}, {unix.MAP_ANONYMOUS, "MAP_ANONYMOUS"}, {unix.MAP_GROWSDOWN, "MAP_GROWSDOWN"},
		{unix.MAP_DENYWRITE, "MAP_DENYWRITE"}, {unix.MAP_LOCKED, "MAP_LOCKED"}, {unix.MAP_NORESERVE, "MAP_NORESERVE"},
		{unix.MAP_POPULATE, "MAP_POPULATE"}, {unix.MAP_NONBLOCK, "MAP_NONBLOCK"}, {unix.MAP_STACK, "MAP_STACK"},
		{unix.MAP_HUGETLB, "MAP_HUGETLB"}, {unix.MAP_SYNC, "MAP_SYNC"},
		{unix.MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"},
	}
	whenceWords = []word{
		{unix.SEEK_SET, "SEEK_SET"}, {unix.SEEK_CUR, "SEEK_CUR"}, {unix.SEEK_END, "SEEK_END"},
		{unix.SEEK_DATA, "SEEK_DATA"},
		{unix.SEEK_HOLE, "SEEK_HOLE"},
	}
	familyWords = []word{
		{unix.AF_UNSPEC, "AF_UNSPEC"}, {unix.AF_UNIX, "AF_UNIX"}, {unix.AF_INET, "AF_INET"},
		{unix.AF_INET6, "AF_INET6"},
		{unix.AF_NETLINK, "AF_NETLINK"}, {unix.AF_PACKET, "AF_PACKET"}, {unix.AF_VSOCK, "AF_VSOCK"},
		{unix.AF_ALG, "AF_ALG"},
		{unix.AF_XDP, "AF_XDP"},
	}
	socketTypeWords = []word{
		{unix.SOCK_STREAM, "SOCK_STREAM"}, {unix.SOCK_DGRAM, "SOCK_DGRAM"}, {unix.SOCK_RAW, "SOCK_RAW"},
		{unix.SOCK_SEQPACKET, "SOCK_SEQPACKET"}, {unix.SOCK_RDM, "SOCK_RDM"}, {unix.SOCK_PACKET, "SOCK_PACKET"},
	}
	socketFlagWords = []word{{unix.SOCK_CLOEXEC, "SOCK_CLOEXEC"}, {unix.SOCK_NONBLOCK, "SOCK_NONBLOCK"}}
	messageWords    = []word{
		{unix.MSG_OOB, "MSG_OOB"}, {unix.MSG_PEEK, "MSG_PEEK"}, {unix.MSG_DONTROUTE, "MSG_DONTROUTE"},
		{unix.MSG_TRUNC, "MSG_TRUNC"},
		{unix.MSG_DONTWAIT, "MSG_DONTWAIT"}, {unix.MSG_EOR, "MSG_EOR"}, {unix.MSG_WAITALL, "MSG_WAITALL"},
		{unix.MSG_NOSIGNAL, "MSG_NOSIGNAL"}, {unix.MSG_MORE, "MSG_MORE"}, {unix.MSG_ERRQUEUE, "MSG_ERRQUEUE"},
		{unix.MSG_FASTOPEN, "MSG_FASTOPEN"}, {unix.MSG_CMSG_CLOEXEC, "MSG_CMSG_CLOEXEC"},
		{unix.MSG_ZEROCOPY, "MSG_ZEROCOPY"},
	}
	clockWords = []word{
		{unix.CLOCK_REALTIME, "CLOCK_REALTIME"}, {unix.CLOCK_MONOTONIC, "CLOCK_MONOTONIC"},
		{unix.CLOCK_PROCESS_CPUTIME_ID, "CLOCK_PROCESS_CPUTIME_ID"},
		{unix.CLOCK_THREAD_CPUTIME_ID, "CLOCK_THREAD_CPUTIME_ID"},
		{unix.CLOCK_MONOTONIC_RAW, "CLOCK_MONOTONIC_RAW"}, {unix.CLOCK_REALTIME_COARSE, "CLOCK_REALTIME_COARSE"},
		{unix.CLOCK_MONOTONIC_COARSE, "CLOCK_MONOTONIC_COARSE"}, {unix.CLOCK_BOOTTIME, "CLOCK_BOOTTIME"},
	}
	// linux/futex.h
	futexWords = []word{
		{0, "FUTEX_WAIT"}, {1, "FUTEX_WAKE"}, {2, "FUTEX_FD"}, {3, "FUTEX_REQUEUE"}, {4, "FUTEX_CMP_REQUEUE"},
		{5, "FUTEX_WAKE_OP"},
		{6, "FUTEX_LOCK_PI"}, {7, "FUTEX_UNLOCK_PI"}, {8, "FUTEX_TRYLOCK_PI"}, {9, "FUTEX_WAIT_BITSET"},
		{10, "FUTEX_WAKE_BITSET"},
		{11, "FUTEX_WAIT_REQUEUE_PI"}, {12, "FUTEX_CMP_REQUEUE_PI"}, {13, "FUTEX_LOCK_PI2"},
	}
	futexFlagWords = []word{{128, "FUTEX_PRIVATE_FLAG"}, {256, "FUTEX_CLOCK_REALTIME"}}
	fcntlWords     = []word{
		{unix.F_DUPFD, "F_DUPFD"}, {unix.F_GETFD, "F_GETFD"}, {unix.F_SETFD, "F_SETFD"}, {unix.F_GETFL, "F_GETFL"},
		{unix.F_SETFL, "F_SETFL"}, {5, "F_GETLK"}, {6, "F_SETLK"}, {7, "F_SETLKW"}, {unix.F_SETOWN, "F_SETOWN"},
		{unix.F_GETOWN, "F_GETOWN"}, {unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"}, {unix.F_SETPIPE_SZ, "F_SETPIPE_SZ"},
		{unix.F_GETPIPE_SZ, "F_GETPIPE_SZ"}, {unix.F_ADD_SEALS, "F_ADD_SEALS"}, {unix.F_GET_SEALS, "F_GET_SEALS"},
		{36, "F_OFD_GETLK"}, {37, "F_OFD_SETLK"}, {38, "F_OFD_SETLKW"},
	}
	accessWords = []word{{unix.F_OK, "F_OK"}, {unix.R_OK, "R_OK"}, {unix.W_OK, "W_OK"}, {unix.X_OK, "X_OK"}}
	atWords     = []word{
		{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
		{unix.AT_SYMLINK_FOLLOW, "AT_SYMLINK_FOLLOW"}, {unix.AT_NO_AUTOMOUNT, "AT_NO_AUTOMOUNT"},
		{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
		{unix.AT_STATX_FORCE_SYNC, "AT_STATX_FORCE_SYNC"}, {unix.AT_STATX_DONT_SYNC, "AT_STATX_DONT_SYNC"},
	}
	// One bit means one thing or another.
	accessFlagWords = append([]word{{unix.AT_EACCESS, "AT_EACCESS"}}, atWords...)
	unlinkWords     = append([]word{{unix.AT_REMOVEDIR, "AT_REMOVEDIR"}}, atWords...)
	maskWords       = []word{{unix.SIG_BLOCK, "SIG_BLOCK"}, {unix.SIG_UNBLOCK, "SIG_UNBLOCK"},
		{unix.SIG_SETMASK, "SIG_SETMASK"}}
	epollWords = []word{
		{unix.EPOLL_CTL_ADD, "EPOLL_CTL_ADD"}, {unix.EPOLL_CTL_DEL, "EPOLL_CTL_DEL"},
		{unix.EPOLL_CTL_MOD, "EPOLL_CTL_MOD"},
	}
	cloneWords = []word{
		{unix.CLONE_VM, "CLONE_VM"}, {unix.CLONE_FS, "CLONE_FS"}, {unix.CLONE_FILES, "CLONE_FILES"},
		{unix.CLONE_SIGHAND, "CLONE_SIGHAND"}, {unix.CLONE_PIDFD, "CLONE_PIDFD"}, {unix.CLONE_PTRACE, "CLONE_PTRACE"},
		{unix.CLONE_VFORK, "CLONE_VFORK"}, {unix.CLONE_PARENT, "CLONE_PARENT"}, {unix.CLONE_THREAD, "CLONE_THREAD"},
		{unix.CLONE_NEWNS, "CLONE_NEWNS"}, {unix.CLONE_SYSVSEM, "CLONE_SYSVSEM"}, {unix.CLONE_SETTLS, "CLONE_SETTLS"},
		{unix.CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"}, {unix.CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"},
		{unix.CLONE_DETACHED, "CLONE_DETACHED"}, {unix.CLONE_UNTRACED, "CLONE_UNTRACED"},
		{unix.CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"},
		{unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"}, {unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
		{unix.CLONE_NEWIPC, "CLONE_NEWIPC"},
		{unix.CLONE_NEWUSER, "CLONE_NEWUSER"}, {unix.CLONE_NEWPID, "CLONE_NEWPID"}, {unix.CLONE_NEWNET, "CLONE_NEWNET"},
		{unix.CLONE_IO, "CLONE_IO"},
	}
	adviceWords = []word{
		{unix.MADV_NORMAL, "MADV_NORMAL"}, {unix.MADV_RANDOM, "MADV_RANDOM"}, {unix.MADV_SEQUENTIAL, "MADV_SEQUENTIAL"},
		{unix.MADV_WILLNEED, "MADV_WILLNEED"}, {unix.MADV_DONTNEED, "MADV_DONTNEED"}, {unix.MADV_FREE, "MADV_FREE"},
		{unix.MADV_REMOVE, "MADV_REMOVE"}, {unix.MADV_DONTFORK, "MADV_DONTFORK"}, {unix.MADV_DOFORK, "MADV_DOFORK"},
		{unix.MADV_HUGEPAGE, "MADV_HUGEPAGE"}, {unix.MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE"},
		{unix.MADV_COLLAPSE, "MADV_COLLAPSE"},
		{unix.MADV_DONTDUMP, "MADV_DONTDUMP"}, {unix.MADV_DODUMP, "MADV_DODUMP"}, {unix.MADV_COLD, "MADV_COLD"},
		{unix.MADV_PAGEOUT, "MADV_PAGEOUT"}, {unix.MADV_POPULATE_READ, "MADV_POPULATE_READ"},
		{unix.MADV_POPULATE_WRITE, "MADV_POPULATE_WRITE"},
	}
	openModeWords = []word{{unix.O_RDONLY, "O_RDONLY"}, {unix.O_WRONLY, "O_WRONLY"}, {unix.O_RDWR, "O_RDWR"}}
)

// errnoName returns the name of an error, also of those that the kernel keeps to itself: such a call restarts.
func errnoName(n int64) string {
	switch n {
	case 512:
		return "ERESTARTSYS"
	case 513:
		return "ERESTARTNOINTR"
	case 514:
		return "ERESTARTNOHAND"
	case 515:
		return "ENOIOCTLCMD"
	case 516:
		return "ERESTART_RESTARTBLOCK"
	}
	if s := unix.ErrnoName(unix.Errno(n)); s != "" {
		return s
	}
	return "E" + strconv.FormatInt(n, 10)
}
