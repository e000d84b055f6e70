package otlp

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// parseCommand returns the arguments of a command line as event quotes it, each ended by a NUL.
func parseCommand(line string) (args []byte, ok bool) {
	for line != "" {
		var word []byte
		if word, line, ok = parseWord(line); !ok {
			return nil, false
		}
		args = append(append(args, word...), 0)
		if line != "" {
			if line[0] != ' ' || line == " " {
				return nil, false
			}
			line = line[1:]
		}
	}
	return args, true
}

// parseWord reads a word up to an unquoted space.
func parseWord(s string) (word []byte, rest string, ok bool) {
	for s != "" && s[0] != ' ' {
		switch {
		case strings.HasPrefix(s, "$'"):
			if word, s, ok = parseEscaped(word, s[len("$'"):]); !ok {
				return nil, "", false
			}
		case s[0] == '\'':
			end := strings.IndexByte(s[1:], '\'')
			if end < 0 {
				return nil, "", false
			}
			word, s = append(word, s[1:1+end]...), s[end+2:]
		case s[0] == '\\' && len(s) > 1:
			word, s = append(word, s[1]), s[2:]
		default:
			word, s = append(word, s[0]), s[1:]
		}
	}
	return word, s, true
}

// parseEscaped reads what follows $' up to the closing quote.
func parseEscaped(word []byte, s string) (_ []byte, rest string, ok bool) {
	for s != "" {
		if s[0] == '\'' {
			return word, s[1:], true
		}
		if s[0] != '\\' {
			word, s = append(word, s[0]), s[1:]
			continue
		}
		if len(s) < 2 {
			return nil, "", false
		}
		digits := 0
		switch s[1] {
		case '\'', '\\':
			word = append(word, s[1])
		case 'n':
			word = append(word, '\n')
		case 't':
			word = append(word, '\t')
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		default:
			return nil, "", false
		}
		s = s[2:]
		if digits == 0 {
			continue
		}
		if len(s) < digits {
			return nil, "", false
		}
		n, err := strconv.ParseUint(s[:digits], 16, 32)
		if err != nil {
			return nil, "", false
		}
		if digits == 2 {
			word = append(word, byte(n))
		} else {
			word = utf8.AppendRune(word, rune(n))
		}
		s = s[digits:]
	}
	return nil, "", false
}

// parseText returns the bytes of a text of a process's own choice: $'…' stands for bytes that are not UTF-8.
func parseText(s string) []byte {
	if rest, ok := strings.CutPrefix(s, "$'"); ok {
		if b, tail, ok := parseEscaped(nil, rest); ok && tail == "" && !utf8.Valid(b) {
			return b
		}
	}
	return []byte(s)
}
