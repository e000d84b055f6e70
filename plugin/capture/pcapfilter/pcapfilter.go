// Package pcapfilter compiles pcap filter expressions to classic BPF over packets that begin with their IP header
// (LINKTYPE_RAW). It knows a part of the language of pcap-filter(7), which docs/capture.md lists, and gives it the
// meaning that libpcap does, against which it is tested.
//
// Compilers in Go exist, but not for this: packetcap/go-pcap reads an Ethernet header before each address, which these
// packets lack.
package pcapfilter

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// Limits of an expression.
const (
	maxLength = 16 << 10
	maxDepth  = 100
	// maxInstructions is what tracers take.
	maxInstructions = 2048
)

// Error says what is wrong with an expression, and where.
type Error struct {
	// Column counts from 1 on.
	Column  int
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("column %d: %s", e.Column, e.Message) }

// Compile compiles an expression. The program returns other than 0 for a packet that matches. An empty expression
// compiles to nil: all packets match. Every error is an *Error.
func Compile(expression string) ([]bpf.RawInstruction, error) {
	if len(expression) > maxLength {
		return nil, &Error{maxLength + 1, fmt.Sprintf("the expression is too long: want at most %d bytes", maxLength)}
	}
	p := &parser{tokens: scan(expression)}
	if p.peek().kind == tokenEnd {
		return nil, nil
	}
	n, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, t.errorf("unexpected %s: want and, or, or the end", t)
	}
	program := assemble(n)
	if len(program) > maxInstructions {
		return nil, &Error{1, fmt.Sprintf("the expression is too complex: it takes %d instructions, want at most %d",
			len(program), maxInstructions)}
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, &Error{1, err.Error()}
	}
	return raw, nil
}
