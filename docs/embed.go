// Package docs holds pages of the documentation for programs, and tests of all pages against the code.
package docs

import (
	"embed"
	"io/fs"
	"strings"
)

// The pages that programs hold: those about commands that read. All others are for people.
//
//go:embed diff.md doctor.md glossary.md query.md replay.md top.md trace-*.md why.md why-gpu.md
var embedded embed.FS

// Page is a page of the documentation, in Markdown.
type Page struct{ Name, Title, Text string }

// Pages returns the pages that programs hold, by name.
func Pages() (all []Page) {
	entries, _ := fs.ReadDir(embedded, ".") // in memory
	for _, e := range entries {
		text, _ := embedded.ReadFile(e.Name())
		first, _, _ := strings.Cut(string(text), "\n")
		all = append(all, Page{strings.TrimSuffix(e.Name(), ".md"), strings.TrimPrefix(first, "# "), string(text)})
	}
	return all
}
