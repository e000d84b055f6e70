package render

import (
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(event.Schema())))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("event.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("event.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestJSON_MatchesSchema(t *testing.T) {
	s := schema(t)
	events := append(sample(), hostile(),
		&event.Event{Kind: &event.Event_Flow{Flow: &event.Flow{}}},
		&event.Event{Kind: &event.Event_Lost{Lost: &event.Lost{}}},
		&event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{}}},
	)
	out, _ := print(t, Options{Output: "json"}, events...)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != len(events) {
		t.Fatalf("%d lines for %d events", len(lines), len(events))
	}
	for _, line := range lines {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s\n%v", line, err)
		}
	}
}

func TestSchema_RefusesInvalidEvents(t *testing.T) {
	s := schema(t)
	out, _ := print(t, Options{Output: "json"}, sample()[0])
	for from, to := range map[string]string{
		`"kind":"flow"`:                 `"kind":"flw"`,
		`"protocol":"tcp"`:              `"protocol":"TCP"`,
		`"bytesSent":1234567`:           `"bytesSent":"1234567"`,
		`"address":"10.244.0.5"`:        `"address":"10.244.0.500"`,
		`"node":"node-1",`:              ``,
		`"schemaVersion":2`:             `"schemaVersion":2,"extra":1`,
		`T22:13:20.123456789Z","node"`:  `","node"`,
		`"srttMicros":1240,"retransmit`: `"srttMicros":-1,"retransmit`,
	} {
		line := strings.Replace(out, from, to, 1)
		if line == out {
			t.Errorf("%s is not in %s", from, out)
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(v) == nil {
			t.Errorf("the schema takes %s for %s", to, from)
		}
	}
}
