package event

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestExec_Result(t *testing.T) {
	for want, e := range map[string]*Exec{
		"exit 0":   {Outcome: ExecOutcome_EXEC_OUTCOME_EXITED, ExitCode: proto.Uint32(0)},
		"exit 137": {Outcome: ExecOutcome_EXEC_OUTCOME_EXITED, ExitCode: proto.Uint32(137)},
		"SIGTERM": {Outcome: ExecOutcome_EXEC_OUTCOME_SIGNALED, Signal: "SIGTERM",
			CoreDumped: proto.Bool(false)},
		"SIGSEGV (core dumped)": {Outcome: ExecOutcome_EXEC_OUTCOME_SIGNALED, Signal: "SIGSEGV",
			CoreDumped: proto.Bool(true)},
		"OOM-killed (limit 64.0Mi)": {Outcome: ExecOutcome_EXEC_OUTCOME_OOM_KILLED, Signal: "SIGKILL",
			MemoryLimitBytes: proto.Uint64(64 << 20)},
		"OOM-killed": {Outcome: ExecOutcome_EXEC_OUTCOME_OOM_KILLED, Signal: "SIGKILL"},
		NotAvailable: {},
	} {
		if got := cellOf(t, "result", e); got != want {
			t.Errorf("%v is %q, want %q", e, got, want)
		}
	}
}

func TestExec_CommandIsCutInTablesOnly(t *testing.T) {
	long := &Exec{Phase: ExecPhase_EXEC_PHASE_EXEC, Args: []byte("sh\x00" + strings.Repeat("é", 300) + "\x00")}
	if got := cellOf(t, "process", long); len([]rune(got)) != 123 || !strings.HasSuffix(got, "é...") {
		t.Errorf("%d characters: %s", len([]rune(got)), got)
	}
	if got := cellOf(t, "wholeCommand", long); got != "sh '"+strings.Repeat("é", 300)+"'" {
		t.Errorf("%s", got)
	}
	for want, e := range map[string]*Exec{
		"[sh]":     {Phase: ExecPhase_EXEC_PHASE_EXIT, Comm: []byte("sh")},
		"/bin/sh":  {Phase: ExecPhase_EXEC_PHASE_EXEC, Filename: []byte("/bin/sh")},
		"sh ab...": {Phase: ExecPhase_EXEC_PHASE_EXEC, Args: []byte("sh\x00ab"), ArgsTruncated: proto.Bool(true)},
	} {
		if got := cellOf(t, "process", e); got != want {
			t.Errorf("%v is %q, want %q", e, got, want)
		}
	}
}

func cellOf(t *testing.T, column string, e *Exec) string {
	t.Helper()
	k := KindByName("exec")
	for i := range k.Columns {
		if c := &k.Columns[i]; c.Name == column {
			return string(c.AppendCell(nil, &Event{Kind: &Event_Exec{Exec: e}}, &View{}))
		}
	}
	t.Fatalf("no column %s", column)
	return ""
}
