package console

import (
	"slices"
	"strings"
	"testing"
)

const page = "# A page\n" +
	"\n" +
	"<!-- columns: SRC, SENT -->\n" +
	"\n" +
	"```console\n" +
	"$ kubectl orb8 trace network -o json |\n" +
	"    jq 'map(.a)\n" +
	"    | last'\n" +
	"2/2 nodes streaming\n" +
	"…\n" +
	"^C\n" +
	"$ kubectl get pods\n" +
	"No resources found\n" +
	"```\n" +
	"\n" +
	"<!-- not executed: it needs a GPU -->\n" +
	"```sh\n" +
	"# a comment\n" +
	"kubectl orb8 top gpu # the reader's GPUs\n" +
	"```\n" +
	"\n" +
	"<!-- beside the next block -->\n" +
	"\n" +
	"Text between a comment and a fence ends it.\n" +
	"\n" +
	"```sh\n" +
	"true\n" +
	"```\n"

func TestParse_FindsCommandsAndOutput(t *testing.T) {
	p, err := Parse("a.md", page)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Blocks) != 3 {
		t.Fatalf("%d blocks", len(p.Blocks))
	}
	first, second, third := p.Blocks[0], p.Blocks[1], p.Blocks[2]
	if !slices.Equal(first.Columns, []string{"SRC", "SENT"}) || first.Line != 5 || len(first.Steps) != 2 {
		t.Errorf("the first block: %+v", first)
	}
	if s := first.Steps[0]; strings.Count(s.Command, "\n") != 2 || len(s.Output) != 3 || !s.Interrupted {
		t.Errorf("its first step: %+v", s)
	}
	if s := first.Steps[1]; s.Command != "kubectl get pods" || s.Interrupted || s.Output[0] != "No resources found" {
		t.Errorf("its second step: %+v", s)
	}
	if second.Skip != "it needs a GPU" || len(second.Steps) != 1 || second.Steps[0].ShowsOutput {
		t.Errorf("the second block: %+v", second)
	}
	if third.Beside || third.Skip != "" || third.Columns != nil {
		t.Errorf("the third block has a comment of another: %+v", third)
	}
}

func TestParse_RefusesUnclearBlocks(t *testing.T) {
	for text, want := range map[string]string{
		"```\nmake\n```":                  "without a language",
		"text\n\n    make\n":              "an indented block",
		"```console\nmake\n```":           "output without a command",
		"```console\n$ a |\n```":          "does not end",
		"```text\n$ make\n```":            "use console",
		"```sh\nmake\n":                   "a fence without an end",
		"```sh\nkubectl get 'pods\n```":   "does not end",
		"```console\n$ a \"b\nc\\\"\n```": "does not end",
	} {
		if _, err := Parse("a.md", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestShape_ReplacesWhatVaries(t *testing.T) {
	for line, want := range map[string]string{
		"20 events from 2 nodes in 6.7s; nothing lost": "N events from ALL nodes in D; nothing lost",
		"1/1 node streaming":                           "ALL nodes streaming",
		"1/2 nodes streaming; orb8-node1: kubelet":     "1/2 nodes streaming; NODE: kubelet",
		"20 events from 1 of 2 nodes in 6.7s":          "N events from N of 2 nodes in D",
		"17:26:58.715  web-57fdc49b4b-jxjnc  web 34µs": "TIME web-HASH web D",
		"web:8080->web-57fdc49b4b-l94wr:8080  5.9Ki":   "web:8080->web-HASH:8080 N",
		"<-10.244.1.7:49152  ->10.0.0.1:443":           "<-IP:PORT ->IP:443",
		"kubernetes v1.37.2, image orb8:5bedba6-dirty": "kubernetes VERSION, image orb8VERSION",
		"orb8-agent-x2bcd on mine-node2":               "orb8-agent-HASH on NODE",
		`n0 -->|"515Ki/s 32µs"| n1`:                    "n0 --> | N D | n1",
		"67.0Gi/80.0Gi  612W/700W  97.0  n/a":          "N N N n/a",
		"the program gave up after 1m3.5s, exit 3":     "the program gave up after D, exit N",
		"deploy/web  db-0  sts/db:5432":                "deploy/web db-0 sts/db:5432",
	} {
		if got := shape(line); got != want {
			t.Errorf("%q becomes %q, want %q", line, got, want)
		}
	}
}

func TestCompare_FindsDifferences(t *testing.T) {
	shown := []string{"SRC  SENT  RTT", "shop-7f8c478456-qn45r  400  34µs", "2/2 nodes streaming"}
	for _, c := range []struct{ name, printed, missing, added string }{
		{"equal", "2/2 nodes streaming|SRC   SENT  RTT|shop-57fdc49b4b-l94wr  1.2Ki  2.1ms", "", ""},
		{"slow", "n1: starting the container|1/2 nodes ready, 1/2 servers ready: n2: starting|2/2 nodes streaming|" +
			"SRC SENT RTT|web-57fdc49b4b-l94wr 1 1s",
			"shop-HASH N D", "web-HASH N D"},
		{"a column is gone", "2/2 nodes streaming|SRC  SENT|shop-57fdc49b4b-l94wr  400",
			"SRC SENT RTT|shop-HASH N D", "SRC SENT|shop-HASH N"},
		{"another name", "2/2 nodes streaming|SRC  SENT  RTT|web-57fdc49b4b-l94wr  400  3ms", "shop-HASH N D",
			"web-HASH N D"},
		{"unknown", "2/2 nodes streaming|SRC  SENT  RTT|shop-57fdc49b4b-l94wr  400  n/a", "shop-HASH N D",
			"shop-HASH N n/a"},
		{"fewer nodes", "1/2 nodes streaming|SRC  SENT  RTT|shop-57fdc49b4b-l94wr  400  3ms", "ALL nodes streaming",
			"1/2 nodes streaming"},
	} {
		missing, added := Compare(shown, strings.Split(c.printed, "|"))
		if strings.Join(missing, "|") != c.missing || strings.Join(added, "|") != c.added {
			t.Errorf("%s: missing %q, added %q", c.name, missing, added)
		}
	}
	if missing, added := Compare([]string{"a 1", "…"}, []string{"a 2", "b"}); missing != nil || added != nil {
		t.Errorf("with others: missing %q, added %q", missing, added)
	}
}

func TestUpdate_WritesNewOutput(t *testing.T) {
	p, err := Parse("a.md", "```console\n$ one\na 1\n…\n$ two\nb\n^C\n3 events from 1 node\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	steps := p.Blocks[0].Steps
	got := p.Update(map[*Step][]string{
		steps[0]: Renew(steps[0].Output, []string{"x", "a 7", "y", "a 8"}),
		steps[1]: Renew(steps[1].Output, []string{"n1: starting the container", "b", "4 events from 1 node"}),
	})
	want := "```console\n$ one\n…\na 7\n…\n$ two\nb\n^C\n4 events from 1 node\n```\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCut_KeepsColumns(t *testing.T) {
	got := Cut([]string{
		"2/2 nodes streaming",
		"TIME      SRC   DST           SENT",
		"17:00:01  shop  web:8080->web  400",
		"17:00:02  a-long-name  b  1.2Ki",
		"17:00:03  shop  b",
		"2 events from 2 nodes in 3s; nothing lost",
	}, []string{"SENT", "SRC"})
	want := []string{"2/2 nodes streaming", "SENT   SRC", "400    shop", "1.2Ki  a-long-name", "       shop",
		"2 events from 2 nodes in 3s; nothing lost"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}
