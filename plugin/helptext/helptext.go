// Package helptext writes the help of commands: flags in groups, and lines that fit the terminal. The reference in docs
// uses it too.
//
// It uses no templates: a program with text/template keeps all exported methods.
package helptext

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// Width is the width of pages, and of help where the output is no terminal.
const Width = 80

// maxWidth keeps lines readable in wide terminals.
const maxWidth = 110

// Annotations of flags: the group, and what stands for the value.
const groupAnnotation, valueAnnotation = "orb8.dev/group", "orb8.dev/value"

// Other is the group of flags that have no other one.
const Other = "Other flags"

// SetGroup puts a flag into a group.
func SetGroup(f *pflag.Flag, group string) { annotate(f, groupAnnotation, group) }

// SetPlaceholder sets what stands for the value of a flag.
func SetPlaceholder(f *pflag.Flag, value string) { annotate(f, valueAnnotation, value) }

func annotate(f *pflag.Flag, key, value string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[key] = []string{value}
}

// Group is some flags of a command.
type Group struct {
	Title string
	Flags []*pflag.Flag
}

// Groups returns the visible flags of a command by group, in the order of titles.
func Groups(cmd *cobra.Command, titles []string) []Group {
	cmd.InitDefaultHelpFlag()
	if help := cmd.Flags().Lookup("help"); help != nil {
		help.Usage = "Show this help"
	}
	byTitle := map[string][]*pflag.Flag{}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		title := Other
		if g := f.Annotations[groupAnnotation]; len(g) > 0 {
			title = g[0]
		}
		if !f.Hidden {
			byTitle[title] = append(byTitle[title], f)
		}
	})
	var groups []Group
	for _, title := range append(slices.Clone(titles), Other) {
		if flags := byTitle[title]; len(flags) > 0 {
			groups = append(groups, Group{title, flags})
		}
	}
	return groups
}

// Install makes root and the commands below it write their help by this package. titles are the groups of flags in
// their order.
func Install(root *cobra.Command, titles []string) {
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		out := cmd.OutOrStdout()
		width := widthOf(out)
		text := cmd.Long
		if text == "" {
			text = cmd.Short
		}
		_, _ = io.WriteString(out, Paragraphs(text, width)+"\n")
		_ = write(out, cmd, titles, width)
	})
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		out := cmd.OutOrStderr()
		return write(out, cmd, titles, widthOf(out))
	})
}

// widthOf is the width of lines for an output.
func widthOf(out io.Writer) int {
	f, ok := out.(*os.File)
	if !ok {
		return Width
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 40 {
		return Width
	}
	return min(width, maxWidth)
}

func write(out io.Writer, cmd *cobra.Command, titles []string, width int) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	for _, line := range Lines(cmd) {
		b.WriteString("  " + line + "\n")
	}
	if len(cmd.Aliases) > 0 {
		b.WriteString("\nAliases:\n  " + cmd.NameAndAliases() + "\n")
	}
	if cmd.Example != "" {
		b.WriteString("\nExamples:\n" + Examples(cmd.Example, width))
	}
	for _, g := range Commands(cmd) {
		b.WriteString("\n" + g.Title + ":\n")
		for _, sub := range g.Commands {
			b.WriteString(entry("  "+sub.Name(), sub.Short, cmd.Commands()[0].NamePadding()+4, width))
		}
	}
	for _, g := range Groups(cmd, titles) {
		b.WriteString("\n" + g.Title + ":\n" + FlagText(g.Flags, width))
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nUse \"%s COMMAND --help\" for more about a command.\n", cmd.CommandPath())
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// Lines are the forms of a command.
func Lines(cmd *cobra.Command) (lines []string) {
	if cmd.HasAvailableSubCommands() {
		lines = append(lines, cmd.CommandPath()+" COMMAND")
	}
	if !cmd.HasAvailableSubCommands() || strings.Contains(cmd.Use, " ") {
		lines = append(lines, strings.TrimSuffix(cmd.UseLine(), " [flags]")+" [flags]")
	}
	return lines
}

// CommandGroup is some subcommands of a command.
type CommandGroup struct {
	Title    string
	Commands []*cobra.Command
}

// Commands returns the visible subcommands of a command by group.
func Commands(cmd *cobra.Command) (groups []CommandGroup) {
	add := func(id, title string) {
		g := CommandGroup{Title: title}
		for _, sub := range cmd.Commands() {
			if sub.GroupID == id && (sub.IsAvailableCommand() || sub.Name() == "help") {
				g.Commands = append(g.Commands, sub)
			}
		}
		if len(g.Commands) > 0 {
			groups = append(groups, g)
		}
	}
	for _, g := range cmd.Groups() {
		add(g.ID, g.Title)
	}
	add("", "Commands")
	return groups
}

// flagColumn is where the descriptions of flags begin.
const flagColumn = 30

// FlagText lists flags with their descriptions.
func FlagText(flags []*pflag.Flag, width int) string {
	var b strings.Builder
	for _, f := range flags {
		name, description := Describe(f)
		b.WriteString(entry("  "+name, description, flagColumn, width))
	}
	return b.String()
}

// placeholders stand for values, by the type of a flag.
var placeholders = map[string]string{
	"bool": "", "string": "TEXT", "stringArray": "TEXT", "stringSlice": "LIST", "uintSlice": "LIST",
	"stringToString": "KEY=VALUE,...", "duration": "TIME", "int": "N", "int32": "N", "int64": "N",
	"uint32": "N", "float64": "N",
}

// Describe returns a flag with a placeholder for its value, and its description with its default.
func Describe(f *pflag.Flag) (name, description string) {
	name = "    --" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", --" + f.Name
	}
	value, known := placeholders[f.Value.Type()]
	if own := f.Annotations[valueAnnotation]; len(own) > 0 {
		value = own[0]
	} else if !known {
		value = strings.ToUpper(f.Value.Type())
	}
	if value != "" {
		name += " " + value
	}
	description = f.Usage
	unset := slices.Contains([]string{"", "0", "0s", "false", "[]"}, f.DefValue)
	if !unset && !strings.Contains(description, "default") {
		value := strings.Trim(f.DefValue, "[]")
		if f.Value.Type() == "duration" && strings.HasSuffix(value, "m0s") {
			value = strings.TrimSuffix(value, "0s")
		}
		description += " (default " + value + ")"
	}
	return name, description
}

// entry writes a name, and text beside it from a column on, or below where the name is longer.
func entry(name, text string, column, width int) string {
	lines := wrap(text, width-column)
	indent := strings.Repeat(" ", column)
	first := name + "\n"
	if n := utf8.RuneCountInString(name); n+2 <= column && len(lines) > 0 {
		first, lines = name+strings.Repeat(" ", column-n)+lines[0]+"\n", lines[1:]
	}
	for _, line := range lines {
		first += indent + line + "\n"
	}
	return first
}
