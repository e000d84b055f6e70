package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for id, want := range map[string]string{
		"": "", "scan": "scan", "scanInterval": "scan interval", "HTTPServer": "http server", "IPv4Addr": "i pv addr",
		"on_device_sample": "on device sample", "TestX_Y2Z": "test x y z", "GPU": "gpu", "aB": "a b",
	} {
		if got := strings.Join(words(id), " "); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

func TestCheckFile(t *testing.T) {
	wide := strings.Repeat("x", maxColumns+1)
	for _, c := range []struct {
		name, file, text string
		want             []string
	}{
		{"clean", "a.go", "package a\n\n// scan reads all sockets.\nfunc scan() {}\n", nil},
		{"function", "a.go", "package a\n\nfunc walkSockets() {}\n", []string{`3 walkSockets: not "walk" but scan`}},
		{"variables", "a.go",
			"package a\n\nfunc f() {\n\tfor walk := range 3 {\n\t\tpatience := walk\n\t\t_ = patience\n\t}\n}\n",
			[]string{`4 walk: not "walk" but scan`, `5 patience: not "patience" but timeout`}},
		{"used, not declared", "a.go", "package a\n\nvar _ = filepath.WalkDir\n", nil},
		{"comment", "a.go", "package a\n\n/*\nsays of it\n*/\n", []string{`4 not "says of" but report`}},
		{"line comments", "a.go", "package a\n\n// a\n// mends\nfunc f() {\n\t// tells of b\n}\n",
			[]string{`4 not "mends" but fix`, `6 not "tells of" but report`}},
		{"text", "a.go", "package a\n\nvar x = \"the processor\"\n", []string{`3 not "processor" but CPU`}},
		{"of course", "a.md", "Of course.\n", nil},
		{"course", "a.md", "a\nthe course of it\n", []string{`2 not "e course" but time series or history`}},
		{"model", "plugin/model/a.go", "package model\n\ntype face int\n",
			[]string{`3 face: not "face" but dimension`}},
		{"not the model", "plugin/tui/a.go", "package tui\n\ntype face int\n", nil},
		{"riddle", "a_test.go", "package a\n\nfunc TestWhatIsSeen(t *T) {}\n",
			[]string{"3 TestWhatIsSeen: name the thing first, then what it does: TestOutbox_ResumesAfterCut"}},
		{"long name", "a_test.go", "package a\n\nfunc Test" + wide[:maxTestName] + "(t *T) {}\n",
			[]string{"3 Test" + wide[:maxTestName] + " has 49 characters, want at most 45"}},
		{"C", "a.c", "/* the sockets walk */\nint glance_at(int a);\n",
			[]string{`1 not "walk" but scan or iterate`, `2 glance_at: not "glance" but scan`}},
		{"wide", "Makefile", wide + "\n" + wide[1:] + "\n", []string{"1 121 columns, want at most 120"}},
		{"wide by a tab", "a.sh", "\t" + wide[4:] + "\n", []string{"1 121 columns, want at most 120"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			places, err := checkFile(c.file, c.text)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range places {
				got = append(got, p.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if _, err := checkFile("a.go", "package"); err == nil {
		t.Error("a broken file is passed over")
	}
}

func TestCheck_ReadsFilesOfTheRepository(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a.md": "mends\n", "new.md": "mends\n", "ignored.md": "mends\n", ".gitignore": "ignored.md\n",
		"hack/words/b.md": "mends\n", "x_bpfel.go": "mends\n",
	} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "a.md", "hack", "x_bpfel.go"}} {
		if out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	got, err := check(root)
	want := []string{`a.md:1: not "mends" but fix`, `new.md:1: not "mends" but fix`}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}
