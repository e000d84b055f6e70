package plugin

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/plugin/graph"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// replayView is a way to show a recording. Some are of one kind of events only; kind is empty for all others.
type replayView struct {
	kind string
	args []string
}

// replayViews are all views without a terminal; FuzzScreen covers the others.
func replayViews() (all []replayView) {
	for _, args := range [][]string{
		{}, {"-o", "wide"}, {"-o", "json"}, {"-o", "yaml"}, {"-o", "jsonpath={.kind} {.time} {.src.pod} {.pod}"},
		{"-o", "custom-columns=KIND:kind,TIME:time,SRC:src.pod,GPU:gpu.uuid,NAME:name"}, {"--sort-by", "-time"},
		{"--filter", `pod == "web" || node != "n1" || time > timestamp("2026-11-28T12:00:01Z")`},
		{"--why", "gpu"}, {"--why", "gpu", "-o", "json"}, {"--from", "1s", "--to", "10s", "-o", "json"},
	} {
		all = append(all, replayView{args: args})
	}
	for _, k := range event.Kinds() {
		if !k.Row {
			all = append(all, replayView{k.Name, []string{"-o", "csv"}})
		}
	}
	for _, t := range model.Topics() {
		top := func(args ...string) {
			all = append(all, replayView{args: append([]string{"--top", t.Name}, args...)})
		}
		top("-o", "json")
		top("--window", "10s", "--limit", "2")
		for _, g := range t.Groups {
			top("--group", g.Name, "-o", "csv")
		}
	}
	return all
}

// FuzzViews shows mutated events behind valid framing and checksums: every view must end, say what it has refused, and
// print nothing that a terminal, a spreadsheet or a JSON parser takes for something else. Where stream is set, the
// events come as two tracers' before they are recorded, and then none that was shown may be refused.
func FuzzViews(f *testing.F) {
	views := replayViews()
	r := rand.New(rand.NewPCG(7, 7))
	for i := range views {
		in := make([]byte, 400)
		for j := range in {
			in[j] = byte(r.Uint32())
		}
		f.Add(uint8(i), i%2 == 0, in)
	}
	f.Fuzz(func(t *testing.T, view uint8, stream bool, in []byte) {
		started := began
		if stream {
			started = time.Now().Add(-time.Hour)
		}
		v := views[int(view)%len(views)]
		var kinds []string
		for _, k := range event.Kinds() {
			if !k.Row && (v.kind == "" || v.kind == k.Name) {
				kinds = append(kinds, k.Name)
			}
		}
		events := eventtest.Events(in, started)
		if stream {
			events = merged(t, events, kinds, started)
		}
		path := filepath.Join(t.TempDir(), "x.orb8")
		writeRecording(t, path, events, kinds, started)
		accepted := drawn(t, path, len(events))
		if stream && accepted != len(events) {
			t.Errorf("%d of %d events that were shown are refused when they are replayed", len(events)-accepted,
				len(events))
		}
		code, out, errOut := orb8(t, nil, append([]string{"replay", path}, v.args...)...)
		flags := strings.Join(v.args, " ")
		if code != 0 && (code != ExitError || !strings.Contains(flags, "--why")) {
			t.Errorf("%s: exit code %d: %s", flags, code, errOut)
		}
		harmless(t, errOut)
		readable(t, flags, out, accepted)
	})
}

// writeRecording makes a recording of these events, with kinds in its header.
func writeRecording(t *testing.T, path string, events []*event.Event, kinds []string, started time.Time) {
	t.Helper()
	s := history.Session{Version: "v9", Targets: "pods", Namespace: "web", Kinds: kinds, Started: started}
	w, err := history.Create(path, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if err := w.Write(ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// merged sends the events from two tracers in turns and returns the merged stream.
func merged(t *testing.T, events []*event.Event, kinds []string, started time.Time) (all []*event.Event) {
	t.Helper()
	c := collect.New(collect.Options{Kinds: kinds, Started: started})
	sources := []*collect.Source{c.Add("n1"), c.Add("n2")}
	for i, ev := range events {
		b := collect.Batch{Instance: 1, Sequence: uint64(i/2) + 1, Events: []*event.Event{ev}, Watermark: ev.GetTime(),
			Kernel: "k"}
		if err := sources[i%2].Feed(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	c.Finish()
	if err := c.Run(t.Context(), func(ev *event.Event) error {
		all = append(all, proto.CloneOf(ev))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// drawn reads a recording, draws the graph of its calls, and returns the number of accepted events.
func drawn(t *testing.T, path string, want int) (accepted int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader, err := history.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	reader.Damaged = func(e *history.DamageError) { t.Errorf("the recording is damaged: %v", e) }
	m := model.New(model.TopicByName("network"), model.Options{Started: reader.Session.Started})
	now := reader.Session.Started
	for {
		ev := &event.Event{}
		err := reader.Next(ev)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		accepted++
		now = time.Unix(0, int64(ev.GetTime()))
		m.Add(ev, now)
	}
	if n, _ := reader.Refused(); accepted+int(n) != want {
		t.Errorf("%d accepted and %d refused of %d", accepted, n, want)
	}
	g, _ := graph.Calls(m.Edges(0, now), "web")
	var svg bytes.Buffer
	if err := errors.Join(g.SVG(&svg), g.DOT(io.Discard), g.Mermaid(io.Discard)); err != nil {
		t.Error(err)
	}
	if err := xml.Unmarshal(svg.Bytes(), new(struct{})); err != nil {
		t.Errorf("the picture is no XML: %v", err)
	}
	return accepted
}

// harmless fails where a text holds what a terminal obeys.
func harmless(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("no UTF-8: %.200q", s)
	}
	if i := strings.IndexFunc(s, func(c rune) bool {
		return c != '\n' &&
			unicode.In(c, unicode.Cc, unicode.Bidi_Control)
	}); i >= 0 {
		t.Errorf("a terminal obeys %.60q", s[i:])
	}
}

// readable checks what a view printed, by its flags.
func readable(t *testing.T, flags, out string, accepted int) {
	t.Helper()
	switch {
	case strings.Contains(flags, "json") && !strings.Contains(flags, "jsonpath"):
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		for _, line := range lines {
			if line != "" && !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %.300s", line)
			}
		}
		if flags == "-o json" && out != "" && len(lines) != accepted {
			t.Errorf("%d lines of %d events", len(lines), accepted)
		}
	case strings.Contains(flags, "csv"):
		rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		if err != nil {
			t.Errorf("no CSV: %v", err)
		}
		for _, row := range rows {
			for _, cell := range row {
				first, _ := utf8.DecodeRuneInString(strings.TrimLeft(cell, " \t\r\n"))
				if strings.ContainsRune("=+@＝＋－＠", first) {
					t.Errorf("a spreadsheet runs %.60q", cell)
				}
			}
		}
	default:
		harmless(t, out)
	}
}
