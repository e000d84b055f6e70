package render

import (
	"fmt"
	"io"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// stageWords describe where events were lost.
var stageWords = map[event.LossStage]string{
	event.LossStage_LOSS_STAGE_KERNEL_BUFFER: "the kernel's ring buffer was full",
	event.LossStage_LOSS_STAGE_KERNEL_MAP:    "a kernel map was full",
	event.LossStage_LOSS_STAGE_KERNEL_BUSY:   "a program was interrupted by what it observes; at most so many",
	event.LossStage_LOSS_STAGE_NAMING:        "their container's name did not come in time",
	event.LossStage_LOSS_STAGE_QUEUE:         "the tracer's queue was full",
	event.LossStage_LOSS_STAGE_STREAM_GAP:    "the stream was cut for too long",
	event.LossStage_LOSS_STAGE_MERGE:         "the merge held too much",
	event.LossStage_LOSS_STAGE_DECODE:        "they could not be understood",
}

// Notice describes a lost or nodeStatus event in one line, without a newline and safe for a terminal. It is empty for
// other kinds.
func Notice(ev *event.Event) string {
	switch k := ev.GetKind().(type) {
	case *event.Event_Lost:
		why, ok := stageWords[k.Lost.GetStage()]
		if !ok {
			why = "for a reason this version does not know"
		}
		of := ""
		if s := k.Lost.GetSource(); s != "" {
			of = " of " + s
		}
		if p := ev.GetPod(); p != "" {
			of += " of pod " + ev.GetNamespace() + "/" + p
		}
		if by := k.Lost.GetCausedBy(); by.GetPod() != "" {
			of += " because of pod " + by.GetNamespace() + "/" + by.GetPod()
		}
		verb := "lost"
		if k.Lost.GetStage() == event.LossStage_LOSS_STAGE_NAMING {
			verb = "did not name" // they were delivered
		}
		return safe.Text(fmt.Sprintf("%s: %s %s%s: %s", source(ev), verb, plural.Count(k.Lost.GetCount(), "event"), of,
			why))
	case *event.Event_NodeStatus:
		text := source(ev) + ": " + k.NodeStatus.GetState().Word()
		if m := k.NodeStatus.GetMessage(); m != "" {
			text += ": " + m
		}
		return safe.Text(text)
	}
	return ""
}

func source(ev *event.Event) string {
	if ev.GetNode() == "" {
		return "viewer"
	}
	return ev.GetNode()
}

// selector passes on the events of the wanted kinds and writes notices of the others.
type selector struct {
	Printer
	kinds   []*event.Kind
	notices io.Writer
}

func (s *selector) Print(ev *event.Event) error {
	if slices.Contains(s.kinds, event.KindOf(ev)) {
		return s.Printer.Print(ev)
	}
	if s.notices == nil {
		return nil
	}
	if line := Notice(ev); line != "" {
		// A failed notice does not end the session: standard error may be closed.
		_, _ = fmt.Fprintln(s.notices, line)
	}
	return nil
}
