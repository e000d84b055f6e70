package past

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/otlp"
)

// fakeStore answers queries of this package with its rows, of which it selects by time and by excluded nodes only.
type fakeStore struct {
	rows []map[string]string
	// broken answers instead, if it is set.
	broken http.HandlerFunc

	mu         sync.Mutex
	queries    []string
	conditions []string
	header     http.Header
}

var (
	timePart  = regexp.MustCompile(`^_time:\[([^,]+), ([^)]+)\)`)
	stepPart  = regexp.MustCompile(`stats by \(_time:(\d+)ms\)`)
	limitPart = regexp.MustCompile(`\| limit (\d+)$`)
	notPart   = regexp.MustCompile(`!"k8s.node.name":in\(([^)]*)\)`)
)

func (f *fakeStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query, conditions := r.FormValue("query"), r.FormValue("extra_filters")
	f.mu.Lock()
	f.queries, f.conditions = append(f.queries, query), append(f.conditions, conditions)
	f.header = r.Header.Clone()
	f.mu.Unlock()
	if f.broken != nil {
		f.broken(w, r)
		return
	}
	limits := timePart.FindStringSubmatch(query)
	from, _ := otlp.ParseTime(limits[1]) // the test fails where nothing is found
	to, _ := otlp.ParseTime(limits[2])
	without := ""
	if m := notPart.FindStringSubmatch(conditions); m != nil {
		without = m[1]
	}
	var found []map[string]string
	for _, row := range f.rows {
		at, err := otlp.ParseTime(row["_time"])
		if (err != nil || at >= from && at < to) && !strings.Contains(without, strconv.Quote(row["k8s.node.name"])) {
			found = append(found, row)
		}
	}
	slices.SortStableFunc(found, func(a, b map[string]string) int { return cmp.Compare(a["_time"], b["_time"]) })
	switch {
	case strings.Contains(query, "stats min"):
		first := map[string]string{}
		if len(found) > 0 {
			first["first"] = found[0]["_time"]
		}
		found = []map[string]string{first}
	case stepPart.MatchString(query):
		step, _ := strconv.Atoi(stepPart.FindStringSubmatch(query)[1])
		counts := map[time.Time]int{}
		for _, row := range found {
			at, _ := time.Parse(time.RFC3339Nano, row["_time"])
			counts[at.Truncate(time.Duration(step)*time.Millisecond)]++
		}
		found = nil
		for at, n := range counts {
			found = append(found, map[string]string{"_time": at.Format(time.RFC3339Nano), "rows": fmt.Sprint(n)})
		}
	case strings.Contains(query, "desc"):
		slices.Reverse(found)
		if n, _ := strconv.Atoi(limitPart.FindStringSubmatch(query)[1]); len(found) > n {
			found = found[:n]
		}
	}
	for _, row := range found {
		text, _ := json.Marshal(row) // texts
		_, _ = fmt.Fprintf(w, "%s\n", text)
	}
}

// openFake returns a Store that reads from a fake.
func openFake(t *testing.T, f *fakeStore, change ...func(*Options)) *Store {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	o := Options{URL: server.URL}
	for _, c := range change {
		c(&o)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const second = uint64(time.Second)

// start is the time of the first row.
var start = uint64(time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC).UnixNano())

func dnsRow(at uint64, node, name string) map[string]string {
	return map[string]string{"_time": timeText(at), "event_name": "orb8.dns",
		"k8s.node.name": node, "k8s.namespace.name": "shop", "k8s.pod.name": "web", "dns.question.name": name,
		"dns.answers": `["10.0.0.1","10.0.0.2"]`}
}

func questions(t *testing.T, s *Store, sel *Selection) (all []string, report Report) {
	t.Helper()
	report, err := s.Read(t.Context(), sel, func(ev *event.Event) error {
		if ev.GetDns().GetAnswers() != "10.0.0.1,10.0.0.2" || ev.GetPod() != "web" {
			t.Errorf("%v", ev)
		}
		all = append(all, ev.GetDns().GetName())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, report
}

// TestRead_CutsEachNode reads what is older than each node holds itself.
func TestRead_CutsEachNode(t *testing.T) {
	f := &fakeStore{}
	for i := range uint64(10) {
		for _, node := range []string{"n1", "n2", "gone"} {
			f.rows = append(f.rows, dnsRow(start+i*second, node, fmt.Sprint(node, i)))
		}
	}
	s := openFake(t, f)
	sel := &Selection{Since: start, Until: start + 8*second, Kinds: []string{"dns"},
		Cuts: map[string]uint64{"n1": start + 2*second, "n2": start + 4*second}}
	got, report := questions(t, s, sel)
	want := "n10 n20 gone0 n11 n21 gone1 n22 gone2 n23 gone3 gone4 gone5 gone6 gone7"
	if strings.Join(got, " ") != want || report.Rows != 14 || report.Bad+report.Foreign != 0 {
		t.Errorf("%q %+v", got, report)
	}
	sel.Newest = 5
	got, report = questions(t, s, sel)
	if strings.Join(got, " ") != "gone3 gone4 gone5 gone6 gone7" || !report.Truncated {
		t.Errorf("%q %+v", got, report)
	}
	sel.Since, sel.Newest = 0, 0
	if got, _ = questions(t, s, sel); strings.Join(got, " ") != want {
		t.Errorf("without a start: %q", got)
	}
}

// TestRead_Pages reads more rows than fit a page, also of one time.
func TestRead_Pages(t *testing.T) {
	f := &fakeStore{}
	const page = 50
	for i := range uint64(3 * page) {
		f.rows = append(f.rows, dnsRow(start+min(i, 2*page)*uint64(time.Millisecond), "n1", fmt.Sprint(i)))
	}
	s := openFake(t, f)
	s.maxPage = page
	got, report := questions(t, s, &Selection{Since: start, Until: start + 7200*second, Kinds: []string{"dns"}})
	if len(got) != 3*page || report.Rows != 3*page {
		t.Fatalf("%d rows", len(got))
	}
	for i, name := range got {
		if name != fmt.Sprint(i) {
			t.Fatalf("row %d is %s", i, name)
		}
	}
	if len(f.queries) < 5 {
		t.Errorf("%d queries", len(f.queries))
	}
}

// TestRead_ForeignRows reads rows that are none of orb8, and some that are damaged.
func TestRead_ForeignRows(t *testing.T) {
	with := func(name, value string) map[string]string {
		row := dnsRow(start+second, "n1", "x")
		row[name] = value
		return row
	}
	f := &fakeStore{rows: []map[string]string{
		dnsRow(start+second, "n1", "good"), with("event_name", "nginx"), with("event_name", "orb8.exec"),
		with("k8s.node.name", ""), with("k8s.node.name", strings.Repeat("n", 300)),
		with("source.address", "10.0.0.300"),
		with("orb8.outcome", "\x00"), with("_time", "yesterday"), with("_time", "2500-01-01T00:00:00Z"),
		with("orb8.comment", strings.Repeat("x", maxLine)), with("source.port", "-1"), with("orb8.newer", "than this"),
	}}
	got, report := questions(t, openFake(t, f), &Selection{Since: start, Until: start + 100*second,
		Kinds: []string{"dns"}, Newest: 50})
	if strings.Join(got, " ") != "good x" || report.Foreign != 4 || report.Bad != 6 {
		t.Errorf("%q %+v", got, report)
	}
}

// TestQuery_Quotes shows that a name cannot leave its place in a condition.
func TestQuery_Quotes(t *testing.T) {
	f := &fakeStore{}
	s := openFake(t, f)
	hostile := []string{`a") or *`, `\`, `"`, "\n| delete", "\xff\x00", "a\u2028'`|"}
	sel := &Selection{Since: start, Until: start + second, Kinds: []string{"flow"}, Namespaces: hostile, Pods: hostile,
		Container: hostile[0], Node: hostile[1], Cuts: map[string]uint64{hostile[2]: start}}
	if _, err := s.Read(t.Context(), sel, func(*event.Event) error { return nil }); err != nil {
		t.Fatal(err)
	}
	want := `* "k8s.node.name":="\\" !"k8s.node.name":in("\"") ("k8s.namespace.name":="" or "k8s.namespace.name":in(` +
		`"a\") or *","\\","\"","\n| delete","\xff\x00","a\u2028'` + "`" + `|") ("k8s.pod.name":in(`
	if !strings.HasPrefix(f.conditions[0], want) {
		t.Errorf("%s\nwant %s", f.conditions[0], want)
	}
	for _, query := range f.queries {
		const kinds = `"event_name":in("orb8.flow","orb8.lost","orb8.node_status")`
		if len(query) > 16<<10 || !strings.Contains(query, kinds) {
			t.Errorf("%d bytes: %s", len(query), query)
		}
	}
}

// FuzzQuote holds that LogsQL, which reads tokens as Go does, gets back the text, and nothing of it is outside.
func FuzzQuote(f *testing.F) {
	f.Add(`a" or *`)
	f.Fuzz(func(t *testing.T, s string) {
		q := quote(s)
		prefix, err := strconv.QuotedPrefix(q + " or *")
		if err != nil || prefix != q {
			t.Fatalf("%q: %q %v", s, prefix, err)
		}
		if got, err := strconv.Unquote(q); err != nil || got != s {
			t.Fatalf("%q: %q %v", s, got, err)
		}
	})
}

// FuzzRow compares rows with encoding/json.
func FuzzRow(f *testing.F) {
	for _, seed := range []string{`{"a":"b"}`, `{}`, "{\"a\\u0041\\ud83d\\ude00\":\"\\n\", \"b\" : \"\"}\n", `{"a":1}`,
		`{"a":"\ud800"}`,
		`{"a":"b"`, `[]`, `{"a":"b",}`, "{\"\xff\":\"\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var r row
		r.line = line
		if r.parse() != nil {
			return
		}
		var want map[string]string
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got := map[string]string{}
		for _, f := range r.fields {
			got[f.name] = f.value
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q, want %q", got, want)
		}
		read := &read{Store: &Store{}, s: &Selection{}, kinds: map[string]bool{"orb8.flow": true, "orb8.exec": true},
			nodes: map[string]struct{}{}, row: r}
		read.event(span{0, 1 << 62})
	})
}

func TestRow_TakesWhatJSONHas(t *testing.T) {
	for _, row := range []map[string]string{{}, {"a": "\x00\x1f\"\\/\u2028😀", "b": ""}, {"": "x"}} {
		line, _ := json.Marshal(row) // texts
		r := &read{}
		if err := r.row.next(bufio.NewReader(strings.NewReader(string(line) + "\n"))); err != nil {
			t.Fatal(err)
		}
		if err := r.row.parse(); err != nil || len(r.row.fields) != len(row) {
			t.Fatalf("%s: %v", line, err)
		}
		for name, value := range row {
			if r.row.get(name) != value {
				t.Errorf("%q: %q, want %q", name, r.row.get(name), value)
			}
		}
	}
}

// TestRead_Failures has stores that do not answer well.
func TestRead_Failures(t *testing.T) {
	for name, test := range map[string]struct {
		broken http.HandlerFunc
		want   string
	}{
		"refuses": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no\x1b[2J right", http.StatusForbidden)
		}, "it answers 403 Forbidden: no [2J right "},
		"redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example", http.StatusFound)
		}, "it answers 302 Found"},
		"is cut": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"_time":"2026-11-30T10:00:00Z","rows":"1"}` + "\n"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "unexpected EOF"},
		"counts wrong": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"_time":"2027-11-30T10:00:00Z","rows":"-1"}` + "\n"))
		}, "its answer is no count of rows"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openFake(t, &fakeStore{broken: test.broken})
			_, err := s.Read(t.Context(), &Selection{Since: start, Until: start + second}, nil)
			if err == nil || !strings.Contains(Detail(err), test.want) || strings.Contains(err.Error(), "127.0.0.1") {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
	t.Run("is slow", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		end := errors.New("the caller has ended it")
		s := openFake(t, &fakeStore{broken: func(_ http.ResponseWriter, r *http.Request) {
			cancel(end)
			<-r.Context().Done()
		}})
		if _, err := s.Read(ctx, &Selection{Since: start, Until: start + second}, nil); !errors.Is(err, end) {
			t.Errorf("%v", err)
		}
	})
}

func TestOpen_URL(t *testing.T) {
	for _, url := range []string{"", "victorialogs:9428", "http://u:p@x", "http://x?a=b", "file:///x"} {
		if _, err := Open(Options{URL: url}); err == nil {
			t.Errorf("%q is accepted", url)
		}
	}
}

// TestCredentials_MayChange changes a token while the store is open.
func TestCredentials_MayChange(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := &fakeStore{}
	s := openFake(t, f, func(o *Options) {
		o.Credentials, o.Resource = dir, map[string]string{"k8s.cluster.name": "prod"}
	})
	sel := &Selection{Since: start, Until: start + second}
	write("headers", "# tenant\nAccountID: 7\n")
	for _, token := range []string{"secret", "new"} {
		write("token", token+"\n")
		questions(t, s, sel)
		if got := f.header.Get("Authorization"); got != "Bearer "+token || f.header.Get("AccountID") != "7" {
			t.Errorf("%q %v", got, f.header)
		}
	}
	if !strings.Contains(f.queries[0], `"k8s.cluster.name":="prod"`) {
		t.Errorf("%s", f.queries[0])
	}
	for _, file := range []string{"ca.crt", "tls.key", "headers"} {
		write(file, "a secret\n")
		_, err := s.Read(t.Context(), sel, nil)
		if err == nil || strings.Contains(Detail(err), "a secret") || !strings.Contains(err.Error(), "credentials") {
			t.Errorf("%s: %v", file, err)
		}
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
}
