package event

func isNodeStatus(ev *Event) bool { _, ok := ev.GetKind().(*Event_NodeStatus); return ok }

// nodeStates are the words of NodeState by number; the first, unknown, is null.
var nodeStates = []string{"", "starting", "streaming", "reconnecting", "failed", "stopped"}

// Word is the state as JSON and tables show it; empty when unknown.
func (s NodeState) Word() string { return word(nodeStates, int32(s)) }

var nodeStatusColumns = []Column{
	{
		Name: "state", Header: "STATE", Type: Enum, Enum: nodeStates[1:], Width: 12, Outputs: InTable | InWide | InJSON,
		Doc: "What the node's stream is doing.",
		Get: func(ev *Event) Value { return String(ev.GetNodeStatus().GetState().Word()) },
	},
	{
		Name: "message", Header: "MESSAGE", Type: Text, Outputs: InTable | InWide | InJSON,
		Doc: "The same in words, for people.",
		Get: func(ev *Event) Value { return String(ev.GetNodeStatus().GetMessage()) },
	},
}

// word returns the n-th word, empty for a number that this build does not know.
func word(words []string, n int32) string {
	if n < 0 || int(n) >= len(words) {
		return ""
	}
	return words[n]
}
