package event

import "strconv"

func isSyscall(ev *Event) bool { _, ok := ev.GetKind().(*Event_Syscall); return ok }

func isSyscallSummary(ev *Event) bool { _, ok := ev.GetKind().(*Event_SyscallSummary); return ok }

// syscallPhases are the words of SyscallPhase by number; the first, unknown, is null.
var syscallPhases = []string{"", "returned", "running", "noReturn"}

// Word is the phase as JSON and tables show it; empty when unknown.
func (p SyscallPhase) Word() string { return word(syscallPhases, int32(p)) }

var syscallColumns = concat(podCells, []Column{
	{
		Name: "phase", Header: "PHASE", Type: Enum, Enum: syscallPhases[1:], Width: 8, Outputs: InWide | InJSON,
		Doc: "returned: the call has returned; running: it has not yet, and is reported again; noReturn: it never " +
			"does (exit, exit_group).",
		Get: func(ev *Event) Value { return String(ev.GetSyscall().GetPhase().Word()) },
	},
	{
		Name: "pid", Header: "PID", Type: Number, Outputs: InJSON,
		Doc: "Process id on the node.",
		Get: func(ev *Event) Value { return NonZero(uint64(ev.GetSyscall().GetPid())) },
	},
	{
		Name: "tid", Header: "TID", Type: Number, Width: 7, Outputs: InWide | InJSON,
		Doc: "Thread id on the node.",
		Get: func(ev *Event) Value { return NonZero(uint64(ev.GetSyscall().GetTid())) },
	},
	{
		Name: "comm", Header: "COMM", Type: Text, Outputs: InJSON,
		Doc: "Command of the thread. Bytes that are not UTF-8 are quoted as in path.",
		Get: func(ev *Event) Value { return exact(ev.GetSyscall().GetComm()) },
	},
	{
		Name: "process", Header: "PROCESS", Doc: "Command of the thread, and process id.", Width: 16,
		Outputs: InTable | InWide,
		Show: func(dst []byte, ev *Event, _ *View) []byte {
			s := ev.GetSyscall()
			if s.GetPid() == 0 {
				return dst
			}
			dst = append(append(dst, s.GetComm()...), '(')
			return append(strconv.AppendUint(dst, uint64(s.GetPid()), 10), ')')
		},
	},
	{
		Name: "name", Header: "NAME", Type: Text, Outputs: InJSON,
		Doc: `Name of the call on its architecture; "syscall_NUMBER" where it has none.`,
		Get: func(ev *Event) Value { return String(ev.GetSyscall().GetName()) },
	},
	{
		Name: "abi", Header: "ABI", Type: Text, Width: 5, Outputs: InWide | InJSON,
		Doc: "Instruction set that the program made the call for: amd64, arm64, 386, arm, x32.",
		Get: func(ev *Event) Value { return String(ev.GetSyscall().GetAbi()) },
	},
	{
		Name: "args", Header: "ARGS", Type: Text, Required: true, Outputs: InJSON,
		Doc: `Arguments as people read them: text quoted with escapes, file descriptors with what they are open on, ` +
			`flags by name; ? for text that could not be read. Empty for a call that has none.`,
		Get: func(ev *Event) Value { return Value{kind: StringValue, bytes: ev.GetSyscall().GetArgs()} },
	},
	{
		Name: "path", Header: "PATH", Type: Text, Outputs: InJSON,
		Doc: "First path among the arguments, as it was given; one that is not UTF-8 as $'\\xff'. " +
			"Null where there is none, or it could not be read.",
		Get: func(ev *Event) Value { return exact(ev.GetSyscall().GetPath()) },
	},
	{
		Name: "call", Header: "CALL", Doc: "Name and arguments.", Width: 48, Outputs: InTable | InWide,
		Show: func(dst []byte, ev *Event, _ *View) []byte {
			s := ev.GetSyscall()
			if s.GetName() == "" {
				return dst
			}
			dst = append(append(dst, s.GetName()...), '(')
			return append(append(dst, s.GetArgs()...), ')')
		},
	},
	{
		Name: "result", Header: "RESULT", Type: Signed, Outputs: InJSON,
		Doc: "What the call returned, minus the error's number where it failed; null for a call that has not returned.",
		Get: func(ev *Event) Value {
			if s := ev.GetSyscall(); s != nil && s.Result != nil {
				return Int(*s.Result)
			}
			return Value{}
		},
	},
	{
		Name: "errno", Header: "ERRNO", Type: Text, Outputs: InJSON,
		Doc: `Name of the error ("ENOENT"); null where there was none.`,
		Get: func(ev *Event) Value { return String(ev.GetSyscall().GetErrno()) },
	},
	{
		Name: "outcome", Header: "RESULT", Doc: "Error by name, else what the call returned.", Width: 8,
		Outputs: InTable | InWide,
		Show: func(dst []byte, ev *Event, _ *View) []byte {
			s := ev.GetSyscall()
			switch {
			case s.GetErrno() != "":
				return append(dst, s.GetErrno()...)
			case s.GetPhase() == SyscallPhase_SYSCALL_PHASE_RUNNING:
				return append(dst, "..."...)
			case s == nil || s.Result == nil:
				return dst
			case *s.Result > 1<<32:
				// An address.
				return strconv.AppendInt(append(dst, "0x"...), *s.Result, 16)
			}
			return strconv.AppendInt(dst, *s.Result, 10)
		},
	},
	{
		Name: "durationNanos", Header: "DURATION", Type: Nanos, Width: 8, Outputs: InTable | InWide | InJSON,
		Doc: "From the entry to the exit in ns, by the kernel's monotonic clock; of a running call so far. Null " +
			"where the entry was not seen: " +
			"the call is older than the trace, or seccomp answered in its place.",
		Get: func(ev *Event) Value {
			if s := ev.GetSyscall(); s != nil {
				return Optional(s.DurationNanos)
			}
			return Value{}
		},
	},
})

var syscallSummaryColumns = concat(podCells, []Column{
	{
		Name: "id", Header: "ID", Type: Text, Width: 16, Outputs: InJSON,
		Doc: "Same for all events of one container and call.",
		Get: func(ev *Event) Value { return String(ev.GetSyscallSummary().GetId()) },
	},
	{
		Name: "name", Header: "CALL", Type: Text, Width: 18, Outputs: InTable | InWide | InJSON,
		Doc: `Name of the call on its architecture; "syscall_other" for numbers that have none.`,
		Get: func(ev *Event) Value { return String(ev.GetSyscallSummary().GetName()) },
	},
	{
		Name: "abi", Header: "ABI", Type: Text, Width: 5, Outputs: InWide | InJSON,
		Doc: "Instruction set that the program made the call for: amd64, arm64, 386, arm, x32.",
		Get: func(ev *Event) Value { return String(ev.GetSyscallSummary().GetAbi()) },
	},
	{
		Name: "calls", Header: "CALLS", Type: Count, Width: 9, Required: true, Outputs: InTable | InWide | InJSON,
		Doc: "Calls by the container since the trace began.",
		Get: func(ev *Event) Value { return Uint(ev.GetSyscallSummary().GetCalls()) },
	},
	{
		Name: "errors", Header: "ERRORS", Type: Count, Required: true, Outputs: InTable | InWide | InJSON,
		Doc: "Those that returned an error.",
		Get: func(ev *Event) Value { return Uint(ev.GetSyscallSummary().GetErrors()) },
	},
	{
		Name: "timed", Header: "TIMED", Type: Count, Required: true, Outputs: InWide | InJSON,
		Doc: "Those that the trace saw begin and return: the durations are of these.",
		Get: func(ev *Event) Value { return Uint(ev.GetSyscallSummary().GetTimed()) },
	},
	nanos("totalNanos", "TOTAL", 8, "How long these took together, ns.",
		func(s *SyscallSummary) *uint64 { return s.TotalNanos }),
	quantile("p50Nanos", "P50", "Half", func(s *SyscallSummary) *uint64 { return s.P50Nanos }),
	quantile("p95Nanos", "P95", "95 of 100", func(s *SyscallSummary) *uint64 { return s.P95Nanos }),
	quantile("p99Nanos", "P99", "99 of 100", func(s *SyscallSummary) *uint64 { return s.P99Nanos }),
})

func quantile(name, header, what string, get func(*SyscallSummary) *uint64) Column {
	return nanos(name, header, 7,
		what+" of these took no longer, ns, by a histogram of powers of two: within its bucket it is estimated.", get)
}

func nanos(name, header string, width int, doc string, get func(*SyscallSummary) *uint64) Column {
	return Column{
		Name: name, Header: header, Type: Nanos, Width: width, Outputs: InTable | InWide | InJSON, Doc: doc,
		Get: func(ev *Event) Value {
			if s := ev.GetSyscallSummary(); s != nil {
				return Optional(get(s))
			}
			return Value{}
		},
	}
}
