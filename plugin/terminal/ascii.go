package terminal

import (
	"io"
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// ascii are the characters that orb8 itself writes, each with one that takes its place in a column.
var ascii = replacements(map[string]string{
	// Lines and boxes.
	"-": "─╌╶╴–−", "|": "│╎╵╷", "+": "╭╮╰╯┌┐└┘├┤┬┴┼",
	// Signs.
	"^": "▲↑", "v": "▼↓", ">": "▶›→", "<": "◀←", "~": "…", "=": "‖",
	"u": "µ", "x": "×", "/": "÷", " ": "°\u00a0", "*": "·•", "o": "◌", "@": "↻",
}, "▁▂▃▄▅▆▇█", ".:-=+*%#", "▏▎▍▌▋▊▉", "|||####")

// unknown stands for any other character.
const unknown = "?"

// replacements adds to a table by replacement pairs of texts, of which the second has what replaces the first's
// characters.
func replacements(of map[string]string, pairs ...string) map[rune]string {
	all := map[rune]string{}
	for replacement, characters := range of {
		for _, r := range characters {
			all[r] = replacement
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		for at, r := range []rune(pairs[i]) {
			all[r] = string(pairs[i+1][at])
		}
	}
	return all
}

// Columns returns a text that has columns, and may have colours, in the terminal's characters. Its width is the same.
func (t Terminal) Columns(s string) string {
	if !t.ASCII || isASCII(s) {
		return s
	}
	var out strings.Builder
	for len(s) > 0 {
		if s[0] < utf8.RuneSelf {
			out.WriteByte(s[0])
			s = s[1:]
			continue
		}
		cluster, width := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
		r, size := utf8.DecodeRuneInString(cluster)
		if replacement, ok := ascii[r]; ok && size == len(cluster) {
			out.WriteString(replacement)
		} else {
			out.WriteString(strings.Repeat(unknown, width))
		}
		s = s[len(cluster):]
	}
	return out.String()
}

// Line returns a text without columns in the terminal's characters.
func (t Terminal) Line(s string) string {
	if !t.ASCII || isASCII(s) {
		return s
	}
	return t.Columns(strings.ReplaceAll(s, "…", "..."))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Writer returns a writer for text without columns, or whose columns are laid out already.
func (t Terminal) Writer(out io.Writer) io.Writer {
	if !t.ASCII {
		return out
	}
	return &writer{terminal: t, out: out}
}

// writer holds what a Write leaves of a character for the next one.
type writer struct {
	terminal Terminal
	out      io.Writer
	rest     []byte
}

func (w *writer) Write(p []byte) (int, error) {
	text := append(w.rest, p...)
	whole := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if last := text[len(text)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				whole -= i
			}
			break
		}
	}
	w.rest = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(w.out, w.terminal.Columns(string(text[:whole]))); err != nil {
		return 0, err
	}
	return len(p), nil
}
