// Package doctor finds out whether kubectl orb8 can run on a cluster and its nodes, and what fixes it where it cannot.
package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/liggitt/tabwriter"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// Status is the result of a check.
type Status string

// A Warning limits what a session shows, a Failure prevents one. A check that could not run is Unknown.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Failure Status = "failure"
	Unknown Status = "unknown"
)

// Finding is the result of one check.
type Finding struct {
	// Node is empty for checks of the cluster.
	Node   string
	Check  string
	Status Status
	Detail string
	// Fix is the command or change that fixes it; empty where there is nothing to fix.
	Fix string
}

// MarshalJSON writes a finding as `doctor -o json` documents it, with null for empty fields.
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

// WriteJSON writes one JSON object per line.
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

// WriteTable writes a line per finding, and the fix below it. Text from the cluster is made safe for a terminal.
func WriteTable(w io.Writer, findings []Finding, headers bool) error {
	table := tabwriter.NewWriter(w, 6, 4, 3, ' ', tabwriter.RememberWidths) // as kubectl get
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

// Verdict's errors.
var (
	ErrNoSession = errors.New("no session can run")
	ErrSomeNodes = errors.New("some nodes cannot be traced")
)

// Verdict returns the closing line, with ErrNoSession or ErrSomeNodes unless all nodes can be traced.
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
