package bpf

import (
	"bytes"
	"unsafe"
)

// Text returns what an array of C's char holds before its first NUL. It shares the array's memory.
func Text[C int8 | uint8](array []C) []byte {
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(array))), len(array))
	text, _, _ := bytes.Cut(b, []byte{0})
	return text
}
