package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/liggitt/tabwriter"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/plugin/door"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
)

// statusTimeout limits the question to a server.
const statusTimeout = 15 * time.Second

// askNodes asks a server for the states of the agents, which only servers can read.
func askNodes(
	ctx context.Context, config *rest.Config, client kube.Interface, namespace string,
) (*orbit.NodesAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var answer *orbit.NodesAnswer
	dial := serversOf(door.Options{Client: client, Config: config, Namespace: namespace})
	conn, err := remote.Ask(ctx, dial, func(conn remote.Conn) (err error) {
		answer, err = orbit.NewOrbitServiceClient(conn).Nodes(ctx, &orbit.NodesRequest{Protocol: orbit.Protocol})
		return err
	})
	if err != nil {
		return nil, remote.Explain(err)
	}
	_ = conn.Close()
	return answer, nil
}

// agentState is the state of an agent as `status -o json` documents it. What is unknown is null.
type agentState struct {
	SchemaVersion int    `json:"schemaVersion"`
	Kind          string `json:"kind"`
	Node          string `json:"node"`
	Answers       bool   `json:"answers"`
	// Message is why it does not answer.
	Message *string  `json:"message"`
	Version *string  `json:"version"`
	Kinds   []string `json:"kinds"`
	// Events since the agent's start, and those that were lost.
	Events *uint64 `json:"events"`
	Lost   *uint64 `json:"lost"`
	// HistoryEvents are kept, in HistoryBytes of HistoryLimitBytes, since HistorySince.
	HistoryEvents     *uint64    `json:"historyEvents"`
	HistoryBytes      *uint64    `json:"historyBytes"`
	HistoryLimitBytes *uint64    `json:"historyLimitBytes"`
	HistorySince      *time.Time `json:"historySince"`
	// CPUPercent of one CPU since the start, and memory.
	CPUPercent  *float64 `json:"cpuPercent"`
	MemoryBytes *uint64  `json:"memoryBytes"`
	// ClockSkewMicros is the agent's clock minus the server's.
	ClockSkewMicros   *int64     `json:"clockSkewMicros"`
	CertificateExpiry *time.Time `json:"certificateExpiry"`
	ConfigError       *string    `json:"configError"`
	Warnings          []string   `json:"warnings"`
	// Export is null if nothing is exported.
	Export *exportState `json:"export"`
}

// exportState is the state of an agent's export to an OpenTelemetry collector.
type exportState struct {
	Endpoint *string `json:"endpoint"`
	// Records that were queued since the agent's start: sent, lost, lost by reason, and still pending.
	Queued  uint64            `json:"queued"`
	Sent    uint64            `json:"sent"`
	Lost    uint64            `json:"lost"`
	LostBy  map[string]uint64 `json:"lostBy"`
	Pending uint64            `json:"pending"`
	// QueueBytes are used of QueueLimitBytes.
	QueueBytes      uint64     `json:"queueBytes"`
	QueueLimitBytes uint64     `json:"queueLimitBytes"`
	LastSent        *time.Time `json:"lastSent"`
	Error           *string    `json:"error"`
	FailingSince    *time.Time `json:"failingSince"`
	// Points are those of metrics; null if no metrics are exported.
	Points *pointsState `json:"points"`
}

// pointsState is the state of the export of metrics.
type pointsState struct {
	Queued       uint64            `json:"queued"`
	Sent         uint64            `json:"sent"`
	Lost         uint64            `json:"lost"`
	LostBy       map[string]uint64 `json:"lostBy"`
	Pending      uint64            `json:"pending"`
	LastSent     *time.Time        `json:"lastSent"`
	Error        *string           `json:"error"`
	FailingSince *time.Time        `json:"failingSince"`
}

func pointsStateOf(s *orbit.PointsStatus) *pointsState {
	if s == nil {
		return nil
	}
	return &pointsState{Queued: s.GetQueued(), Sent: s.GetSent(), Lost: s.GetLost(), LostBy: s.GetLostBy(),
		Pending: s.GetPending(), LastSent: instantOf(s.GetLastSent()), Error: known(s.GetError()),
		FailingSince: instantOf(s.GetFailingSince())}
}

func exportStateOf(s *orbit.ExportStatus) *exportState {
	if s == nil {
		return nil
	}
	return &exportState{
		Endpoint: known(s.GetEndpoint()), Queued: s.GetQueued(), Sent: s.GetSent(), Lost: s.GetLost(),
		LostBy: s.GetLostBy(), Pending: s.GetPending(), QueueBytes: s.GetQueueBytes(),
		QueueLimitBytes: s.GetLimitBytes(), LastSent: instantOf(s.GetLastSent()), Error: known(s.GetError()),
		FailingSince: instantOf(s.GetFailingSince()), Points: pointsStateOf(s.GetPoints()),
	}
}

// cell is the state in a table.
func (s *exportState) cell() string {
	if s == nil {
		return "off"
	}
	failing := s.Error != nil && s.FailingSince != nil || s.Points != nil && s.Points.Error != nil
	text := fmt.Sprintf("%d sent", s.Sent)
	if failing {
		text = "failing, " + text
	}
	if failing || s.Lost > 0 {
		text += fmt.Sprintf(", %d lost", s.Lost)
	}
	if s.Points != nil {
		text += fmt.Sprintf(", %d points", s.Points.Sent)
	}
	return text
}

func agentStates(answer *orbit.NodesAnswer) (states []agentState) {
	for _, n := range answer.GetNodes() {
		c, got := n.GetCoverage(), n.GetStatus()
		s := agentState{SchemaVersion: event.SchemaVersion, Kind: "installedAgent", Node: c.GetNode(),
			Answers: c.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_OK && got != nil}
		if !s.Answers {
			s.Message = known(c.GetMessage())
			states = append(states, s)
			continue
		}
		h, kept := got.GetHello(), got.GetHistory()
		events, lost, memory, skew := got.GetEvents(), got.GetLost(), got.GetMemoryBytes(), n.GetClockSkew()/1000
		used, limit, count := kept.GetBytes(), kept.GetLimitBytes(), kept.GetEvents()
		s.Version, s.Kinds, s.Events, s.Lost = known(h.GetVersion()), h.GetKinds(), &events, &lost
		s.HistoryEvents = &count
		s.HistoryBytes, s.HistoryLimitBytes, s.HistorySince = &used, &limit, instantOf(kept.GetOldest())
		s.MemoryBytes, s.ClockSkewMicros = &memory, &skew
		if ran := time.Duration(h.GetTime() - got.GetStarted()); ran > 0 {
			percent := 100 * float64(got.GetCpuMicros()) / float64(ran.Microseconds())
			s.CPUPercent = &percent
		}
		s.CertificateExpiry, s.ConfigError = instantOf(n.GetCertificateExpiry()), known(got.GetConfigError())
		s.Warnings, s.Export = got.GetWarnings(), exportStateOf(got.GetExport())
		states = append(states, s)
	}
	return states
}

// known returns nil for an unknown text.
func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// instantOf returns nil for an unknown time, ns since the Unix epoch.
func instantOf(ns uint64) *time.Time {
	if ns == 0 {
		return nil
	}
	t := time.Unix(0, int64(ns)).UTC()
	return &t
}

// writeAgents writes a line per agent. What is unknown is n/a.
func writeAgents(w io.Writer, states []agentState, now time.Time, headers bool) error {
	table := tabwriter.NewWriter(w, 6, 4, 3, ' ', tabwriter.RememberWidths) // as kubectl get
	if headers {
		fmt.Fprintln(table, "NODE\tEVENTS\tLOST\tHISTORY\tSINCE\tCPU\tMEMORY\tCLOCK\tCERTIFICATE\tEXPORT\tRECORDS")
	}
	for i := range states {
		s := &states[i]
		cells := []string{s.Node}
		if !s.Answers {
			cells = append(cells, "n/a", "n/a", "n/a", "n/a", "n/a", "n/a", "n/a", "n/a", "n/a", "n/a")
		} else {
			cells = append(cells, fmt.Sprint(*s.Events), fmt.Sprint(*s.Lost),
				string(event.AppendBytes(nil, *s.HistoryBytes))+" of "+string(event.AppendBytes(nil,
					*s.HistoryLimitBytes)), ago(s.HistorySince, now), percent(s.CPUPercent),
				string(event.AppendBytes(nil, *s.MemoryBytes)),
				fmt.Sprintf("%+dms", *s.ClockSkewMicros/1000), until(s.CertificateExpiry, now),
				s.Export.cell(), strings.Join(s.Kinds, ","))
		}
		for n := range cells {
			cells[n] = string(safe.AppendText(nil, cells[n]))
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

func ago(t *time.Time, now time.Time) string {
	if t == nil {
		return "n/a"
	}
	return now.Sub(*t).Round(time.Second).String()
}

func until(t *time.Time, now time.Time) string {
	if t == nil {
		return "n/a"
	}
	return t.Sub(now).Round(time.Minute).String()
}

func percent(p *float64) string {
	if p == nil {
		return "n/a"
	}
	return fmt.Sprintf("%.1f%%", *p)
}

// maxSkew is the difference between two clocks that status warns of.
const maxSkew = time.Second

// agentLines are what an administrator has to look into.
func agentLines(states []agentState) (lines []string) {
	for i := range states {
		s := &states[i]
		if !s.Answers {
			why := "it does not answer"
			if s.Message != nil {
				why = *s.Message
			}
			lines = append(lines, fmt.Sprintf("%s: the servers get no answer of the agent: %s", s.Node, why))
			continue
		}
		if s.ConfigError != nil {
			lines = append(lines, fmt.Sprintf("%s: the configuration is wrong, and the one before is in force: %s",
				s.Node, *s.ConfigError))
		}
		if e := s.Export; e != nil {
			lines = appendFailure(lines, s.Node+": export to "+endpointOf(e), e.Error, e.FailingSince)
			if p := e.Points; p != nil {
				lines = appendFailure(lines, s.Node+": export of metrics to "+endpointOf(e), p.Error, p.FailingSince)
			}
		}
		if skew := time.Duration(*s.ClockSkewMicros) * time.Microsecond; skew.Abs() > maxSkew {
			lines = append(lines, fmt.Sprintf("%s: its clock differs from the server's by %v: events of other nodes "+
				"are not in order with its own", s.Node, skew.Round(time.Millisecond)))
		}
		if n := len(s.Warnings); n > 0 {
			lines = append(lines, fmt.Sprintf("%s: %s", s.Node, s.Warnings[n-1]))
		}
	}
	return lines
}

// appendFailure appends that an export fails, if it does.
func appendFailure(lines []string, what string, failed *string, at *time.Time) []string {
	if failed == nil {
		return lines
	}
	since := ""
	if at != nil {
		since = " since " + at.Format(time.RFC3339)
	}
	return append(lines, what+" fails"+since+": "+*failed)
}

func endpointOf(s *exportState) string {
	if s.Endpoint == nil {
		return "the collector"
	}
	return *s.Endpoint
}

// writeAgentsJSON writes one object per line.
func writeAgentsJSON(w io.Writer, states []agentState) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for i := range states {
		if err := encoder.Encode(states[i]); err != nil {
			return err
		}
	}
	return nil
}
