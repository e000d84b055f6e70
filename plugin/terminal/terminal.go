// Package terminal knows what the user's terminal can show, from the environment.
package terminal

import (
	"cmp"
	"runtime"
	"strings"
)

// Terminal is what a terminal can show.
type Terminal struct {
	// ASCII is set where it shows nothing else.
	ASCII bool
	// Dumb is set where it cannot move the cursor, so that it has no screens.
	Dumb bool
}

// FromEnvironment returns the terminal that the environment describes. getenv is os.Getenv.
func FromEnvironment(getenv func(string) string) Terminal { return describe(runtime.GOOS, getenv) }

func describe(goos string, getenv func(string) string) Terminal {
	if goos == "windows" {
		// Go writes to consoles in UTF-16, whatever their code page. TERM is of other shells.
		return Terminal{Dumb: getenv("TERM") == "dumb"}
	}
	// A locale that nobody has set, as in containers, says nothing about the terminal, and nearly all show UTF-8.
	locale := cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG"))
	return Terminal{ASCII: locale != "" && !isUTF8(locale), Dumb: getenv("TERM") == "dumb"}
}

// isUTF8 reports whether the encoding of a locale, LANGUAGE_COUNTRY.ENCODING@MODIFIER, is UTF-8.
func isUTF8(locale string) bool {
	name, _, _ := strings.Cut(locale, "@")
	language, encoding, _ := strings.Cut(name, ".")
	if encoding == "" {
		encoding = language // macOS has a locale UTF-8
	}
	return strings.EqualFold(strings.ReplaceAll(encoding, "-", ""), "utf8")
}
