package helptext

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestExamples_StayTheSameCommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it runs sh")
	}
	for _, command := range []string{
		`  echo trace network deploy/web -n demo --filter 'a == "x y" && b' -o json | cat -s | cat`,
		`  echo one two three four five six seven eight nine ten eleven twelve`,
		`  echo '{a, "b c": .d | length}' --sort-by=-idleMicros | cat`,
	} {
		broken := Examples(command, 40)
		for line := range strings.Lines(broken) {
			if n := len(strings.TrimRight(line, "\n")); n > 40 && !strings.Contains(line, "'") {
				t.Errorf("%d columns: %s", n, line)
			}
		}
		if strings.Count(broken, "\n") < 2 {
			t.Errorf("in one line: %s", broken)
		}
		want, err := exec.Command("sh", "-c", command).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := exec.Command("sh", "-c", broken).Output(); err != nil || string(got) != string(want) {
			t.Errorf("%s prints %q, %v; want %q", broken, got, err, want)
		}
	}
}

func TestExamples_BreakAtPipes(t *testing.T) {
	got := Examples("  # A comment of many words\n  program --flag value | jq -r '.a | .b'", 24)
	want := "  # A comment of many\n  # words\n  program --flag value |\n      jq -r '.a | .b'\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestParagraphs_KeepIndentedLines(t *testing.T) {
	got := Paragraphs("one two\nthree\n\n  a list\n  of two\n\nfour", 9)
	if want := "one two\nthree\n\n  a list\n  of two\n\nfour\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHelp_GroupsFlags(t *testing.T) {
	root := &cobra.Command{Use: "root"}
	sub := &cobra.Command{Use: "sub [NAME]", Short: "Do it", Example: "  root sub x"}
	sub.Run = func(*cobra.Command, []string) {}
	sub.Flags().StringP("namespace", "n", "", "Where it is")
	sub.Flags().StringSlice("list-with-a-long-name", []string{"a", "b"},
		"Some of the letters that there are in the world")
	sub.Flags().Bool("secret", false, "Not shown")
	_ = sub.Flags().MarkHidden("secret")
	SetGroup(sub.Flags().Lookup("namespace"), "Cluster")
	SetPlaceholder(sub.Flags().Lookup("namespace"), "NAME")
	root.AddCommand(sub)
	Install(root, []string{"Cluster"})
	var out strings.Builder
	root.SetOut(&out)
	root.SetArgs([]string{"sub", "--help"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	if want := `Do it

Usage:
  root sub [NAME] [flags]

Examples:
  root sub x

Cluster:
  -n, --namespace NAME        Where it is

Other flags:
  -h, --help                  Show this help
      --list-with-a-long-name LIST
                              Some of the letters that there are in the world
                              (default a,b)
`; out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
