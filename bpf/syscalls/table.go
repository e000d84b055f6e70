package syscalls

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/event/calls"
)

// As in call.h.
const (
	nativeCalls = 1024
	places      = 2 * nativeCalls

	wanted   = 1
	noReturn = 2
	forks    = 4

	noArg = 255

	textString   = 1
	textSockaddr = 2

	abiNative = 0
	abi32     = 1
	abiX32    = 2
	x32Bit    = 0x40000000
)

// known describes the call at a place.
type known struct {
	name      string
	abi       string
	signature signature
	// text is the place of each argument among the event's texts, -1 for those that are none.
	text [6]int8
	fd   uint8
	call objectCall
}

// table is every call by its place: those of 64-bit programs, then those of 32-bit ones.
type table struct {
	known  [places]known
	native calls.ABI
	compat calls.ABI
}

// newTable makes the table for this machine, with these calls wanted; none: all.
func newTable(names []string) (*table, error) {
	t := new(table)
	t.native, t.compat = calls.Of(runtime.GOARCH)
	found := len(names) == 0
	for place := range t.known {
		abi, nr := t.native, place
		if place >= nativeCalls {
			abi, nr = t.compat, place-nativeCalls
		}
		name := ""
		if nr < nativeCalls-1 {
			name = abi.Name(nr)
		}
		k := describe(name)
		k.abi = abi.String()
		if len(names) == 0 || name != "" && slices.Contains(names, name) {
			k.call.Flags |= wanted
			found = true
		}
		t.known[place] = k
	}
	if !found {
		return nil, fmt.Errorf("%s has none of the system calls %s", t.native, strings.Join(names, ", "))
	}
	return t, nil
}

func describe(name string) known {
	k := known{name: name, signature: signatureOf(name), fd: noArg, text: [6]int8{-1, -1, -1, -1, -1, -1}}
	texts := int8(0)
	for i, a := range k.signature {
		switch a {
		case fd, dirFD:
			if k.fd == noArg {
				k.fd = uint8(i)
			}
		case path, text, sockaddr:
			if int(texts) == len(k.call.Text) {
				continue
			}
			k.text[i] = texts
			k.call.Text[texts], k.call.TextArg[texts] = textString, uint8(i)
			if a == sockaddr {
				k.call.Text[texts] = textSockaddr
			}
			texts++
		}
	}
	k.call.FdArg = k.fd
	switch name {
	case "exit", "exit_group":
		k.call.Flags |= noReturn
	case "clone", "clone3", "fork", "vfork":
		k.call.Flags |= forks
	}
	return k
}

// fill writes the table into the map of the programs.
func (t *table) fill(m *ebpf.Map) error {
	for place := range t.known {
		if err := m.Put(uint32(place), &t.known[place].call); err != nil {
			return fmt.Errorf("describe system calls: %w", err)
		}
	}
	return nil
}

// of returns the description of a call by its number, and its place.
func (t *table) of(abi uint8, number int32) *known {
	first, nr := 0, int64(number)
	switch abi {
	case abi32:
		first = nativeCalls
	case abiX32:
		return &t.known[nativeCalls-1]
	}
	if nr < 0 || nr >= nativeCalls-1 {
		nr = nativeCalls - 1
	}
	return &t.known[first+int(nr)]
}
