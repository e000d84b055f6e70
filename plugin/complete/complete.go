// Package complete completes words of a command line: from fixed lists, from columns, from the kubeconfig and from the
// cluster.
//
// Names come from the API server and from the kubeconfig, and go into a shell. Those that a shell or a terminal could
// interpret are left out. On any error, and after a short time, there are no completions: an error message would
// destroy the command line that the user is typing.
package complete

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Func completes a word.
type Func = cobra.CompletionFunc

// Candidates returns the words that are possible, each with a tab and a description where it has one. args are the
// arguments before the word.
type Candidates func(ctx context.Context, cmd *cobra.Command, args []string) []string

// timeout bounds the time that a user waits for a completion.
const timeout = 1500 * time.Millisecond

// noFiles keeps the shell from completing file names instead.
const noFiles = cobra.ShellCompDirectiveNoFileComp

// Files completes the names of files.
func Files(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// Directories completes the names of directories.
func Directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// Nothing completes nothing.
func Nothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, noFiles
}

// Words are fixed candidates.
func Words(words ...string) Candidates {
	return func(context.Context, *cobra.Command, []string) []string { return words }
}

// Join returns the candidates of all.
func Join(all ...Candidates) Candidates {
	return func(ctx context.Context, cmd *cobra.Command, args []string) (words []string) {
		for _, c := range all {
			words = append(words, c(ctx, cmd, args)...)
		}
		return words
	}
}

// One completes one of the candidates.
func One(c Candidates) Func {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		return c.match(cmd, args, "", word), noFiles
	}
}

// List completes candidates with commas between, each once.
func List(c Candidates) Func {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		before, last := cutLast(word, ",")
		given := strings.Split(before, ",")
		words := slices.DeleteFunc(c.match(cmd, args, before, last), func(w string) bool {
			return slices.Contains(given, strings.TrimPrefix(value(w), before))
		})
		return words, noFiles | cobra.ShellCompDirectiveNoSpace
	}
}

// match returns the candidates that begin with a word, behind what stands before it.
func (c Candidates) match(cmd *cobra.Command, args []string, before, word string) []string {
	ctx, cancel := context.WithTimeout(parent(cmd), timeout)
	defer cancel()
	// Some of the work takes no context: a credential plugin of the kubeconfig runs until it ends.
	found := make(chan []string, 1)
	go func() { found <- c(ctx, cmd, args) }()
	select {
	case all := <-found:
		return matching(all, before, word)
	case <-ctx.Done():
		return nil
	}
}

func parent(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

// unescaped matches text that bash writes without a backslash.
var unescaped = regexp.MustCompile(`^[A-Za-z0-9._:/@+=-]*$`)

// matching returns the words that begin with a word and are not the same as one before, behind what stands before it.
//
// cobra's script for bash compares words that have descriptions with their characters escaped: "a,b" would never match.
// Such words have no descriptions.
func matching(all []string, before, word string) (words []string) {
	seen := map[string]bool{}
	described := unescaped.MatchString(before)
	for _, w := range all {
		v := value(w)
		if !strings.HasPrefix(v, word) || seen[v] {
			continue
		}
		seen[v] = true
		if !described {
			w = v
		}
		words = append(words, before+w)
	}
	return words
}

// value is a word without its description.
func value(word string) string {
	v, _, _ := strings.Cut(word, "\t")
	return v
}

// cutLast splits a word behind the last separator.
func cutLast(word, separator string) (before, last string) {
	i := strings.LastIndex(word, separator) + 1
	return word[:i], word[i:]
}

// harmless matches names that no shell and no terminal interprets: those of Kubernetes, of contexts and their like.
var harmless = regexp.MustCompile(`^[A-Za-z0-9%][A-Za-z0-9._:/@+=-]{0,511}$`)

// names keeps the harmless ones of untrusted names, sorted.
func names(all []string) []string {
	all = slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !harmless.MatchString(name) })
	slices.Sort(all)
	return slices.Compact(all)
}
