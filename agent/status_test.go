package agent

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/agent/export"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

func TestExportStatus(t *testing.T) {
	if got := exportStatus(export.Status{}); got != nil {
		t.Errorf("got %v without an export", got)
	}
	s := export.Status{Endpoint: "c:4317", QueueBytes: 4, LimitBytes: 5, Totals: export.Totals{Queued: 6, Sent: 1,
		Lost: 2, Pending: 3, Error: "down", FailingSince: time.Unix(0, 8)}}
	s.LostBy[export.Refused] = 2
	s.Points = export.Totals{Queued: 9, Sent: 4, Lost: 5, LastSent: time.Unix(0, 7)}
	s.Points.LostBy[export.Replaced] = 5
	want := &orbit.ExportStatus{Endpoint: "c:4317", Queued: 6, Sent: 1, Lost: 2, Pending: 3, QueueBytes: 4,
		LimitBytes: 5, Error: "down", FailingSince: 8, LostBy: map[string]uint64{"refused": 2},
		Points: &orbit.PointsStatus{Queued: 9, Sent: 4, Lost: 5, LastSent: 7, LostBy: map[string]uint64{"replaced": 5}}}
	if got := exportStatus(s); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
