package plugin

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/capture/pcapfilter"
	"github.com/orb8-dev/kubectl-orb8/plugin/helptext"
)

func TestHelp_EveryFlagHasAGroup(t *testing.T) {
	unused := byFlag(flagGroups)
	for flag := range byFlag(flagValues) {
		unused[flag] = "a placeholder"
	}
	root := NewCommand(genericiooptions.NewTestIOStreamsDiscard())
	eachCommand(root, func(cmd *cobra.Command) {
		path := name(cmd)
		if path == "upgrade" {
			path = "install"
		}
		for _, g := range helptext.Groups(cmd, flagTitles) {
			for _, f := range g.Flags {
				delete(unused, path+" --"+f.Name)
				parent, _, _ := strings.Cut(path, " ")
				delete(unused, parent+" --"+f.Name)
				delete(unused, f.Name)
				if g.Title == helptext.Other && f.Name != "help" {
					t.Errorf("%s --%s is in no group: add it to flagGroups, in plugin/flaggroups.go", cmd.CommandPath(),
						f.Name)
				}
			}
		}
	})
	delete(unused, "cache-dir") // hidden
	if len(unused) > 0 {
		t.Errorf("there are no such flags: %v", unused)
	}
	for _, cmd := range root.Commands() {
		_, grouped := commandGroups[cmd.Name()]
		if other := cmd.Name() == "completion" || cmd.Name() == "version"; grouped == other {
			t.Errorf("%s: add it to commandGroups", cmd.Name())
		}
	}
}

func TestHelp_FitsTheTerminal(t *testing.T) {
	eachCommand(NewCommand(genericiooptions.NewTestIOStreamsDiscard()), func(cmd *cobra.Command) {
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		code, help, errOut := run(t, append(strings.Fields(name(cmd)), "--help")...)
		if code != ExitOK || errOut != "" {
			t.Errorf("%s --help: exit code %d, %s", cmd.CommandPath(), code, errOut)
		}
		for line := range strings.Lines(help) {
			line = strings.TrimRight(line, "\n")
			quoted := strings.ContainsAny(line, `'{`) // a program of jq or a filter stays in one line
			if n := utf8.RuneCountInString(line); n > helptext.Width && !quoted || strings.HasSuffix(line, " ") {
				t.Errorf("%s: %d columns: %q", cmd.CommandPath(), n, line)
			}
		}
	})
}

func TestHelp_FieldExamplesCompile(t *testing.T) {
	for kind, example := range fieldExamples {
		k := event.KindByName(kind)
		if k == nil {
			t.Errorf("there is no kind %q", kind)
			continue
		}
		if _, err := filter.Compile(example.filter, []*event.Kind{k}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if k.Column(example.field) == nil {
			t.Errorf("%s has no field %q", kind, example.field)
		}
	}
	for _, tr := range traceCommands {
		if fieldExamples[tr.kind].filter == "" {
			t.Errorf("trace %s: add an example to fieldExamples, in plugin/fieldhelp.go", tr.name)
		}
	}
}

// TestHelp_ExamplesParse parses each command of the examples, and compiles its filter.
func TestHelp_ExamplesParse(t *testing.T) {
	root := NewCommand(genericiooptions.NewTestIOStreamsDiscard())
	parsed := 0
	eachCommand(root, func(shown *cobra.Command) {
		for _, words := range exampleCommands(shown.Example) {
			parsed++
			cmd, rest, err := NewCommand(genericiooptions.NewTestIOStreamsDiscard()).Find(words)
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if err == nil && name(cmd) == "capture" {
				_, err = pcapfilter.Compile(flagValue(cmd, "filter"))
			} else if err == nil {
				_, err = filter.Compile(flagValue(cmd, "filter"), eventKinds(cmd, cmd.Flags().Args()))
			}
			if err == nil && !cmd.Runnable() {
				err = errors.New("it runs nothing")
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", shown.CommandPath(), words, err)
			}
		}
	})
	if parsed < 60 {
		t.Errorf("%d examples, want 60 or more", parsed)
	}
}

// exampleCommands returns the arguments of each kubectl orb8 in an example, without quotes.
func exampleCommands(text string) (commands [][]string) {
	for line := range strings.Lines(text) {
		_, command, found := strings.Cut(line, "kubectl orb8 ")
		if !found || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		var words []string
		for i, part := range strings.Split(command, "'") { // no example has a quote within quotes
			if i%2 == 1 {
				words = append(words, part)
				continue
			}
			before, _, ends := strings.Cut(part, "|")
			before, _, redirects := strings.Cut(before, ">")
			words = append(words, strings.Fields(before)...)
			if ends || redirects {
				break
			}
		}
		commands = append(commands, words)
	}
	return commands
}

// The program builds help and completions only where a command line asks for them; both are the same as of NewCommand.
func TestMain_HelpsAndCompletesAsDocumented(t *testing.T) {
	for _, line := range []string{"--help", "trace network --help", "help top dns", "help why",
		"__complete trace network --s"} {
		var got, want bytes.Buffer
		if code := Main(strings.Fields(line), strings.NewReader(""), &got, io.Discard); code != ExitOK {
			t.Errorf("%s: exit code %d", line, code)
		}
		root := NewCommand(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &want, ErrOut: io.Discard})
		root.SetArgs(strings.Fields(line))
		if err := root.Execute(); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if got.String() != want.String() || want.Len() == 0 {
			t.Errorf("%s: %q, want %q", line, got.String(), want.String())
		}
	}
}
