package pcapfilter

import (
	"slices"

	"golang.org/x/net/bpf"
)

// Offsets in headers of IPv4 and IPv6.
const (
	protocol4, source4, destination4 = 9, 12, 16
	fragment4                        = 6
	next6, source6, destination6     = 6, 8, 24
	header6                          = 40
	nextFragment                     = 44
)

// generator writes a program from its end to its start: all jumps go forward, so their targets are known.
type generator struct {
	// code is in reverse order. A place in it is an index.
	code []bpf.Instruction
}

// assemble returns the program of an expression.
func assemble(n node) []bpf.Instruction {
	g := &generator{}
	no := g.emit(bpf.RetConstant{Val: 0})
	yes := g.emit(bpf.RetConstant{Val: 1 << 18})
	if entry := g.node(n, yes, no); entry != len(g.code)-1 {
		g.jump(entry) // an expression without any test
	}
	slices.Reverse(g.code)
	return g.code
}

func (g *generator) emit(i bpf.Instruction) (place int) {
	g.code = append(g.code, i)
	return len(g.code) - 1
}

// skip is the number of instructions between the next one and a place.
func (g *generator) skip(to int) int { return len(g.code) - 1 - to }

func (g *generator) jump(to int) int { return g.emit(bpf.Jump{Skip: uint32(g.skip(to))}) }

// maxSkip is how far a conditional jump reaches.
const maxSkip = 255

// test jumps to yes where a condition of register A holds, else to no.
func (g *generator) test(cond bpf.JumpTest, value uint32, yes, no int) int {
	// Jumps that bring what is too far into reach. The second one may push the first out, so one is left in reserve.
	if g.skip(yes) >= maxSkip {
		yes = g.jump(yes)
	}
	if g.skip(no) >= maxSkip {
		no = g.jump(no)
	}
	return g.emit(bpf.JumpIf{Cond: cond, Val: value, SkipTrue: uint8(g.skip(yes)), SkipFalse: uint8(g.skip(no))})
}

// load loads what a test is about.
func (g *generator) load(off uint32, size int) int {
	return g.emit(bpf.LoadAbsolute{Off: off, Size: size})
}

// node writes what goes to yes for packets that match, else to no. It returns where that begins.
func (g *generator) node(n node, yes, no int) int {
	switch n := n.(type) {
	case not:
		return g.node(n.a, no, yes)
	case and:
		return g.node(n.a, g.node(n.b, yes, no), no)
	case or:
		return g.node(n.a, yes, g.node(n.b, yes, no))
	case version:
		return g.version(n.v6, yes, no)
	case protocolIn:
		return g.version(n.v6, g.protocol(n.v6, n.number, yes, no), no)
	case addresses:
		return g.addresses(n, yes, no)
	case ports:
		return g.ports(n, yes, no)
	case size:
		if n.least {
			g.test(bpf.JumpGreaterOrEqual, n.n, yes, no)
		} else {
			g.test(bpf.JumpGreaterThan, n.n, no, yes)
		}
		return g.emit(bpf.LoadExtension{Num: bpf.ExtLen})
	}
	return no
}

func (g *generator) version(v6 bool, yes, no int) int {
	want := uint32(0x40)
	if v6 {
		want = 0x60
	}
	g.test(bpf.JumpEqual, want, yes, no)
	g.emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
	return g.load(0, 1)
}

// protocol tests for a transport protocol; of IPv6 also behind a fragment header, if it is the first one.
func (g *generator) protocol(v6 bool, number uint32, yes, no int) int {
	if v6 {
		g.test(bpf.JumpEqual, number, yes, no)
		behind := g.load(header6, 1)
		no = g.test(bpf.JumpEqual, nextFragment, behind, no)
	}
	return g.protocols(v6, []uint32{number}, yes, no)
}

// protocols tests for one of several transport protocols right behind the IP header.
func (g *generator) protocols(v6 bool, numbers []uint32, yes, no int) int {
	for _, number := range numbers {
		no = g.test(bpf.JumpEqual, number, yes, no)
	}
	if v6 {
		return g.load(next6, 1)
	}
	return g.load(protocol4, 1)
}

// ends writes a test of the ends that a direction names. test writes that of one end.
func (g *generator) ends(d direction, yes, no int, test func(destination bool, yes, no int) int) int {
	switch d {
	case source:
		return test(false, yes, no)
	case destination:
		return test(true, yes, no)
	case both:
		return test(false, test(true, yes, no), no)
	}
	return test(false, yes, test(true, yes, no))
}

func (g *generator) addresses(n addresses, yes, no int) int {
	v6 := n.Addr().Is6()
	at := [2]uint32{source4, destination4}
	if v6 {
		at = [2]uint32{source6, destination6}
	}
	values, masks := words(n.Prefix)
	tests := g.ends(n.direction, yes, no, func(destination bool, yes, no int) int {
		off := at[0]
		if destination {
			off = at[1]
		}
		for i := len(values) - 1; i >= 0; i-- {
			g.test(bpf.JumpEqual, values[i], yes, no)
			if masks[i] != 1<<32-1 {
				g.emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: masks[i]})
			}
			yes = g.load(off+4*uint32(i), 4)
		}
		return yes
	})
	return g.version(v6, tests, no)
}

// ports tests IPv6 without extension headers, and IPv4 but for later fragments.
func (g *generator) ports(n ports, yes, no int) int {
	inRange := func(yes, no int) {
		if n.first == n.last {
			g.test(bpf.JumpEqual, n.first, yes, no)
			return
		}
		above := g.test(bpf.JumpGreaterThan, n.last, no, yes)
		g.test(bpf.JumpGreaterOrEqual, n.first, above, no)
	}
	g.ends(n.direction, yes, no, func(destination bool, yes, no int) int {
		inRange(yes, no)
		return g.emit(bpf.LoadIndirect{Off: offsetOf(destination), Size: 2})
	})
	first := g.emit(bpf.LoadMemShift{Off: 0})
	g.test(bpf.JumpBitsSet, 0x1fff, no, first)
	whole := g.load(fragment4, 2)
	v4 := g.version(false, g.protocols(false, n.protocols, whole, no), no)
	six := g.ends(n.direction, yes, no, func(destination bool, yes, no int) int {
		inRange(yes, no)
		return g.load(header6+offsetOf(destination), 2)
	})
	return g.version(true, g.protocols(true, n.protocols, six, no), v4)
}

func offsetOf(destination bool) uint32 {
	if destination {
		return 2
	}
	return 0
}
