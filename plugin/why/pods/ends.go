package pods

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// ends are how the processes of a pod ended in the window.
type ends struct {
	// crashes are first processes of containers that ended with an error or by a signal.
	crashes  uint64
	oomKills uint64
	// oomProcess is the process that the OOM killer has killed last.
	oomProcess string
	last       string // "exit code 1", "SIGSEGV"
	// missing and denied are the calls that failed last before crashes, as text; empty where there were none.
	missing, denied string
	// failed are the last failed calls on files, by process.
	failed map[uint32]failedCall
}

// failedCall is the last call of a process on a file that failed.
type failedCall struct {
	at          uint64
	text, errno string
}

func (x *ends) restart() {
	x.crashes, x.oomKills, x.oomProcess, x.last, x.missing, x.denied = 0, 0, "", "", "", ""
}

// atMostBefore is how long before the end of a process its last failed call may be, ns, to be what it ended for.
const atMostBefore = 2_000_000_000

// onExec takes the end of a process.
func (w *Watch) onExec(p *pod, at uint64, x *event.Exec) {
	if x.GetPhase() != event.ExecPhase_EXEC_PHASE_EXIT {
		return
	}
	failed, any := p.ends.failed[x.GetPid()]
	if any {
		delete(p.ends.failed, x.GetPid())
		p.kept.calls--
	}
	if x.GetOutcome() == event.ExecOutcome_EXEC_OUTCOME_OOM_KILLED {
		p.ends.oomKills++
		p.ends.oomProcess = string(x.GetComm())
	}
	if x.GetContainerPid() != 1 {
		return
	}
	switch {
	case x.GetOutcome() == event.ExecOutcome_EXEC_OUTCOME_EXITED && x.GetExitCode() == 0:
		return
	case x.GetOutcome() == event.ExecOutcome_EXEC_OUTCOME_EXITED:
		p.ends.last = "exit code " + strconv.FormatUint(uint64(x.GetExitCode()), 10)
	case x.GetOutcome() == event.ExecOutcome_EXEC_OUTCOME_OOM_KILLED:
		p.ends.last = "killed for want of memory"
	default:
		p.ends.last = x.GetSignal()
		if x.GetSignal() == "SIGTERM" || x.GetSignal() == "SIGKILL" {
			// Somebody wanted it to end: the kubelet says why.
			return
		}
	}
	p.ends.crashes++
	if any && x.GetOutcome() == event.ExecOutcome_EXEC_OUTCOME_EXITED && at-min(failed.at, at) < atMostBefore {
		switch failed.errno {
		case "ENOENT", "ENOTDIR":
			p.ends.missing = failed.text
		case "EACCES", "EPERM", "EROFS":
			p.ends.denied = failed.text
		}
	}
}

// optional are parts of paths that programs and their libraries look for and do without.
var optional = []string{
	"/locale/",
	"/gconv/",
	"/terminfo/",
	"/zoneinfo/",
	"/__pycache__/",
	"/etc/ld.so.",
	"/etc/localtime",
	"/etc/nsswitch.conf",
	"/etc/gai.conf",
	"/etc/host.conf",
	"/.git/",
	"/etc/ssl/openssl.cnf",
}

// optionalAt are the beginnings of such paths.
var optionalAt = []string{"/proc/", "/sys/", "/dev/"}

// onSyscall takes a system call that failed.
func (p *pod) onSyscall(at uint64, s *event.Syscall) {
	file := string(s.GetPath())
	if file == "" || s.GetErrno() == "" || isOptional(file) {
		return
	}
	if _, known := p.ends.failed[s.GetPid()]; !known {
		if len(p.ends.failed) == maxProcesses {
			p.full = true
			p.kept.calls -= len(p.ends.failed)
			clear(p.ends.failed)
		}
		if !room(&p.kept.calls, maxAllCalls) {
			p.full = true
			return
		}
	}
	p.ends.failed[s.GetPid()] = failedCall{at, s.GetName() + " " + file + ": " + s.GetErrno(), s.GetErrno()}
}

func isOptional(file string) bool {
	if slices.ContainsFunc(optionalAt, func(s string) bool { return strings.HasPrefix(file, s) }) ||
		slices.ContainsFunc(optional, func(s string) bool { return strings.Contains(file, s) }) {
		return true
	}
	base := path.Base(file)
	return strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.") || strings.HasSuffix(base, ".pyc") ||
		strings.HasSuffix(base, ".mo")
}
