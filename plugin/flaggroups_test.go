package plugin

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

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
