package report

import "strings"

// Hostile returns arguments that would move a terminal's cursor, reorder its text, break a line of JSON or a shell's
// word, or that are not UTF-8. The last one is longer than a tracer reads.
func Hostile() []string {
	return []string{
		"", " ", "it's", `"quoted"`, `back\slash`, "$HOME", "a\nb\tc", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07",
		"\u202eevil", "\xff\xfe", "é\u0085", "*",
		strings.Repeat("x", 5000),
	}
}
