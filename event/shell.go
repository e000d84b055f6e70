package event

import (
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// appendShell appends s quoted such that a shell (POSIX.1-2024, bash, zsh) reads it as one word that is exactly s, and
// that everything in it is printable: as it is where that is a plain word, in '…' where it is printable, else in $'…'.
func appendShell(dst []byte, s string) []byte {
	switch {
	case s != "" && strings.IndexFunc(s, special) < 0:
		return append(dst, s...)
	case printable(s):
		dst = append(dst, '\'')
		for i := range len(s) {
			if s[i] == '\'' {
				dst = append(dst, `'\'`...)
			}
			dst = append(dst, s[i])
		}
		return append(dst, '\'')
	}
	return appendEscaped(dst, s)
}

// appendEscaped appends s as $'…'.
func appendEscaped(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, "$'"...)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\'' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == utf8.RuneError && size == 1 || r < ' ' || r == 0x7f:
			// Always two digits: a shell reads no more of them.
			dst = append(dst, '\\', 'x', hex[s[i]>>4], hex[s[i]&15])
		case strconv.IsPrint(r):
			dst = append(dst, s[i:i+size]...)
		case r <= 0xffff:
			dst = appendRune(append(dst, `\u`...), r, 4)
		default:
			dst = appendRune(append(dst, `\U`...), r, 8)
		}
		i += size
	}
	return append(dst, '\'')
}

func appendRune(dst []byte, r rune, digits int) []byte {
	text := strconv.FormatUint(uint64(r), 16)
	return append(append(dst, "00000000"[:digits-len(text)]...), text...)
}

// special reports whether a shell may take r in an unquoted word for more than itself.
func special(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("_@%+=:,./-", r):
		return false
	}
	return true
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0
}

// exact is text of a process's own choice: as it is where it is UTF-8, which JSON can hold, else as $'…'.
func exact(b []byte) Value {
	if len(b) == 0 {
		return Value{}
	}
	if s := unsafe.String(&b[0], len(b)); !utf8.ValidString(s) {
		return String(string(appendEscaped(nil, s)))
	} else {
		return String(s)
	}
}

// optionalFlag makes a Value of a truth that may be absent.
func optionalFlag(b *bool) Value {
	if b == nil {
		return Value{}
	}
	return Flag(*b)
}
