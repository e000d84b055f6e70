package event

import (
	"strings"
	"unsafe"
)

func isExec(ev *Event) bool { _, ok := ev.GetKind().(*Event_Exec); return ok }

// The words of the enums by number; the first of each, unknown, is null.
var (
	execPhases   = []string{"", "exec", "exit"}
	execOutcomes = []string{"", "exited", "signaled", "oom-killed"}
)

// Word is the phase as JSON and tables show it; empty when unknown.
func (p ExecPhase) Word() string { return word(execPhases, int32(p)) }

// Word is the outcome as JSON shows it; empty when unknown.
func (o ExecOutcome) Word() string { return word(execOutcomes, int32(o)) }

// execColumns are what an exec adds, in the order of the JSON object.
var execColumns = concat(
	podCells,
	[]Column{
		{
			Name: "phase", Header: "PHASE", Type: Enum, Enum: execPhases[1:], Width: 5,
			Outputs: InTable | InWide | InJSON,
			Doc:     "exec: the process began a program; exit: it ended, with all its threads.",
			Get:     func(ev *Event) Value { return String(ev.GetExec().GetPhase().Word()) },
		},
		{
			Name: "pid", Header: "PID", Type: Number, Width: 7, Outputs: InTable | InWide | InJSON,
			Doc: "Process id on the node.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetExec().GetPid())) },
		},
		{
			Name: "containerPid", Header: "CPID", Type: Number, Width: 5, Outputs: InWide | InJSON,
			Doc: "Process id in the process's own PID namespace: the one that programs in the container see.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetExec().GetContainerPid())) },
		},
		{
			Name: "ppid", Header: "PPID", Type: Number, Width: 7, Outputs: InTable | InWide | InJSON,
			Doc: "Process id of the parent, on the node.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetExec().GetPpid())) },
		},
		{
			Name: "uid", Header: "UID", Type: Number, Width: 5, Outputs: InTable | InWide | InJSON,
			Doc: "User id, as the node sees it; in a pod with its own user namespace, not the one in the container.",
			Get: func(ev *Event) Value {
				if e := ev.GetExec(); e != nil {
					return Optional(e.Uid)
				}
				return Value{}
			},
		},
		{
			Name: "comm", Header: "COMM", Type: Text, Width: 15, Outputs: InJSON,
			Doc: "Command name of the process (task_struct.comm). Bytes that are not UTF-8 are quoted as in command.",
			Get: func(ev *Event) Value { return exact(ev.GetExec().GetComm()) },
		},
		{
			Name: "parentComm", Header: "PARENT", Type: Text, Width: 15, Outputs: InWide | InJSON,
			Doc: "Command name of the parent.",
			Get: func(ev *Event) Value { return exact(ev.GetExec().GetParentComm()) },
		},
		{
			Name: "filename", Header: "FILENAME", Type: Text, Width: 20, Outputs: InJSON,
			Doc: "exec: path of the program as it was given to the kernel, at most 255 bytes.",
			Get: func(ev *Event) Value { return exact(ev.GetExec().GetFilename()) },
		},
		{
			Name: "command", Header: "COMMAND-LINE", Type: Text, Width: 30, Outputs: InJSON,
			Doc: "exec: the arguments, quoted so that a shell reads exactly them: control characters and what is not " +
				"UTF-8 stand as $'\\x1b'. " +
				"At most 4096 bytes of them.",
			Get: func(ev *Event) Value { return String(commandLine(ev.GetExec())) },
		},
		{
			Name: "argsTruncated", Header: "CUT", Type: Bool, Outputs: InJSON,
			Doc: "exec: there were more arguments than command holds.",
			Get: func(ev *Event) Value {
				if e := ev.GetExec(); e != nil {
					return optionalFlag(e.ArgsTruncated)
				}
				return Value{}
			},
		},
		{
			Name: "cwd", Header: "CWD", Type: Text, Width: 20, Outputs: InWide | InJSON,
			Doc: `exec: working directory, from the process's own root; begins with "..." where it was too long or ` +
				`lies outside of that root.`,
			Get: func(ev *Event) Value { return exact(ev.GetExec().GetCwd()) },
		},
		{
			Name: "outcome", Header: "OUTCOME", Type: Enum, Enum: execOutcomes[1:], Outputs: InJSON,
			Doc: "exit: exited by itself, signaled (killed by a signal), or oom-killed (by the kernel, for want of " +
				"memory).",
			Get: func(ev *Event) Value { return String(ev.GetExec().GetOutcome().Word()) },
		},
		{
			Name: "exitCode", Header: "EXIT-CODE", Type: Number, Outputs: InJSON,
			Doc: "exit: the code it exited with; null where a signal ended it.",
			Get: func(ev *Event) Value {
				if e := ev.GetExec(); e != nil {
					return Optional(e.ExitCode)
				}
				return Value{}
			},
		},
		{
			Name: "signal", Header: "SIGNAL", Type: Text, Outputs: InJSON,
			Doc: "exit: the signal that ended it, SIGSEGV.",
			Get: func(ev *Event) Value { return String(ev.GetExec().GetSignal()) },
		},
		{
			Name: "coreDumped", Header: "CORE", Type: Bool, Outputs: InJSON,
			Doc: "exit: the kernel wrote a core dump.",
			Get: func(ev *Event) Value {
				if e := ev.GetExec(); e != nil {
					return optionalFlag(e.CoreDumped)
				}
				return Value{}
			},
		},
		{
			Name: "memoryLimitBytes", Header: "LIMIT", Type: Bytes, Outputs: InJSON,
			Doc: "exit, oom-killed: lowest memory limit that held for the container; null where there is none and " +
				"the node itself ran out.",
			Get: func(ev *Event) Value {
				if e := ev.GetExec(); e != nil {
					return Optional(e.MemoryLimitBytes)
				}
				return Value{}
			},
		},
		{
			Name: "lifetimeMicros", Header: "LIFETIME", Type: Micros, Outputs: InTable | InWide | InJSON,
			Doc: "exit: time since the process was forked, in µs.",
			Get: func(ev *Event) Value {
				if e := ev.GetExec(); e != nil {
					return Optional(e.LifetimeMicros)
				}
				return Value{}
			},
		},
		{
			Name: "result", Header: "RESULT",
			Doc: "How it ended: exit 1, SIGSEGV (core dumped), OOM-killed (limit 64Mi).", Width: 10,
			Outputs: InTable | InWide, Show: showResult,
		},
		{
			Name: "process", Header: "COMMAND",
			Doc:   "The command line, cut to what a person reads; of an exit, the command name in brackets.",
			Width: 30, Outputs: InTable, Show: func(dst []byte, ev *Event, _ *View) []byte {
				return showCommand(dst, ev, 120)
			},
		},
		{
			Name: "wholeCommand", Header: "COMMAND",
			Doc:   "The whole command line; of an exit, the command name in brackets.",
			Width: 30, Outputs: InWide, Show: func(dst []byte, ev *Event, _ *View) []byte {
				return showCommand(dst, ev, 1<<16)
			},
		},
	},
)

func showResult(dst []byte, ev *Event, _ *View) []byte {
	e := ev.GetExec()
	switch e.GetOutcome() {
	case ExecOutcome_EXEC_OUTCOME_EXITED:
		return Optional(e.ExitCode).Append(append(dst, "exit "...))
	case ExecOutcome_EXEC_OUTCOME_SIGNALED:
		dst = append(dst, e.Signal...)
		if e.GetCoreDumped() {
			dst = append(dst, " (core dumped)"...)
		}
	case ExecOutcome_EXEC_OUTCOME_OOM_KILLED:
		dst = append(dst, "OOM-killed"...)
		if e.MemoryLimitBytes != nil {
			dst = append(AppendBytes(append(dst, " (limit "...), *e.MemoryLimitBytes), ')')
		}
	}
	return dst
}

func showCommand(dst []byte, ev *Event, most int) []byte {
	e := ev.GetExec()
	switch {
	case e.GetPhase() == ExecPhase_EXEC_PHASE_EXIT:
		return append(append(append(dst, '['), e.Comm...), ']')
	case len(e.GetArgs()) == 0:
		return append(dst, e.GetFilename()...)
	}
	line := commandLine(e)
	cut := e.GetArgsTruncated()
	if runes := []rune(line); len(runes) > most {
		line, cut = string(runes[:most]), true
	}
	dst = append(dst, line...)
	if cut {
		dst = append(dst, "..."...)
	}
	return dst
}

// commandLine is the arguments as a shell reads them; empty where they are not known.
func commandLine(e *Exec) string {
	args := e.GetArgs()
	if len(args) == 0 {
		return ""
	}
	// The last argument has its NUL too, unless it was cut.
	text := strings.TrimSuffix(unsafe.String(&args[0], len(args)), "\x00")
	dst := make([]byte, 0, len(text)+len(text)/8+2)
	for i, arg := range strings.Split(text, "\x00") {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = appendShell(dst, arg)
	}
	return string(dst)
}
