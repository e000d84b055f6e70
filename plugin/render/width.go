package render

import (
	"unicode"

	"golang.org/x/text/width"
)

// runeWidth is how many terminal cells a printable rune takes: none for marks that combine with what stands before
// them, two for wide East Asian letters and emoji, else one.
func runeWidth(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r < 0x1100:
		return 1
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}
