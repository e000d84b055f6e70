package past

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/otlp"
)

// row is a line of an answer: a JSON object of texts. Its texts are valid until the next line.
type row struct {
	line   []byte
	fields []field
	buf    []byte // unescaped texts
}

type field struct{ name, value string }

// get returns a field; empty: the row does not have it.
func (r *row) get(name string) string {
	for i := range r.fields {
		if r.fields[i].name == name {
			return r.fields[i].value
		}
	}
	return ""
}

var (
	errRow  = errors.New("it is no JSON object of texts")
	errLong = errors.New("it is too long")
)

// maxFields limits the fields of a row.
const maxFields = 1000

// next reads a line. The error errLong is of a line that was skipped.
func (r *row) next(from *bufio.Reader) error {
	r.line = r.line[:0]
	for {
		part, err := from.ReadSlice('\n')
		if len(r.line)+len(part) > maxLine {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = from.ReadSlice('\n')
			}
			if err == nil || errors.Is(err, io.EOF) {
				return errLong
			}
			return err
		}
		r.line = append(r.line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(r.line) > 0:
			return nil // parse fails if it was cut
		default:
			return err
		}
	}
}

// parse parses the line.
func (r *row) parse() error {
	r.fields, r.buf = r.fields[:0], r.buf[:0]
	p := parser{in: r.line, row: r}
	if !p.object() || !utf8.Valid(r.line) {
		return errRow
	}
	return nil
}

type parser struct {
	in  []byte
	row *row
}

// skip reads a character, after white space.
func (p *parser) skip(c byte) bool {
	p.space()
	if len(p.in) == 0 || p.in[0] != c {
		return false
	}
	p.in = p.in[1:]
	return true
}

func (p *parser) space() {
	for len(p.in) > 0 && (p.in[0] == ' ' || p.in[0] == '\t' || p.in[0] == '\n' || p.in[0] == '\r') {
		p.in = p.in[1:]
	}
}

// object reads an object and the end of the line.
func (p *parser) object() bool {
	if !p.skip('{') {
		return false
	}
	for !p.skip('}') {
		if n := len(p.row.fields); n > 0 && !p.skip(',') || n == maxFields {
			return false
		}
		name, ok := p.text()
		if !ok || !p.skip(':') {
			return false
		}
		value, ok := p.text()
		if !ok {
			return false
		}
		p.row.fields = append(p.row.fields, field{name, value})
	}
	p.space()
	return len(p.in) == 0
}

// text reads a string.
func (p *parser) text() (string, bool) {
	if !p.skip('"') {
		return "", false
	}
	for i, c := range p.in {
		switch {
		case c == '"':
			s := p.in[:i]
			p.in = p.in[i+1:]
			return view(s), true
		case c == '\\':
			return p.escaped(i)
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// escaped reads a string that has an escape at i.
func (p *parser) escaped(i int) (string, bool) {
	// A text is not longer than its escaped form, so that buf does not move while it is appended to.
	if p.row.buf == nil || cap(p.row.buf)-len(p.row.buf) < len(p.in) {
		p.row.buf = make([]byte, 0, 2*len(p.row.line)+64)
	}
	begin := len(p.row.buf)
	b := append(p.row.buf, p.in[:i]...)
	in := p.in[i:]
	for len(in) > 0 {
		switch c := in[0]; {
		case c == '"':
			p.row.buf, p.in = b, in[1:]
			return view(b[begin:]), true
		case c < ' ':
			return "", false
		case c != '\\':
			b, in = append(b, c), in[1:]
		case len(in) < 2:
			return "", false
		case in[1] == 'u':
			r, n := unicodeEscape(in)
			if n == 0 {
				return "", false
			}
			b, in = utf8.AppendRune(b, r), in[n:]
		default:
			c := simpleEscapes[in[1]]
			if c == 0 {
				return "", false
			}
			b, in = append(b, c), in[2:]
		}
	}
	return "", false
}

var simpleEscapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unicodeEscape reads \uXXXX, or two of them for a character beyond the first 65,536. n is 0 for what is no escape.
func unicodeEscape(in []byte) (r rune, n int) {
	r, ok := hexRune(in)
	if !ok {
		return 0, 0
	}
	if r < 0xd800 || r > 0xdfff {
		return r, 6
	}
	if low, ok := hexRune(in[6:]); ok && r < 0xdc00 && low >= 0xdc00 && low <= 0xdfff {
		return (r-0xd800)<<10 + (low - 0xdc00) + 0x10000, 12
	}
	return utf8.RuneError, 6
}

func hexRune(in []byte) (rune, bool) {
	if len(in) < 6 || in[0] != '\\' || in[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(view(in[2:6]), 16, 16)
	return rune(n), err == nil
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// event makes an event of the row; nil: it is none that is wanted, and was counted.
func (r *read) event(within span) *event.Event {
	name, node := r.row.get(fieldEvent), r.row.get(otlp.Node)
	if !r.kinds[name] || !r.known(node) || r.s.Node != "" && node != r.s.Node {
		r.report.Foreign++
		return nil
	}
	at, err := otlp.ParseTime(r.row.get(fieldTime))
	if err != nil || at < within.from || at >= within.to {
		r.report.Bad++
		return nil
	}
	if cut, ok := r.s.Cuts[node]; ok && at >= cut {
		return nil
	}
	b := otlp.FormOf(name).Begin(strings.Clone(node), at)
	for _, f := range r.row.fields {
		if err := b.Set(f.name, strings.Clone(f.value)); err != nil {
			r.report.Bad++
			return nil
		}
	}
	return b.Finish()
}

// known reports whether a name can be a node's. The store is not trusted with their number.
func (r *read) known(node string) bool {
	if _, ok := r.nodes[node]; ok {
		return true
	}
	if node == "" || len(node) > 253 || len(r.nodes) == maxNodes {
		return false
	}
	r.nodes[strings.Clone(node)] = struct{}{}
	return true
}
