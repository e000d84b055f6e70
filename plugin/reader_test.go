//go:build unix

package plugin

import (
	"bytes"
	"os"
	"testing"
	"time"
)

func TestReader_NoticesClosedPipeWithoutWrite(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	gone := make(chan struct{})
	stop := watchReader(w, func() { close(gone) })
	defer stop()
	if _, err := w.WriteString("a line"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
		t.Fatal("a reader that is there was taken for gone")
	default:
	}
	r.Close()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("not noticed")
	}
}

func TestReader_OpenPipeIsNotGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, stop := range []func(){
		watchReader(w, func() { t.Error("a pipe's reader is gone") }),
		watchReader(file, func() { t.Error("a file's reader is gone") }),
		watchReader(new(bytes.Buffer), func() { t.Error("a buffer's reader is gone") }),
	} {
		stop() // returns only when the watch is over
	}
}
