package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestNew_UsageErrorsQuoteTheFlag(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"format": {Options{Output: "xml"},
			`unknown output "xml", known are: table, wide, json, yaml, csv, jsonpath=…`},
		"format argument": {Options{Output: "json=x"}, `unknown output "json=x"`},
		"no template":     {Options{Output: "jsonpath="}, `unknown output "jsonpath="`},
		"column": {
			Options{Output: "custom-columns=A:.src.pdo"},
			`unknown field "src.pdo", did you mean "src.pod"? known fields: schemaVersion, kind,`,
		},
		"no column":      {Options{Output: "custom-columns=A:"}, "a column without a field"},
		"composed":       {Options{Output: "custom-columns=process"}, `unknown field "process"`},
		"path":           {Options{Output: "jsonpath={.src.pod.name}"}, `unknown field "src.pod.name"`},
		"path in range":  {Options{Output: "jsonpath={.source}"}, `unknown field "source"`},
		"broken path":    {Options{Output: "jsonpath={.src.pod"}, "unclosed action"},
		"sort":           {Options{SortBy: "bytes"}, `unknown field "bytes"`},
		"sort down":      {Options{SortBy: "-.bytessent"}, `did you mean "bytesSent"?`},
		"template file":  {Options{Output: "jsonpath-file=/does/not/exist"}, "no such file"},
		"columns file":   {Options{Output: "custom-columns-file=/does/not/exist"}, "no such file"},
		"nothing to say": {Options{Output: "custom-columns=,"}, "a column without a field"},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Out, c.o.Kinds = io.Discard, flowKind()
			if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant … %s …", err, c.want)
			}
		})
	}
}

func TestTemplate_Syntax(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ev := sample()[0]
	for output, want := range map[string]string{
		`jsonpath={.src.pod}`:                           "client-6c7f9d5b8-x2x9z\n",
		`jsonpath=.dst.port`:                            "8080\n",
		`jsonpath={$.dst.port}`:                         "8080\n",
		`jsonpath={.src['pid','comm']}`:                 "4242 curl\n",
		`jsonpath={.icmpType}`:                          "\n",
		`jsonpath={.dst.service}={.bytesSent}`:          "api=1234567\n",
		"jsonpath-file=" + write("path", "{.dst.node}"): "node-2\n",
		"custom-columns-file=" +
			write("columns", "FROM     BYTES\n.src.pod  {.bytesSent}\n"): "FROM                    BYTES\n" +
			"client-6c7f9d5b8-x2x9z  1234567\n",
		// As editors of Windows write them.
		"jsonpath-file=" + write("windows path", "\ufeff{.dst.node}\r\n"): "node-2\n",
		"jsonpath-file=" + write("bare path", ".dst.node\n"):              "node-2\n",
		"custom-columns-file=" +
			write("windows columns", "\ufeffTO\r\n.dst.node\r\n"): "TO\nnode-2\n",
		"custom-columns=dst.port": "DST-PORT\n8080\n",
	} {
		if out, _ := print(t, Options{Output: output}, ev); out != want {
			t.Errorf("%s prints %q, want %q", output, out, want)
		}
	}
}

func TestYAML_EqualsJSON(t *testing.T) {
	for _, ev := range append(sample(), hostile()) {
		j, _ := print(t, Options{Output: "json"}, ev)
		y, _ := print(t, Options{Output: "yaml"}, ev)
		var fromJSON, fromYAML any
		if err := json.Unmarshal([]byte(j), &fromJSON); err != nil {
			t.Fatalf("%v in %s", err, j)
		}
		if err := yaml.Unmarshal([]byte(y), &fromYAML); err != nil {
			t.Fatalf("%v in %s", err, y)
		}
		a, b := fmt.Sprint(fromJSON), fmt.Sprint(fromYAML)
		if a != b {
			t.Errorf("JSON holds\n%s\nYAML\n%s", a, b)
		}
	}
}

// hostile has names that try to do something to a terminal, or to be something else in YAML.
func hostile() *event.Event {
	ev := proto.CloneOf(sample()[0])
	f := ev.GetFlow()
	f.Src.Comm, f.Dst.Comm = "\x1b]0;owned\x07\r\n", "a\u202eb\u009b2J\U000e0041\u2028"
	f.Src.Pod, f.Dst.Pod, f.Src.Host = "null", "1e3", "- {a: b} # 'x' \\"
	return ev
}

func TestPrinter_EscapesTerminalControls(t *testing.T) {
	for _, f := range []string{
		"table", "wide", "json", "yaml", "custom-columns=src.comm,dst.comm,src.host",
		`jsonpath={.src.comm}{.dst.comm}{.src}`,
	} {
		out, _ := print(t, Options{Output: f}, hostile())
		for _, r := range out {
			if r != '\n' && (r < ' ' || r > '~') {
				t.Errorf("-o %s prints %U", f, r)
			}
		}
	}
}

func TestTable_KeepsGrownColumns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		p, err := New(Options{Out: &b, Output: "custom-columns=A:src.pod,B:protocol", Kinds: flowKind()})
		if err != nil {
			t.Fatal(err)
		}
		row := func(pod string) {
			ev := proto.CloneOf(sample()[0])
			ev.GetFlow().Src.Pod = pod
			if err := p.Print(ev); err != nil {
				t.Fatal(err)
			}
			time.Sleep(FlushDelay)
			synctest.Wait()
		}
		row("a")
		row("日本語")
		row("b")
		row(strings.Repeat("x", 100))
		row("c")
		want := "A  B\na  tcp\n日本語  tcp\nb       tcp\n" + strings.Repeat("x", 100) + "  tcp\nc       tcp\n"
		if got := b.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestPrinter_FlushesSoonAfterFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		p, err := New(Options{Out: &b, Output: "json", Kinds: flowKind()})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := p.Print(sample()[0]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(FlushDelay - time.Millisecond)
			if b.String() != "" {
				t.Fatal("written at once, not gathered")
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if got := b.take(); strings.Count(got, "\n") != 1 {
				t.Fatalf("%q is written after FlushDelay, want one line", got)
			}
		}
	})
}

func TestPrinter_EndsWithBrokenPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	for name, c := range map[string]struct {
		out  io.Writer
		want error
	}{
		"pipe":       {w, ErrClosed},
		"disk full":  {failing{syscall.ENOSPC}, syscall.ENOSPC},
		"wrapped":    {failing{&os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}}, ErrClosed},
		"other pipe": {failing{io.ErrClosedPipe}, ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(Options{Out: c.out, Output: "json", Kinds: flowKind()})
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; ; i++ {
				if err := p.Print(sample()[0]); err != nil {
					if !errors.Is(err, c.want) {
						t.Fatalf("got %v, want %v", err, c.want)
					}
					break
				}
				if i > 1000 {
					t.Fatal("printing goes on")
				}
			}
			if err := p.Close(); !errors.Is(err, c.want) {
				t.Errorf("close says %v, want %v again", err, c.want)
			}
		})
	}
}

func TestSorter_KeepsNewestEventOfAFlow(t *testing.T) {
	first := sample()[0]
	second := proto.CloneOf(first)
	second.GetFlow().SrcCounters.BytesSent = 5
	out, _ := print(t, Options{Output: "custom-columns=bytesSent", SortBy: "bytesSent", NoHeaders: true}, first, second,
		sample()[2])
	if out != "5\n12\n" {
		t.Errorf("got %q", out)
	}
}

func TestPrinter_NoEventsNoOutput(t *testing.T) {
	for _, f := range []string{"table", "json", "yaml"} {
		if out, _ := print(t, Options{Output: f}); out != "" {
			t.Errorf("-o %s prints %q for no events", f, out)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.b.String()
	b.b.Reset()
	return s
}

func BenchmarkPrint(b *testing.B) {
	ev := sample()[0]
	for _, f := range []string{"table", "wide", "json", "yaml", "custom-columns=src.pod,bytesSent",
		"jsonpath={.src.pod} {.bytesSent}"} {
		name, _, _ := strings.Cut(f, "=")
		b.Run(name, func(b *testing.B) {
			p, err := New(Options{Out: io.Discard, Output: f, Kinds: flowKind()})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Print(ev); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
