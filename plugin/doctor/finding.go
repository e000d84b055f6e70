// Package doctor finds out whether kubectl orb8 can run on a cluster and its nodes, and what fixes it where it cannot.
package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/cli-runtime/pkg/printers"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// Status of a finding.
type Status string

// A warning limits what can be seen; a failure prevents a session. Unknown is what could not be tried.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Failure Status = "failure"
	Unknown Status = "unknown"
)

// Finding is one thing that was looked at.
type Finding struct {
	// Node is empty for what concerns the cluster.
	Node   string
	Check  string
	Status Status
	Detail string
	// Fix is the command or change that fixes it; empty where there is nothing to fix.
	Fix string
}

// MarshalJSON writes the contract of `doctor -o json`: what does not apply is null.
func (f Finding) MarshalJSON() ([]byte, error) {
	null := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	return json.Marshal(struct {
		SchemaVersion int     `json:"schemaVersion"`
		Kind          string  `json:"kind"`
		Node          *string `json:"node"`
		Check         string  `json:"check"`
		Status        Status  `json:"status"`
		Detail        string  `json:"detail"`
		Fix           *string `json:"fix"`
	}{2, "finding", null(f.Node), f.Check, f.Status, f.Detail, null(f.Fix)})
}

// WriteJSON writes one object a line.
func WriteJSON(w io.Writer, findings []Finding) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, f := range findings {
		if err := encoder.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

// WriteTable writes a line a finding, and below it what fixes it. Text from the cluster is made safe for a terminal.
func WriteTable(w io.Writer, findings []Finding, headers bool) error {
	table := printers.GetNewTabWriter(w)
	if headers {
		if _, err := fmt.Fprintln(table, "STATUS\tNODE\tCHECK\tDETAIL"); err != nil {
			return err
		}
	}
	for _, f := range findings {
		node := f.Node
		if node == "" {
			node = "-"
		}
		cells := []string{string(f.Status), node, f.Check, f.Detail}
		if f.Status == Failure {
			cells[0] = "FAILURE"
		}
		if err := row(table, cells); err != nil {
			return err
		}
		if f.Fix == "" {
			continue
		}
		if err := row(table, []string{"", "", "", "fix: " + f.Fix}); err != nil {
			return err
		}
	}
	return table.Flush()
}

func row(w io.Writer, cells []string) error {
	for i, c := range cells {
		cells[i] = string(safe.AppendText(nil, strings.Join(strings.Fields(c), " ")))
	}
	_, err := fmt.Fprintln(w, strings.Join(cells, "\t"))
	return err
}

// Reasons why not all nodes can be traced.
var (
	ErrNoSession = errors.New("no session can run")
	ErrSomeNodes = errors.New("some nodes cannot be traced")
)

// Verdict is the closing line, and one of the reasons above, unless all nodes can be traced.
func Verdict(findings []Finding) (line string, err error) {
	tried, failed := map[string]bool{}, map[string]bool{}
	cluster, see := 0, "see above for what is wrong"
	for _, f := range findings {
		if f.Node != "" {
			tried[f.Node] = true
		}
		if f.Status != Failure {
			continue
		}
		if f.Fix != "" {
			see = "see above for what fixes it"
		}
		if f.Node == "" {
			cluster++
		} else {
			failed[f.Node] = true
		}
	}
	nodes := plural.Count(len(tried), "node")
	switch {
	case cluster > 0, len(failed) > 0 && len(failed) == len(tried):
		return fmt.Sprintf("%v: %s", ErrNoSession, see), ErrNoSession
	case len(failed) > 0:
		return fmt.Sprintf("%d of %s cannot be traced: %s", len(failed), nodes, see), ErrSomeNodes
	}
	return nodes + " can be traced", nil
}
