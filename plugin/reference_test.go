package plugin

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/helptext"
)

//go:generate go test . -run ^TestReference -update

var update = flag.Bool("update", false, "write the generated docs")

// referenceDir has a page for each command.
const referenceDir = "../docs/commands"

func TestReference_IsThatOfTheCommands(t *testing.T) {
	pages := referencePages()
	if *update {
		if err := os.RemoveAll(referenceDir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(referenceDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, page := range pages {
			if err := os.WriteFile(filepath.Join(referenceDir, file), []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := os.ReadDir(referenceDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, generated := pages[f.Name()]; !generated {
			t.Errorf("docs/commands/%s is of no command: run go generate ./plugin", f.Name())
		}
	}
	for file, want := range pages {
		got, err := os.ReadFile(filepath.Join(referenceDir, file))
		if err != nil || string(got) != want {
			t.Errorf("docs/commands/%s differs from the commands: run go generate ./plugin (%v)", file, err)
		}
	}
}

// referencePages returns the pages of the reference, by file.
func referencePages() map[string]string {
	root := NewCommand(genericiooptions.NewTestIOStreamsDiscard())
	pages := map[string]string{}
	eachCommand(root, func(cmd *cobra.Command) {
		// The version in the names of images is that of the build.
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			f.Usage = strings.ReplaceAll(f.Usage, version.Version(), "VERSION")
		})
		if cmd == root || cmd.IsAvailableCommand() {
			pages[referenceFile(cmd)] = referencePage(cmd)
		}
	})
	return pages
}

// referenceFile is the file of a command's page.
func referenceFile(cmd *cobra.Command) string {
	if path := name(cmd); path != "" {
		return strings.ReplaceAll(path, " ", "-") + ".md"
	}
	return "README.md"
}

func referencePage(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Written by go generate ./plugin from the commands; do not edit. -->\n\n",
		cmd.CommandPath())
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	b.WriteString(helptext.Paragraphs(text, 118) + "\n")
	b.WriteString("```\n" + strings.Join(helptext.Lines(cmd), "\n") + "\n```\n")
	if len(cmd.Aliases) > 0 {
		b.WriteString("\nAliases: `" + strings.Join(cmd.Aliases, "`, `") + "`\n")
	}
	if more := "../" + referenceFile(cmd); cmd.HasParent() && exists(filepath.Join(referenceDir, more)) {
		fmt.Fprintf(&b, "\nMore about it: [%s](%s)\n", strings.TrimPrefix(more, "../"), more)
	}
	if cmd.Example != "" {
		b.WriteString("\n## Examples\n\n```sh\n" + outdent(helptext.Examples(cmd.Example, helptext.Width)) + "```\n")
	}
	for _, g := range helptext.Commands(cmd) {
		b.WriteString("\n## " + g.Title + "\n\n")
		for _, sub := range g.Commands {
			if sub.Name() != "help" {
				short := indent(helptext.Paragraphs(sub.Short, 116))
				fmt.Fprintf(&b, "- [%s](%s):\n%s", sub.Name(), referenceFile(sub), short)
			}
		}
	}
	for _, g := range helptext.Groups(cmd, flagTitles) {
		if g.Title != helptext.Other {
			flags := outdent(helptext.FlagText(g.Flags, helptext.Width))
			b.WriteString("\n## " + g.Title + "\n\n```\n" + flags + "```\n")
		}
	}
	return b.String()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// outdent removes two spaces from the beginning of each line, indent adds them.
func outdent(text string) string {
	return strings.TrimPrefix(strings.ReplaceAll(text, "\n  ", "\n"), "  ")
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}
