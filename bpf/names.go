package bpf

import "strings"

// maxNames bounds the process names that are remembered; they are few, but strangers choose them.
const maxNames = 4096

// Names makes one string of each process name, for all its events. Its zero value is ready; it is for one goroutine.
type Names struct{ known map[[16]byte]string }

// Of returns a task's comm up to its closing zero. A process may call itself anything, and protobuf wants UTF-8: what
// is not becomes U+FFFD.
func (n *Names) Of(comm [16]byte) string {
	if s, ok := n.known[comm]; ok {
		return s
	}
	if n.known == nil {
		n.known = make(map[[16]byte]string)
	}
	if len(n.known) >= maxNames {
		clear(n.known)
	}
	s := strings.ToValidUTF8(string(Text(comm[:])), "\uFFFD")
	n.known[comm] = s
	return s
}
