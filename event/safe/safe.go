// Package safe makes text from strangers harmless. Names, arguments, DNS answers and paths come from whoever runs in
// the cluster; what they hold must neither move a terminal's cursor nor reorder what it shows nor break a line of JSON.
//
// AppendText is the one way of foreign text to a terminal, AppendJSON the one way into JSON.
package safe

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// AppendText appends s with every rune that a terminal might not simply print replaced by a visible escape: control
// characters (C0, DEL, C1), format characters (bidirectional controls, zero-width, tags), separators other than the
// plain space, private and unassigned code points, and bytes that are not UTF-8. A newline becomes \n, ESC \x1b, U+202E
// \u202e, a stray byte 0xff \xff.
func AppendText(dst []byte, s string) []byte {
	return appendText(dst, s)
}

// AppendBytes is AppendText for bytes. s must not overlap the spare room of dst.
func AppendBytes(dst, s []byte) []byte {
	return appendText(dst, s)
}

// Text returns s as AppendText writes it, s itself where nothing has to change.
func Text(s string) string {
	if n := printable(s); n == len(s) {
		return s
	}
	return string(AppendText(make([]byte, 0, len(s)+16), s))
}

// printable is the length of the longest prefix of s that is printable ASCII.
func printable[T string | []byte](s T) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return i
		}
	}
	return len(s)
}

func appendText[T string | []byte](dst []byte, s T) []byte {
	for len(s) > 0 {
		n := printable(s)
		dst = append(dst, s[:n]...)
		if s = s[n:]; len(s) == 0 {
			break
		}
		r, size := decode(s)
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, '\\', 'x', hex[s[0]>>4], hex[s[0]&15])
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < utf8.RuneSelf:
			dst = append(dst, '\\', 'x', hex[s[0]>>4], hex[s[0]&15])
		case strconv.IsPrint(r):
			dst = append(dst, s[:size]...)
		case r <= 0xffff:
			dst = appendHex(append(dst, `\u`...), r, 4)
		default:
			dst = appendHex(append(dst, `\U`...), r, 8)
		}
		s = s[size:]
	}
	return dst
}

// decode is utf8.DecodeRune for both forms of text.
func decode[T string | []byte](s T) (rune, int) {
	var b [utf8.UTFMax]byte
	return utf8.DecodeRune(b[:copy(b[:], s)])
}

// AppendJSON appends s as a JSON string with its quotes. What a terminal might not simply print is escaped, so that the
// output is harmless there too, and decodes to exactly s again; only bytes that are not UTF-8, which JSON cannot hold,
// become U+FFFD.
func AppendJSON(dst []byte, s string) []byte { return appendQuoted(dst, s, false) }

// AppendYAML appends s as a double-quoted YAML scalar. It differs from AppendJSON above U+FFFF only, where JSON escapes
// with a surrogate pair, which YAML forbids.
func AppendYAML(dst []byte, s string) []byte { return appendQuoted(dst, s, true) }

func appendQuoted(dst []byte, s string, yaml bool) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		n := unescaped(s[i:])
		dst = append(dst, s[i:i+n]...)
		i += n
		if i == len(s) {
			break
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == utf8.RuneError && size == 1:
			dst = append(dst, `\ufffd`...)
		case strconv.IsPrint(r):
			dst = utf8.AppendRune(dst, r)
		case r <= 0xffff:
			dst = appendHex(append(dst, `\u`...), r, 4)
		case yaml:
			dst = appendHex(append(dst, `\U`...), r, 8)
		default:
			high, low := utf16.EncodeRune(r)
			dst = appendHex(append(dst, `\u`...), high, 4)
			dst = appendHex(append(dst, `\u`...), low, 4)
		}
	}
	return append(dst, '"')
}

// unescaped returns the length of the longest prefix of s that needs no escapes: printable ASCII except quotes and
// backslashes. Most text is only that, so it tests eight bytes at once.
func unescaped(s string) int {
	n := 0
	for ; n+8 <= len(s); n += 8 {
		w := uint64(s[n]) | uint64(s[n+1])<<8 | uint64(s[n+2])<<16 | uint64(s[n+3])<<24 |
			uint64(s[n+4])<<32 | uint64(s[n+5])<<40 | uint64(s[n+6])<<48 | uint64(s[n+7])<<56
		// The high bits are those of bytes that are not ASCII, and of bytes from which more is subtracted than they
		// are: below a space, or equal to the other byte of an XOR.
		if (w|(w-each*' ')|((w^each*'"')-each)|((w^each*'\\')-each)|((w^each*0x7f)-each))&(each*0x80) != 0 {
			break
		}
	}
	for n < len(s) && s[n] >= ' ' && s[n] <= '~' && s[n] != '"' && s[n] != '\\' {
		n++
	}
	return n
}

// each has 1 in each byte.
const each = 0x0101010101010101

func appendHex(dst []byte, r rune, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, hex[r>>shift&15])
	}
	return dst
}
