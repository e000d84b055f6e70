// Package messages writes Go code for each message that an event holds, once.
package messages

import (
	"bytes"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Writer holds the code, and the messages that were met.
type Writer struct {
	bytes.Buffer
	met  map[protoreflect.FullName]bool
	todo []protoreflect.MessageDescriptor
}

// Printf appends code.
func (w *Writer) Printf(text string, args ...any) { fmt.Fprintf(w, text, args...) }

// Later adds a message to those that Each passes on, unless it was added before.
func (w *Writer) Later(m protoreflect.MessageDescriptor) {
	if w.met == nil {
		w.met = map[protoreflect.FullName]bool{}
	}
	if !w.met[m.FullName()] {
		w.met[m.FullName()] = true
		w.todo = append(w.todo, m)
	}
}

// Each passes on the messages that were added, also those that write adds, until one fails.
func (w *Writer) Each(write func(protoreflect.MessageDescriptor) error) error {
	for len(w.todo) > 0 {
		next := w.todo[0]
		w.todo = w.todo[1:]
		if err := write(next); err != nil {
			return err
		}
	}
	return nil
}

// GoName is the name that protoc-gen-go gives a field.
func GoName(n protoreflect.Name) string {
	var b strings.Builder
	for part := range strings.SplitSeq(string(n), "_") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
