package history

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/wire"
)

// file is the subset of os.File that a Writer uses.
type file interface {
	io.Writer
	Truncate(size int64) error
	Close() error
}

// Writer records events. A frame reaches the file within a second, whole or not at all.
type Writer struct {
	ended chan struct{}
	done  sync.WaitGroup

	mu       sync.Mutex
	file     file
	written  int64 // bytes of whole frames
	encoder  *zstd.Encoder
	frame    head
	encoded  []byte // an event; reused
	buffer   []byte // encoded events that no frame holds yet
	packed   []byte // the compressed frame; reused
	events   uint64
	flushed  uint64 // number of events in the file
	err      error
	reported bool // err was returned to the caller
}

// Create makes a new recording with mode 0600, because it holds the activity of pods. It fails where the file exists.
func Create(path string, s Session) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("record to %s: the file exists: choose another name, or remove it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	w, err := newWriter(f, s)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("record to %s: %w", path, err), os.Remove(path))
	}
	return w, nil
}

func newWriter(f file, s Session) (*Writer, error) {
	encoder, err := newEncoder()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w := &Writer{file: f, encoder: encoder, ended: make(chan struct{})}
	about, err := json.Marshal(s)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if w.put(append([]byte(magic), version)); w.err == nil {
		w.write(frameSession, about)
	}
	if w.err != nil {
		return nil, errors.Join(w.err, f.Close()) // Windows removes no open file
	}
	w.done.Go(w.flushing)
	return w, nil
}

// Write records an event. The first write error ends the recording. It is returned once, and later events are ignored.
func (w *Writer) Write(ev *event.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.reportOnce()
	}
	var err error
	if w.encoded, err = wire.Append(w.encoded[:0], ev); err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	w.buffer = binary.AppendUvarint(w.buffer, uint64(len(w.encoded)))
	w.buffer = append(w.buffer, w.encoded...)
	t := ev.GetTime()
	if w.frame.events == 0 || t < w.frame.oldest {
		w.frame.oldest = t
	}
	w.frame.newest = max(w.frame.newest, t)
	w.frame.events++
	if ev.GetLost() == nil && ev.GetNodeStatus() == nil {
		w.events++
	}
	if len(w.buffer) >= batch {
		w.flush()
	}
	return w.reportOnce()
}

// Written returns the number of events, without lost and nodeStatus, and of bytes in the file.
func (w *Writer) Written() (events uint64, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flushed, w.written
}

// reportOnce returns the error that ended the recording, once.
func (w *Writer) reportOnce() error {
	if w.reported {
		return nil
	}
	w.reported = w.err != nil
	return w.err
}

// Close writes the waiting events and the end frame. It returns the recording's error unless Write has returned it.
func (w *Writer) Close() error {
	close(w.ended)
	w.done.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flush(); w.err == nil {
		end, _ := json.Marshal(End{Events: w.events}) // a number always marshals
		w.write(frameEnd, end)
	}
	if w.err == nil {
		w.err = w.file.Close()
	}
	err := w.reportOnce()
	w.err, w.reported = os.ErrClosed, true
	return err
}

// flushing flushes the waiting events once per flushInterval.
func (w *Writer) flushing() {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		select {
		case <-w.ended:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		w.flush()
		w.mu.Unlock()
	}
}

// flush writes the waiting events as a frame. After an error it does nothing.
func (w *Writer) flush() {
	if len(w.buffer) == 0 || w.err != nil {
		return
	}
	w.write(frameEvents, w.buffer)
	if w.err == nil {
		w.flushed = w.events
	}
	w.buffer, w.frame = w.buffer[:0], head{}
}

// write compresses a body and writes it as a frame.
func (w *Writer) write(kind frameType, body []byte) {
	w.packed = append(w.packed[:0], make([]byte, headSize)...)
	w.packed = w.encoder.EncodeAll(body, w.packed)
	h := w.frame
	h.kind, h.unpacked, h.body, h.sum = kind, uint32(len(body)), uint32(len(w.packed)-headSize),
		crc32.Checksum(w.packed[headSize:], castagnoli)
	h.append(w.packed[:0])
	w.put(w.packed)
}

// put writes all of b. On an error it ends the recording and truncates the file to its whole frames.
func (w *Writer) put(b []byte) {
	if _, err := w.file.Write(b); err != nil {
		w.err = errors.Join(err, w.file.Truncate(w.written), w.file.Close())
		return
	}
	w.written += int64(len(b))
}
