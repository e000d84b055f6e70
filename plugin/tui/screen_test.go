package tui

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// driver runs a screen without a terminal: what its commands answer is handed to it at once, but for the clock's.
type driver struct {
	*screen
	quit      bool
	clipboard string
}

func drive(t testing.TB, w *world, width, height int, change func(*Options)) *driver {
	t.Helper()
	o := Options{
		Source: w, Topic: w.Topic(), Window: time.Minute, Namespace: "shop", Title: `pods in namespace "shop"`,
		Now: func() time.Time { return w.now }, Every: time.Nanosecond,
	}
	if change != nil {
		change(&o)
	}
	d := &driver{screen: newScreen(o)}
	d.run(d.refresh())
	d.send(tea.WindowSizeMsg{Width: width, Height: height})
	return d
}

func (d *driver) send(msg tea.Msg) {
	_, cmd := d.Update(msg)
	d.run(cmd)
}

func (d *driver) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	case tea.BatchMsg:
		for _, c := range msg {
			d.run(c)
		}
	case tea.QuitMsg:
		d.quit = true
	case answerMsg, countMsg, doneMsg, noteMsg:
		d.send(msg)
	default: // for the terminal
		if v := reflect.ValueOf(msg); v.Kind() == reflect.String {
			d.clipboard = v.String()
		}
	}
}

var special = map[string]tea.KeyPressMsg{
	"f1": {Code: tea.KeyF1}, "f4": {Code: tea.KeyF4}, "f6": {Code: tea.KeyF6}, "f10": {Code: tea.KeyF10},
	"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown},
	"tab":    {Code: tea.KeyTab},
	"pgdown": {Code: tea.KeyPgDown}, "pgup": {Code: tea.KeyPgUp}, "home": {Code: tea.KeyHome},
	"end": {Code: tea.KeyEnd}, "space": {Code: tea.KeySpace, Text: " "},
	"ctrl+c": {Code: 'c', Mod: tea.ModCtrl}, "shift+tab": {Code: tea.KeyTab, Mod: tea.ModShift},
	"backspace": {Code: tea.KeyBackspace},
}

// press sends keys: names, or letters.
func (d *driver) keysIn(keys ...string) {
	for _, k := range keys {
		if msg, ok := special[k]; ok {
			d.send(msg)
			continue
		}
		for _, r := range k {
			d.send(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
}

func (d *driver) text() string { return ansi.Strip(strings.Join(d.lines(), "\n")) }

var update = flag.Bool("update", false, "write the golden views")

// golden compares a picture with the one in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	var b strings.Builder
	for line := range strings.SplitSeq(got, "\n") {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s is not what it was; go test ./plugin/tui -update writes it anew\n%s", path, b.String())
	}
}

var sizes = []struct{ width, height int }{{80, 24}, {120, 40}, {200, 50}}

func TestScreen_MatchesGoldenViews(t *testing.T) {
	worlds := map[string]func() *world{
		"empty":    func() *world { return newWorld("network") },
		"network":  networkWorld,
		"dns":      dnsWorld,
		"syscalls": syscallWorld,
		"gpu":      gpuWorld,
		"lostnode": func() *world {
			w := networkWorld()
			w.node("node-d", event.NodeState_NODE_STATE_FAILED, "the tracer's pod was deleted")
			return w
		},
		"loss": func() *world {
			w := networkWorld()
			w.lose("node-w", 120)
			return w
		},
		"lossbypod": func() *world {
			w := networkWorld()
			w.loseTo("node-w", "flood-1", "flood-1", 379290)
			w.loseTo("node-w", "quiet-1\x1b[2J", "flood-1", 2)
			return w
		},
	}
	for name, make := range worlds {
		// One size: TestScreen_FitsEveryTerminalSize covers the others.
		for key, page := range map[string]string{"1": "overview", "2": "table", "3": "detail", "4": "graph"} {
			d := drive(t, make(), 120, 40, nil)
			d.keysIn(key)
			golden(t, name+"-"+page, d.text())
		}
	}
}

func TestScreen_MatchesGoldenHelpAndPickers(t *testing.T) {
	for name, keys := range map[string][]string{
		"help": {"?"}, "sort": {"s"}, "group": {"g"}, "export": {"e"}, "filter": {"/", "web"},
	} {
		d := drive(t, networkWorld(), 80, 24, nil)
		d.keysIn(keys...)
		golden(t, name, d.text())
	}
}

// TestScreen_ShowsASCII shows every page where the locale is not UTF-8: with nothing but ASCII, and as wide as it is.
func TestScreen_ShowsASCII(t *testing.T) {
	for name, world := range map[string]func() *world{"network": networkWorld, "gpu": gpuWorld} {
		d := drive(t, world(), 80, 24, func(o *Options) { o.Terminal.ASCII = true })
		for _, key := range []string{"1", "2", "3", "4", "?"} {
			d.keysIn(key)
			picture := d.View().Content
			for i, line := range strings.Split(picture, "\n") {
				if at := strings.IndexFunc(line, func(r rune) bool { return r >= 0x80 }); at >= 0 {
					t.Fatalf("%s %s: line %d has %q: %q", name, key, i, line[at:], line)
				}
				if n := ansi.StringWidth(line); n > 80 {
					t.Errorf("%s %s: line %d has %d cells: %q", name, key, i, n, line)
				}
			}
			if key == "1" || key == "4" {
				golden(t, fmt.Sprintf("ascii-%s-%s", name, key), ansi.Strip(picture))
			}
		}
	}
}

// fits fails where a picture is not exactly as high as the terminal, a line wider, or something in it that moves the
// cursor.
func fits(t testing.TB, d *driver, what string) {
	t.Helper()
	lines := d.lines()
	if len(lines) != d.height {
		t.Fatalf("%s: %d lines on %d", what, len(lines), d.height)
	}
	for i, l := range lines {
		if n := ansi.StringWidth(l); n > d.width {
			t.Fatalf("%s: line %d has %d cells on %d: %q", what, i, n, d.width, l)
		}
		for _, r := range ansi.Strip(l) {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 &&
				r <= 0x2069 {
				t.Fatalf("%s: line %d holds %q: %q", what, i, r, l)
			}
		}
	}
}

func TestScreen_FitsEveryTerminalSize(t *testing.T) {
	for _, w := range []*world{newWorld("network"), networkWorld(), dnsWorld(), syscallWorld(), gpuWorld()} {
		d := drive(t, w, 80, 24, nil)
		for _, width := range []int{1, 59, 60, 75, 76, 99, 100, 159, 160, 300} {
			for _, height := range []int{1, 14, 15, 24, 50, 100} {
				d.send(tea.WindowSizeMsg{Width: width, Height: height})
				for _, keys := range []string{"1", "2", "3", "4", "?", "?", "2", "s"} {
					d.keysIn(keys)
					fits(t, d, fmt.Sprintf("%s %dx%d after %s", w.Topic().Name, width, height, keys))
				}
				d.keysIn("esc")
			}
		}
	}
}

func TestScreen_RecoversFromTooSmallTerminal(t *testing.T) {
	d := drive(t, networkWorld(), 40, 10, nil)
	if got := d.text(); !strings.HasPrefix(got, "terminal too small: needs 60x15, is 40") {
		t.Errorf("%q", got)
	}
	d.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	if !strings.Contains(d.text(), "web-7d9f") {
		t.Error(d.text())
	}
}

func TestScreen_ContainsHostileNames(t *testing.T) {
	w := newWorld("network")
	for i, name := range []string{
		"\x1b[2Jgone", "a\nb\rc", "\u202eesrever", "\u200b\u200b", "😀😀😀👨‍👩‍👧", "\xff\xfe",
		strings.Repeat("長", 200), "\x9b31m",
	} {
		w.talk(fmt.Sprint("id", i), name, "db", 100, 5)
	}
	w.node("\x1b]0;title\a", event.NodeState_NODE_STATE_FAILED, "\x1b[31mred")
	for _, size := range sizes {
		d := drive(t, w, size.width, size.height, nil)
		for _, key := range []string{"1", "2", "down", "3", "2", "enter"} {
			d.keysIn(key)
			fits(t, d, key)
		}
	}
}

// TestScreen_AcceptsRandomKeys presses keys at random: nothing panics, and every picture fits.
func TestScreen_AcceptsRandomKeys(t *testing.T) {
	all := []string{
		"1", "2", "3", "4", "up", "down", "pgup", "pgdown", "home", "end", "enter", "esc", "tab", "shift+tab", "/", "s",
		"r", "g", "t", "space", "y", "e", "?", "j", "k", "h", "l", "G", "backspace", "x", "=", "0",
	}
	for seed := range uint64(30) { // FuzzScreen goes on from here
		random := rand.New(rand.NewPCG(seed, 1))
		w := []*world{networkWorld(), dnsWorld(), syscallWorld(), gpuWorld()}[seed%4]
		d := drive(t, w, 60+random.IntN(240), 15+random.IntN(80), func(o *Options) {
			o.Export = func(string, []*event.Event) (string, error) { return "file", nil }
		})
		for range 100 {
			key := all[random.IntN(len(all))]
			d.keysIn(key)
			switch random.IntN(20) {
			case 0:
				d.send(tea.WindowSizeMsg{Width: 1 + random.IntN(300), Height: 1 + random.IntN(100)})
			case 1:
				d.send(tea.MouseClickMsg{X: random.IntN(300), Y: random.IntN(100), Button: tea.MouseLeft})
			case 2:
				d.send(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
			case 3:
				w.now = w.now.Add(time.Second)
				d.send(tickMsg(w.now))
			}
			fits(t, d, fmt.Sprintf("seed %d, %s", seed, key))
		}
	}
}

func TestScreen_DrillsDownAndBack(t *testing.T) {
	d := drive(t, networkWorld(), 120, 40, nil)
	d.keysIn("g", "j", "j") // pod, container, workload
	d.keysIn("enter")
	if d.table.level().group.Name != "workload" || !strings.Contains(d.text(), "deploy/web") {
		t.Fatal(d.text())
	}
	d.keysIn("/", `name == "deploy/web"`, "enter", "enter")
	if got := d.text(); d.table.level().group.Name != "pod" || !strings.Contains(got, "› deploy/web by pod") ||
		strings.Contains(got, "db-7d9f ") {
		t.Fatal(got)
	}
	d.keysIn("enter", "enter", "enter")
	if got := d.text(); d.active != d.detail || !strings.Contains(got, "deploy/web › web-7d9f › ") {
		t.Fatal(got)
	}
	d.keysIn("esc", "esc", "esc", "esc")
	if got := d.text(); len(d.table.levels) != 1 || !strings.Contains(got, "deploy/worker") {
		t.Fatal(got)
	}
}

func TestScreen_FiltersByCELOrText(t *testing.T) {
	d := drive(t, networkWorld(), 120, 40, nil)
	d.keysIn("/", "WORK")
	if got := d.text(); strings.Contains(got, "web-7d9f") || !strings.Contains(got, "worker-7d9f") ||
		!strings.Contains(got, "1 row (5 in all)") {
		t.Error(got)
	}
	d.keysIn("esc")
	if got := d.text(); !strings.Contains(got, "web-7d9f") {
		t.Error(got)
	}
	d.keysIn("/", "failed > 0")
	if got := d.text(); !strings.Contains(got, "CEL") || strings.Contains(got, "web-7d9f") ||
		!strings.Contains(got, "worker-7d9f") {
		t.Error(got)
	}
	d.keysIn("esc", "/", "faild > 0")
	if got := d.text(); !strings.Contains(got, "as text: ") || !strings.Contains(got, "none of 5 rows matches") {
		t.Error(got)
	}
}

func TestScreen_SortsByKeysAndMouse(t *testing.T) {
	d := drive(t, networkWorld(), 120, 40, nil)
	first := func() string {
		row, _ := d.table.row(0)
		return row.Event.GetNetworkTop().GetName()
	}
	if first() != "cache-7d9f" {
		t.Errorf("the first is %s", first())
	}
	d.keysIn("r")
	if first() != "訂單服務-7d9f" {
		t.Errorf("the other way round the first is %s", first())
	}
	header := ansi.Strip(d.lines()[tableHeader])
	d.send(tea.MouseClickMsg{
		X: ansi.StringWidth(header[:strings.Index(header, "FAILED")]), Y: tableHeader, Button: tea.MouseLeft,
	})
	if first() != "worker-7d9f" || d.sort.Name != "failed" {
		t.Errorf("by failures the first is %s, by %s", first(), d.sort.Name)
	}
	d.keysIn("s", "home")
	d.send(tea.MouseClickMsg{X: 3, Y: tableHeader + 3, Button: tea.MouseLeft})
	d.keysIn("esc")
	d.send(tea.MouseClickMsg{X: 3, Y: tableHeader + 3, Button: tea.MouseLeft})
	if d.table.level().cursor != 2 {
		t.Errorf("the third row was clicked, the cursor is on %d", d.table.level().cursor)
	}
}

func TestScreen_PauseFreezesRowsAndShowsLag(t *testing.T) {
	w := networkWorld()
	d := drive(t, w, 120, 40, nil)
	d.keysIn("space")
	before := strings.Join(d.lines()[tableHeader:20], "\n")
	w.talk("new", "intruder", "db", 5_000_000, 1)
	w.now = w.now.Add(12 * time.Second)
	d.send(tickMsg(w.now))
	if got := d.text(); strings.Join(
		d.lines()[tableHeader:20], "\n",
	) != before || !strings.Contains(got, "paused, 12 s behind") || !strings.Contains(got, "60 events since") {
		t.Error(got)
	}
	d.keysIn("down", "end", "t", "space")
	if got := d.text(); !strings.Contains(got, "intruder") || strings.Contains(got, "behind") {
		t.Error(got)
	}
}

func TestScreen_CopiesAndExports(t *testing.T) {
	var format string
	var rows int
	d := drive(t, networkWorld(), 120, 40, func(o *Options) {
		o.Export = func(f string, all []*event.Event) (string, error) {
			format, rows = f, len(all)
			return "orb8.csv", nil
		}
	})
	d.keysIn("y")
	if !strings.Contains(d.clipboard, `"kind":"networkTop"`) || !strings.Contains(d.clipboard, `"name":"cache-7d9f"`) {
		t.Errorf("copied %q", d.clipboard)
	}
	d.keysIn("e", "down", "enter")
	if format != "csv" || rows != 5 || !strings.Contains(d.text(), "5 rows written to orb8.csv") {
		t.Errorf("%d rows as %s\n%s", rows, format, d.text())
	}
}

func TestScreen_Quits(t *testing.T) {
	for key, interrupted := range map[string]bool{"q": false, "ctrl+c": true} {
		d := drive(t, networkWorld(), 80, 24, nil)
		if d.keysIn(key); !d.quit || d.interrupted != interrupted {
			t.Errorf("%s: left %v, interrupted %v", key, d.quit, d.interrupted)
		}
	}
	d := drive(t, networkWorld(), 80, 24, nil)
	if d.keysIn("/", "q"); d.quit {
		t.Error("a letter of a filter ends the screen")
	}
}

// TestScreen_QueriesOnlyVisibleRows scrolls through a hundred thousand rows.
func TestScreen_QueriesOnlyVisibleRows(t *testing.T) {
	w := newWorld("network")
	for i := range 20_000 {
		w.Add(&event.Event{Kind: &event.Event_Flow{Flow: &event.Flow{
			Id: fmt.Sprint(i), Phase: event.Phase_PHASE_NEW, StartTime: 1, Src: pod("web"), Dst: pod("db"),
			SrcCounters: &event.Counters{BytesSent: uint64(i)},
		}}}, start)
	}
	d := drive(t, w, 120, 40, func(o *Options) { o.Group = o.Topic.GroupByName("flow") })
	for _, c := range []struct {
		key    string
		cursor int
	}{{"down", 1}, {"pgdown", 36}, {"G", 19_999}, {"pgup", 19_964}, {"home", 0}, {"up", 0}} {
		d.keysIn(c.key)
		if n := len(d.table.answer.Rows); n > 3*spare || d.table.level().cursor != c.cursor {
			t.Errorf(
				"after %s the cursor is on %d, want %d; %d rows are known",
				c.key,
				d.table.level().cursor,
				c.cursor,
				n,
			)
		}
		if _, ok := d.table.selected(); !ok {
			t.Errorf("after %s the selected row is not known", c.key)
		}
	}
}

func BenchmarkFrame(b *testing.B) {
	w := newWorld("network")
	for i := range 2000 {
		w.talk(fmt.Sprint(i), fmt.Sprintf("pod-%d", i), "db", 100, 5)
	}
	for _, page := range []string{"1", "2", "3"} {
		b.Run(page, func(b *testing.B) {
			d := drive(b, w, 200, 50, nil)
			d.keysIn(page)
			for b.Loop() {
				d.View()
			}
		})
	}
}

func TestOverview_SortedByText(t *testing.T) {
	d := drive(t, networkWorld(), 120, 40, func(o *Options) { o.Sort = o.Topic.Row.Column("name") })
	d.keysIn("1")
	// The small tables have bars, and so are sorted by the topic's own column.
	fits(t, d, "overview by name")
	if got := d.text(); !strings.Contains(got, "by peer") || !strings.Contains(got, "web-7d9f") {
		t.Errorf("%s", got)
	}
}
