package event

func isSignal(ev *Event) bool { _, ok := ev.GetKind().(*Event_Signal); return ok }

// The words of the enums by number; the first of each, unknown, is null.
var (
	signalOrigins  = []string{"", "process", "kernel", "timer"}
	signalOutcomes = []string{"", "delivered", "ignored", "pending", "queue-full"}
)

// Word is the origin as JSON and tables show it; empty when unknown.
func (o SignalOrigin) Word() string { return word(signalOrigins, int32(o)) }

// Word is the outcome as JSON and tables show it; empty when unknown.
func (o SignalOutcome) Word() string { return word(signalOutcomes, int32(o)) }

// signalColumns are what a signal adds, in the order of the JSON object.
var signalColumns = concat(
	podCells,
	[]Column{
		{
			Name: "signal", Header: "SIGNAL", Type: Text, Width: 10, Outputs: InTable | InWide | InJSON,
			Doc: "Name of the signal: SIGTERM, SIGRTMIN+2.",
			Get: func(ev *Event) Value { return String(ev.GetSignal().GetSignal()) },
		},
		{
			Name: "number", Header: "NUMBER", Type: Number, Width: 6, Outputs: InWide | InJSON,
			Doc: "Number of the signal.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetSignal().GetNumber())) },
		},
		{
			Name: "outcome", Header: "OUTCOME", Type: Enum, Enum: signalOutcomes[1:], Width: 10,
			Outputs: InTable | InWide | InJSON,
			Doc: "delivered; ignored: the target ignores it; pending: the same signal was pending, so that this one " +
				"adds nothing; queue-full: the queue of real-time signals was full, and the sender got EAGAIN.",
			Get: func(ev *Event) Value { return String(ev.GetSignal().GetOutcome().Word()) },
		},
		{
			Name: "pid", Header: "PID", Type: Number, Width: 7, Outputs: InTable | InWide | InJSON,
			Doc: "Process id of the target, on the node.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetSignal().GetPid())) },
		},
		{
			Name: "containerPid", Header: "CPID", Type: Number, Width: 5, Outputs: InWide | InJSON,
			Doc: "Process id of the target in its own PID namespace: the one that programs in the container see.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetSignal().GetContainerPid())) },
		},
		{
			Name: "comm", Header: "COMM", Type: Text, Width: 15, Outputs: InTable | InWide | InJSON,
			Doc: "Command name of the target (task_struct.comm).",
			Get: func(ev *Event) Value { return exact(ev.GetSignal().GetComm()) },
		},
		{
			Name: "toThread", Header: "TO-THREAD", Type: Bool, Outputs: InWide | InJSON,
			Doc: "It was sent to one thread (tgkill), not to the whole process.",
			Get: func(ev *Event) Value {
				if s := ev.GetSignal(); s != nil {
					return optionalFlag(s.ToThread)
				}
				return Value{}
			},
		},
		{
			Name: "origin", Header: "ORIGIN", Type: Enum, Enum: signalOrigins[1:], Width: 7,
			Outputs: InTable | InWide | InJSON,
			Doc: "process: a process sent it; kernel: the kernel did (a fault, the OOM killer, a closed pipe, a " +
				"terminal); timer: a timer of the target.",
			Get: func(ev *Event) Value { return String(ev.GetSignal().GetOrigin().Word()) },
		},
		{
			Name: "code", Header: "CODE", Type: Signed, Outputs: InWide | InJSON,
			Doc: "si_code of sigaction(2): 0 kill, -1 sigqueue, -6 tgkill; null where the kernel sent it without.",
			Get: func(ev *Event) Value {
				if s := ev.GetSignal(); s != nil && s.Code != nil {
					return Int(int64(*s.Code))
				}
				return Value{}
			},
		},
		{
			Name: "senderPid", Header: "SENDER-PID", Type: Number, Width: 7, Outputs: InTable | InWide | InJSON,
			Doc: "Process id of the sender, on the node; null where no process sent it.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetSignal().GetSenderPid())) },
		},
		{
			Name: "senderUid", Header: "SENDER-UID", Type: Number, Outputs: InWide | InJSON,
			Doc: "User id of the sender, as the node sees it.",
			Get: func(ev *Event) Value {
				if s := ev.GetSignal(); s != nil {
					return Optional(s.SenderUid)
				}
				return Value{}
			},
		},
		{
			Name: "senderComm", Header: "SENDER", Type: Text, Width: 15, Outputs: InTable | InWide | InJSON,
			Doc: "Command name of the sender. It may be a process of another container or of the node: the container " +
				"runtime stops containers.",
			Get: func(ev *Event) Value { return exact(ev.GetSignal().GetSenderComm()) },
		},
	},
)
