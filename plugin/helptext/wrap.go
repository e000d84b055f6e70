package helptext

import (
	"strings"
	"unicode/utf8"
)

// Paragraphs breaks the lines of text anew. Empty lines separate paragraphs; indented ones stay as they are.
func Paragraphs(text string, width int) string {
	var b strings.Builder
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			b.WriteString("\n")
		}
		if strings.HasPrefix(paragraph, " ") {
			b.WriteString(paragraph + "\n")
			continue
		}
		for _, line := range wrap(paragraph, width) {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// wrap breaks text between words into lines of at most width characters, where the words allow it.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// Examples breaks long lines of examples so that a shell still reads each command as one: behind a pipe, or by a
// backslash before a word.
func Examples(text string, width int) string {
	var b strings.Builder
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		line = strings.TrimRight(line, "\n")
		trimmed := strings.TrimLeft(line, " ")
		indent := line[:len(line)-len(trimmed)]
		comment, isComment := strings.CutPrefix(trimmed, "# ")
		switch {
		case utf8.RuneCountInString(line) <= width:
			b.WriteString(line + "\n")
		case isComment:
			for _, part := range wrap(comment, width-len(indent)-len("# ")) {
				b.WriteString(indent + "# " + part + "\n")
			}
		default:
			b.WriteString(breakCommand(indent, trimmed, width))
		}
	}
	return b.String()
}

// breakCommand breaks a command. Quoted text stays in one line.
func breakCommand(indent, command string, width int) string {
	const next, backslash = "    ", " \\"
	var b strings.Builder
	line := indent
	length := utf8.RuneCountInString
	for i, stage := range stages(shellWords(command)) {
		whole := strings.Join(stage, " ")
		if i > 0 && length(line)+1+length(whole) > width {
			b.WriteString(line + "\n") // it ends with a pipe
			line = indent + next
		}
		for _, word := range stage {
			switch {
			case strings.TrimSpace(line) == "":
				line += word
			case length(line)+1+length(word) > width-len(backslash) && word != "|":
				b.WriteString(line + backslash + "\n")
				line = indent + next + word
			default:
				line += " " + word
			}
		}
	}
	return b.String() + line + "\n"
}

// stages splits the words of a pipeline behind each pipe.
func stages(words []string) (all [][]string) {
	start := 0
	for i, word := range words {
		if word == "|" {
			all = append(all, words[start:i+1])
			start = i + 1
		}
	}
	return append(all, words[start:])
}

// shellWords splits a command at spaces outside of quotes. A quote that is not closed in the line reaches to its end. A
// flag stays together with its value.
func shellWords(command string) (words []string) {
	var quote rune
	start := 0
	add := func(word string) {
		if n := len(words); n > 0 && strings.HasPrefix(words[n-1], "-") && !strings.ContainsAny(words[n-1], "= ") &&
			!strings.HasPrefix(word, "-") && word != "|" {
			words[n-1] += " " + word
			return
		}
		words = append(words, word)
	}
	for i, r := range command {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == ' ':
			add(command[start:i])
			start = i + 1
		}
	}
	add(command[start:])
	return words
}
