package bench

import (
	"strings"
	"unicode/utf8"
)

// wrap breaks a text into lines of at most 120 columns; lines but the first begin with indent.
func wrap(text, indent string) string {
	const columns = 120
	var b strings.Builder
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns:
			b.WriteString(line + "\n")
			line = indent + word
		default:
			line += " " + word
		}
	}
	return b.String() + line + "\n"
}
