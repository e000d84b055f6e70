package request

import (
	"strings"
	"testing"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"
)

func TestEnvelope(t *testing.T) {
	record, err := proto.Marshal(&logspb.LogRecord{EventName: "x"})
	if err != nil {
		t.Fatal(err)
	}
	e := NewEnvelope([]Attribute{{"service.name", "agent"}, {"k8s.node.name", ""}},
		map[string]string{"b": "\xff", "a": strings.Repeat("x", 1000)}, "orb8", "v1")
	for _, n := range []int{0, 1, 100, 10_000, 100_000} { // lengths of one to three bytes
		buf := make([]byte, e.Room())
		for range n {
			buf = e.AppendRecord(buf, record)
		}
		var data logspb.LogsData
		if err := proto.Unmarshal(e.Seal(buf), &data); err != nil {
			t.Fatal(err)
		}
		resource := data.GetResourceLogs()[0]
		var names []string
		for _, kv := range resource.GetResource().GetAttributes() {
			names = append(names, kv.GetKey()+"="+strings.TrimRight(kv.GetValue().GetStringValue(), "x"))
		}
		scope := resource.GetScopeLogs()[0]
		if got := strings.Join(names, " "); got != "service.name=agent a= b=\ufffd" {
			t.Errorf("resource %s", got)
		}
		if scope.GetScope().GetName() != "orb8" || scope.GetScope().GetVersion() != "v1" ||
			len(scope.GetLogRecords()) != n {
			t.Errorf("scope %v, %d records, want %d", scope.GetScope(), len(scope.GetLogRecords()), n)
		}
	}
}
