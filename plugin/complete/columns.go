package complete

import (
	"context"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Kinds returns the kinds of events of a command with its arguments so far.
type Kinds func(cmd *cobra.Command, args []string) []*event.Kind

// Columns are the fields of the kinds, with their descriptions.
func Columns(kinds Kinds) Candidates {
	return func(_ context.Context, cmd *cobra.Command, args []string) (words []string) {
		for _, k := range kinds(cmd, args) {
			for i := range k.Columns {
				if c := &k.Columns[i]; c.Outputs&event.InJSON != 0 {
					words = append(words, c.Name+"\t"+c.Doc)
				}
			}
		}
		return words
	}
}

// SortBy completes a field, also behind a minus.
func SortBy(kinds Kinds) Func {
	columns := Columns(kinds)
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		name, descending := strings.CutPrefix(word, "-")
		before := ""
		if descending {
			before = "-"
		}
		return columns.match(cmd, args, before, name), noFiles
	}
}

// Filter completes the field at the end of an expression.
func Filter(kinds Kinds) Func {
	columns := Columns(kinds)
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		i := strings.LastIndexFunc(word, func(r rune) bool {
			return r != '.' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}) + 1
		const directive = noFiles | cobra.ShellCompDirectiveNoSpace
		if inString(word) {
			return nil, directive
		}
		return columns.match(cmd, args, word[:i], word[i:]), directive
	}
}

// inString reports whether an expression ends within a string.
func inString(expr string) bool {
	var quote rune
	escaped := false
	for _, r := range expr {
		switch {
		case escaped:
			escaped = false
		case quote != 0 && r == '\\':
			escaped = true
		case quote == 0 && (r == '"' || r == '\''):
			quote = r
		case r == quote:
			quote = 0
		}
	}
	return quote != 0
}

// Output completes a format of the list that help shows, and the fields of custom columns.
func Output(formats []string, kinds Kinds) Func {
	columns := Columns(kinds)
	const ofColumns = "custom-columns="
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if strings.HasPrefix(word, ofColumns) {
			before, field := cutLast(word, ",")
			if before == "" {
				before, field = ofColumns, word[len(ofColumns):]
			}
			header, field := cutLast(field, ":")
			return columns.match(cmd, args, before+header, field), noFiles | cobra.ShellCompDirectiveNoSpace
		}
		if strings.Contains(word, "-file=") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		var words []string
		for _, f := range formats {
			words = append(words, strings.TrimSuffix(f, "…"))
		}
		found := matching(words, "", word)
		if len(found) == 1 && strings.HasSuffix(found[0], "=") {
			return found, noFiles | cobra.ShellCompDirectiveNoSpace
		}
		return found, noFiles
	}
}
