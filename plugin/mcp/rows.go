package mcp

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"sync"
)

// The bounds of what is kept of a command's output.
const (
	// maxLine bounds a line, bytes.
	maxLine = 256 << 10
	// maxStatus and maxStatusBytes bound the events about nodes and losses.
	maxStatus, maxStatusBytes = 100, 32 << 10
	// maxLeftIDs bounds the left-out rows that are known by their identity, so that they count once.
	maxLeftIDs = 100_000
)

// rowWriter takes the JSON lines that a command prints. It keeps the first rows; of rows with an identity, such as
// flows, the newest state of each. The rest is counted.
type rowWriter struct {
	most, bytes int
	// columns, if not nil, are those that rows are reduced to.
	columns *fields

	mu     sync.Mutex
	line   []byte
	long   bool // the line is beyond its bound
	rows   []json.RawMessage
	size   int
	byID   map[uint64]int
	seed   maphash.Seed
	left   uint64
	byRows bool // the limit of rows was reached, not that of bytes
	leftID map[uint64]bool

	status     []json.RawMessage
	statusSize int
	statusLeft uint64
}

func newRowWriter(most, bytes int, columns *fields) *rowWriter {
	return &rowWriter{most: most, bytes: bytes, columns: columns, byID: map[uint64]int{}, seed: maphash.MakeSeed(),
		leftID: map[uint64]bool{}}
}

// Write implements io.Writer.
func (w *rowWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		if len(w.line)+len(part) > maxLine {
			w.long = true
		} else if !w.long {
			w.line = append(w.line, part...)
		}
		if end < 0 {
			break
		}
		w.endLine()
		p = p[end+1:]
	}
	return n, nil
}

// endLine takes the line. The lock is held.
func (w *rowWriter) endLine() {
	line, long := bytes.TrimSpace(w.line), w.long
	w.line, w.long = w.line[:0], false
	switch {
	case long:
		w.left++
	case len(line) == 0:
	case kindOf(line) == "nodeStatus" || kindOf(line) == "lost":
		if len(w.status) == maxStatus || w.statusSize+len(line) > maxStatusBytes {
			w.statusLeft++
			return
		}
		if row, err := visibleRow(line); err == nil {
			w.status = append(w.status, row)
			w.statusSize += len(row)
		}
	default:
		w.add(line)
	}
}

// add takes a row. The lock is held.
func (w *rowWriter) add(line []byte) {
	id := stringOf(line, `,"id":"`)
	hash := maphash.Bytes(w.seed, id)
	at, known := w.byID[hash]
	if known = known && len(id) > 0; !known && (len(w.rows) == w.most || w.size >= w.bytes) {
		w.leaveOut(id, hash)
		return
	}
	row, err := w.row(line)
	switch {
	case err != nil: // no command prints such a line
		w.left++
	case known:
		w.size += len(row) - len(w.rows[at])
		w.rows[at] = row
	case w.size+len(row) > w.bytes:
		w.leaveOut(id, hash)
		w.size = w.bytes // rows that come first are kept, not small ones
	default:
		if len(id) > 0 {
			w.byID[hash] = len(w.rows)
		}
		w.rows = append(w.rows, row)
		w.size += len(row)
	}
}

// row returns what is kept of a line.
func (w *rowWriter) row(line []byte) (json.RawMessage, error) {
	row, err := visibleRow(line)
	if err != nil || w.columns == nil {
		return row, err
	}
	return w.columns.appendRow(nil, row)
}

// leaveOut counts a row that is left out, once for an identity. The lock is held.
func (w *rowWriter) leaveOut(id []byte, hash uint64) {
	w.byRows = w.byRows || len(w.rows) == w.most
	if len(id) > 0 {
		if w.leftID[hash] || len(w.leftID) == maxLeftIDs {
			return
		}
		w.leftID[hash] = true
	}
	w.left++
}

// fill moves what was kept into an answer.
func (w *rowWriter) fill(a *answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) > 0 || w.long {
		w.endLine()
	}
	a.Rows, a.Status = append(a.Rows, w.rows...), append(a.Status, w.status...)
	by := cutBytes
	if w.byRows {
		by = cutRows
	}
	a.leaveOut(by, w.left)
	a.leaveOut(cutStatus, w.statusLeft)
}

// kindOf is the kind of a row as the plugin prints it; empty: it has none.
func kindOf(row []byte) string {
	return string(stringOf(row[:min(len(row), 64)], `"kind":"`))
}

// stringOf returns the text behind a key of a row, as it is encoded. The key cannot be found within a text, where its
// quotes are escaped.
func stringOf(row []byte, key string) []byte {
	at := bytes.Index(row, []byte(key))
	if at < 0 {
		return nil
	}
	text := row[at+len(key):]
	end := bytes.IndexByte(text, '"')
	if end < 0 {
		return nil
	}
	return text[:end]
}
