package pcapfilter

import (
	"maps"
	"slices"
	"strings"
)

// qualifiers precede an identifier: "tcp src port".
type qualifiers struct {
	protocol string // "ip", "ip6", "tcp", …; empty: any
	direction
	kind string // "host", "net", "port", "portrange", "proto"; empty: there are none
}

// direction is which ends must match.
type direction int

const (
	either direction = iota // source or destination
	source
	destination
	both
)

// node is a part of an expression.
type node interface{}

type (
	and struct{ a, b node }
	or  struct{ a, b node }
	not struct{ a node }
)

type parser struct {
	tokens []token
	at     int
	// last are the qualifiers of the last primitive, which identifiers without any get.
	last qualifiers
}

func (p *parser) peek() token { return p.tokens[p.at] }

// next returns the next token. The end stays.
func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

// expression parses terms with and, or between them, which bind equally strong, from left to right.
func (p *parser) expression(depth int) (node, error) { return p.chain(depth, p.term) }

// identifiers parses the same of identifiers only: "80 or 443".
func (p *parser) identifiers(depth int) (node, error) { return p.chain(depth, p.identifier) }

func (p *parser) chain(depth int, operand func(depth int) (node, error)) (node, error) {
	left, err := operand(depth)
	for err == nil {
		t := p.peek()
		if t.kind != tokenAnd && t.kind != tokenOr {
			return left, nil
		}
		p.next()
		var right node
		if right, err = operand(depth); t.kind == tokenAnd {
			left = and{left, right}
		} else {
			left = or{left, right}
		}
	}
	return nil, err
}

// term parses a primitive, a negation, or an expression in parentheses.
func (p *parser) term(depth int) (node, error) {
	t := p.peek()
	if depth > maxDepth {
		return nil, t.errorf("more than %d levels of parentheses and not", maxDepth)
	}
	switch t.kind {
	case tokenNot:
		p.next()
		n, err := p.term(depth + 1)
		return not{n}, err
	case tokenOpen:
		if p.last.kind != "" && p.holdsIdentifiers() {
			return p.identifier(depth)
		}
		p.next()
		before := p.last
		n, err := p.expression(depth + 1)
		if err != nil {
			return nil, err
		}
		p.last = before
		return n, p.close(t)
	case tokenWord:
		return p.primitive(depth)
	}
	return nil, t.errorf("unexpected %s: want a primitive such as host, net, port or tcp", t)
}

// holdsIdentifiers reports whether the parentheses that begin here hold identifiers, not primitives.
func (p *parser) holdsIdentifiers() bool {
	for _, t := range p.tokens[p.at:] {
		if t.kind != tokenOpen && t.kind != tokenNot {
			return t.kind == tokenWord && !isKeyword(t.text)
		}
	}
	return false
}

func (p *parser) close(open token) error {
	if t := p.next(); t.kind != tokenClose {
		return t.errorf("unexpected %s: want the ) of the ( at column %d", t, open.column)
	}
	return nil
}

// identifier parses one, its negation, or several in parentheses, with the last qualifiers.
func (p *parser) identifier(depth int) (node, error) {
	t := p.next()
	if depth > maxDepth {
		return nil, t.errorf("more than %d levels of parentheses and not", maxDepth)
	}
	switch {
	case t.kind == tokenNot:
		n, err := p.identifier(depth + 1)
		return not{n}, err
	case t.kind == tokenOpen:
		n, err := p.identifiers(depth + 1)
		if err != nil {
			return nil, err
		}
		return n, p.close(t)
	case t.kind == tokenWord && !isKeyword(t.text):
		return p.last.match(t, p)
	}
	return nil, t.errorf("unexpected %s: want %s", t, wanted[p.last.kind])
}

// wanted is what follows each kind of qualifier.
var wanted = map[string]string{
	"host": "an address", "net": "a network such as 10.0.0.0/8", "port": "a port", "portrange": "two ports, 8000-8080",
	"proto": "the number of a protocol",
}

// abbreviations are protocols that are primitives of their own: the IP versions that carry them, and their
// number.
var abbreviations = map[string]struct {
	v4, v6 bool
	number uint32
}{
	"tcp": {true, true, 6}, "udp": {true, true, 17}, "sctp": {true, true, 132}, "icmp": {true, false, 1},
	"icmp6": {false, true, 58}, "igmp": {true, false, 2}, "esp": {true, true, 50}, "ah": {true, true, 51},
}

var keywords = slices.Concat([]string{"ip", "ip6", "src", "dst", "host", "net", "port", "portrange", "proto", "less",
	"greater", "mask"}, slices.Collect(maps.Keys(abbreviations)))

func isKeyword(word string) bool { return slices.Contains(keywords, word) }

// primitive parses qualifiers with their identifiers, or a word that stands alone.
func (p *parser) primitive(depth int) (node, error) {
	t := p.peek()
	if !isKeyword(t.text) {
		if p.last.kind != "" {
			return p.identifier(depth)
		}
		return nil, unknown(t)
	}
	if t.text == "less" || t.text == "greater" {
		p.next()
		p.last = qualifiers{}
		return p.length(t)
	}
	var q qualifiers
	if _, is := abbreviations[t.text]; is || t.text == "ip" || t.text == "ip6" {
		p.next()
		q.protocol = t.text
	}
	from := p.at
	q.direction = p.direction()
	explicit := p.at > from
	k := p.peek()
	switch _, isKind := wanted[k.text]; {
	case k.kind == tokenWord && isKind:
		p.next()
		q.kind = k.text
	case q.protocol != "" && !explicit:
		p.last = qualifiers{}
		return protocolNode(q.protocol), nil
	case k.kind == tokenWord && !isKeyword(k.text), k.kind == tokenOpen:
		q.kind = "host" // the default: "src 10.0.0.1"
		k = t
	default:
		return nil, k.errorf("unexpected %s: want host, net, port or portrange", k)
	}
	if err := q.check(k); err != nil {
		return nil, err
	}
	p.last = q
	return p.identifier(depth)
}

// direction parses "src", "dst", "src or dst" and "src and dst".
func (p *parser) direction() direction {
	words := map[string]direction{"src": source, "dst": destination}
	first, is := words[p.peek().text]
	if !is {
		return either
	}
	p.next()
	operator, second := p.peek(), p.tokens[min(p.at+1, len(p.tokens)-1)]
	other, is := words[second.text]
	if !is || other == first || operator.kind != tokenAnd && operator.kind != tokenOr {
		return first
	}
	p.at += 2
	if operator.kind == tokenAnd {
		return both
	}
	return either
}

// check refuses qualifiers that do not go together.
func (q qualifiers) check(at token) error {
	switch q.kind {
	case "host", "net":
		if q.protocol != "" && q.protocol != "ip" && q.protocol != "ip6" {
			return at.errorf("%s does not go with %s: write %s and %s …", q.protocol, q.kind, q.protocol, q.kind)
		}
	case "port", "portrange":
		if q.protocol != "" && q.protocol != "tcp" && q.protocol != "udp" && q.protocol != "sctp" {
			return at.errorf("%s does not go with %s: want tcp, udp or sctp", q.protocol, q.kind)
		}
	case "proto":
		if q.direction != either {
			return at.errorf("proto has no direction")
		}
		if q.protocol != "" && q.protocol != "ip" && q.protocol != "ip6" {
			return at.errorf("%s does not go with proto: want ip or ip6", q.protocol)
		}
	}
	return nil
}

func unknown(t token) error {
	switch {
	case strings.ContainsAny(t.text, "[]"):
		return t.errorf("%s: bytes of packets cannot be compared here", t)
	case strings.ContainsAny(t.text, "0123456789"):
		return t.errorf("%s: want what it is before it, as in host %s or port %[2]s", t, t.text)
	}
	return t.errorf("unknown word %s: want one of %s", t, strings.Join(slices.Sorted(slices.Values(keywords)), ", "))
}
