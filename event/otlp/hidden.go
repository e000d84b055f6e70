package otlp

import (
	"bytes"
	"encoding/base64"
	"strconv"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// hidden is a field without a column: servers need it to join and name events that they read back.
type hidden struct {
	field string
	get   func(*event.Event) event.Value
}

// hiddenFields are those of one kind.
var hiddenFields = map[string][]hidden{
	"flow": {
		{"roleKnown", func(ev *event.Event) event.Value { return present(ev.GetFlow().GetRoleKnown()) }},
		{"srcIsn", func(ev *event.Event) event.Value { return sequence(ev.GetFlow(), (*event.Flow).GetSrcIsn) }},
		{"dstIsn", func(ev *event.Event) event.Value { return sequence(ev.GetFlow(), (*event.Flow).GetDstIsn) }},
		{"responseHistogram", func(ev *event.Event) event.Value {
			return event.String(numbers(responseTimes(ev).GetHistogram()))
		}},
		{"responseHistogramMax", func(ev *event.Event) event.Value {
			return event.NonZero(responseTimes(ev).GetMaxMicros())
		}},
		{"responseHistogramTotal", func(ev *event.Event) event.Value {
			return event.NonZero(responseTimes(ev).GetTotalMicros())
		}},
		{"socketCookie", func(ev *event.Event) event.Value { return event.NonZero(ev.GetFlow().GetSocketCookie()) }},
	},
	"tcp": {
		{"roleKnown", func(ev *event.Event) event.Value { return present(ev.GetTcp().GetRoleKnown()) }},
		{"processEnded", func(ev *event.Event) event.Value { return present(ev.GetTcp().GetProcessEnded()) }},
	},
	"exec": {
		{"rawArgs", func(ev *event.Event) event.Value { return rawArgs(ev.GetExec()) }},
	},
	"syscallSummary": {
		{"histogram", func(ev *event.Event) event.Value {
			return event.String(numbers(ev.GetSyscallSummary().GetHistogram()))
		}},
	},
}

// hiddenEnds are those of kinds with two ends.
var hiddenEnds = []hidden{
	{"src.podUid", func(ev *event.Event) event.Value { return event.String(event.EndsOf(ev).GetSrc().GetPodUid()) }},
	{"dst.podUid", func(ev *event.Event) event.Value { return event.String(event.EndsOf(ev).GetDst().GetPodUid()) }},
}

func hiddenOf(k *event.Kind) []hidden {
	own := hiddenFields[k.Name]
	if k.Column("src.address") != nil {
		own = append(own[:len(own):len(own)], hiddenEnds...)
	}
	return own
}

// responseTimes returns those of a half of a flow.
func responseTimes(ev *event.Event) *event.ResponseTimes {
	if c := ev.GetFlow().GetSrcCounters(); c != nil {
		return c.Responses
	}
	return ev.GetFlow().GetDstCounters().GetResponses()
}

// present is true, or null.
func present(b bool) event.Value {
	if !b {
		return event.Value{}
	}
	return event.Flag(true)
}

// sequence is an initial sequence number, null where it is not valid.
func sequence(f *event.Flow, get func(*event.Flow) uint32) event.Value {
	if !f.GetIsnValid() {
		return event.Value{}
	}
	return event.Uint(uint64(get(f)))
}

// rawArgs are the arguments in base64 where the command line is not enough: the last one was cut.
func rawArgs(e *event.Exec) event.Value {
	args := e.GetArgs()
	if len(args) == 0 {
		return event.Value{}
	}
	command := event.KindByName("exec").Column("command").Get(&event.Event{Kind: &event.Event_Exec{Exec: e}})
	if read, ok := parseCommand(command.Str()); ok && bytes.Equal(read, args) {
		return event.Value{}
	}
	return event.String(base64.StdEncoding.EncodeToString(args))
}

// numbers writes numbers with commas between.
func numbers(all []uint64) string {
	var b []byte
	for i, n := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, n, 10)
	}
	return string(b)
}
