package mcp

import (
	"encoding/json"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// columnRow is a row of the tool columns.
type columnRow struct {
	Column  string   `json:"column"`
	Type    string   `json:"type"`
	Values  []string `json:"values,omitempty"`
	Meaning string   `json:"meaning"`
}

// columnsTool lists the columns of a kind.
func columnsTool() *tool {
	var kinds []string
	for _, k := range event.Kinds() {
		kinds = append(kinds, k.Name)
	}
	return &tool{
		name: "columns", title: "List columns of rows",
		description: "List the columns of a kind of row, for filter, sortBy and fields: name, type, meaning. " +
			"trace network and query flows have rows of the kind flow.",
		parameters: []string{"kind"}, required: []string{"kind"},
		words: map[string][]string{"kind": kinds},
		answer: func(a arguments) (*answer, error) {
			out := newAnswer()
			for _, c := range event.KindByName(a.text("kind")).Columns {
				if c.Outputs&event.InJSON == 0 {
					continue
				}
				row, err := json.Marshal(columnRow{c.Name, c.TypeName(), c.Enum, c.Doc})
				if err != nil {
					return nil, err
				}
				out.Rows = append(out.Rows, row)
			}
			return out, nil
		},
	}
}
