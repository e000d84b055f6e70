package history

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/check"
	"github.com/orb8-dev/kubectl-orb8/event/wire"
)

// ErrForeign reports that a file is not a recording.
var ErrForeign = errors.New("it is no recording of kubectl orb8")

// VersionError reports a recording with a format version that this program does not support.
type VersionError struct{ Version byte }

func (e *VersionError) Error() string {
	return fmt.Sprintf("it is a recording of version %d, and this kubectl orb8 reads up to %d: a newer one is needed",
		e.Version, version)
}

// DamageError reports a damaged or incomplete frame.
type DamageError struct {
	// Offset of the frame in the file, bytes.
	Offset int64
	Err    error
}

func (e *DamageError) Error() string { return fmt.Sprintf("damaged at byte %d: %v", e.Offset, e.Err) }

func (e *DamageError) Unwrap() error { return e.Err }

// Reader reads a recording from its beginning.
type Reader struct {
	// Session is the metadata of the recording.
	Session Session
	// Damaged, if not nil, is called for each frame that is skipped because its body is damaged.
	Damaged func(*DamageError)

	in      *bufio.Reader
	decoder *zstd.Decoder
	offset  int64 // of the next frame
	from    uint64
	to      uint64

	body, unpacked []byte
	rest           []byte // unread events of the frame
	left           uint32 // number of unread events by the frame's header
	events         wire.Decoder
	memory         wire.Memory // of NextReusing
	ended          bool

	checker *check.Checker
	refused uint64
	reason  error // reason of the first refusal
}

// Limits of a recording's metadata.
const (
	maxKinds       = 64
	maxSessionText = 4096 // bytes
)

func (s *Session) check() error {
	if len(s.Kinds) > maxKinds {
		return fmt.Errorf("it names %d kinds of events, limit %d", len(s.Kinds), maxKinds)
	}
	for _, text := range append([]string{s.Version, s.Targets, s.Namespace}, s.Kinds...) {
		if len(text) > maxSessionText {
			return fmt.Errorf("its metadata holds a text of %d bytes, limit %d", len(text), maxSessionText)
		}
	}
	return nil
}

// NewReader reads the metadata of a recording. It returns ErrForeign, a *VersionError or a *DamageError for input that
// it cannot read.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 1<<20), to: ^uint64(0)}
	start := make([]byte, len(magic)+1)
	if _, err := io.ReadFull(r.in, start); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, ErrForeign
		}
		return nil, err
	}
	switch {
	case string(start[:len(magic)]) != magic:
		return nil, ErrForeign
	case start[len(magic)] != version:
		return nil, &VersionError{start[len(magic)]}
	}
	r.offset = int64(len(start))
	var err error
	if r.decoder, err = newDecoder(); err != nil {
		return nil, err
	}
	at := r.offset
	h, err := r.head()
	if err == nil && h.kind != frameSession {
		err = errHead
	}
	if err == nil {
		err = r.load(&h)
	}
	if err == nil {
		err = json.Unmarshal(r.unpacked, &r.Session)
	}
	if err == nil {
		err = r.Session.check()
	}
	if err != nil {
		r.Close()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, damage(at, err)
	}
	r.checker = check.Recording(r.Session.Kinds, r.Session.Started)
	return r, nil
}

// Only limits Next to events with from ≤ time < to, ns since the Unix epoch. A bound of 0 is no limit. Frames without
// such events are not decompressed.
func (r *Reader) Only(from, to uint64) {
	r.from, r.to = from, to
	if to == 0 {
		r.to = ^uint64(0)
	}
}

// isAfter reports whether a time is after the range of Only. Without an upper bound no time is.
func (r *Reader) isAfter(t uint64) bool { return t >= r.to && r.to != ^uint64(0) }

// Refused returns the number of events that Next skipped because they are invalid, and the reason of the first one.
func (r *Reader) Refused() (n uint64, reason error) { return r.refused, r.reason }

// Next reads an event into ev. It returns io.EOF at the end of a complete recording, io.ErrUnexpectedEOF after the last
// whole frame of a cut one, and a *DamageError where reading cannot continue.
func (r *Reader) Next(ev *event.Event) error {
	for {
		b, err := r.encoded()
		if err != nil {
			return err
		}
		if err := r.events.DecodeInto(ev, b); err != nil {
			r.giveUp(err)
		} else if r.accept(ev) {
			return nil
		}
	}
}

// NextReusing returns an event as Next does, for callers that do not keep flows: one is valid until the next call.
func (r *Reader) NextReusing() (*event.Event, error) {
	for {
		b, err := r.encoded()
		if err != nil {
			return nil, err
		}
		r.memory.Reset()
		if ev, err := r.events.DecodeReusing(b, &r.memory); err != nil {
			r.giveUp(err)
		} else if r.accept(ev) {
			return ev, nil
		}
	}
}

// accept reports whether an event is in the range of Only and valid.
func (r *Reader) accept(ev *event.Event) bool {
	if t := ev.GetTime(); t < r.from || r.isAfter(t) {
		return false
	}
	if err := r.checker.Check(ev); err != nil {
		r.refuse(err)
		return false
	}
	return true
}

// encoded returns the next event of the file, encoded.
func (r *Reader) encoded() ([]byte, error) {
	for {
		for len(r.rest) == 0 {
			if r.ended {
				return nil, io.EOF
			}
			if err := r.frame(); err != nil {
				return nil, err
			}
		}
		size, n := binary.Uvarint(r.rest)
		if n <= 0 || size > uint64(len(r.rest)-n) {
			r.giveUp(errors.New("an event is longer than its frame"))
			continue
		}
		if r.left == 0 {
			r.giveUp(errors.New("it holds more events than its head declares"))
			continue
		}
		r.left--
		b := r.rest[n : n+int(size)]
		r.rest = r.rest[n+int(size):]
		if size > maxEvent {
			r.refuse(fmt.Errorf("an event of %d bytes, limit %d", size, maxEvent))
			continue
		}
		return b, nil
	}
}

// refuse counts a skipped event.
func (r *Reader) refuse(why error) {
	if r.refused++; r.reason == nil {
		r.reason = why
	}
}

// giveUp discards the rest of a frame and reports the damage.
func (r *Reader) giveUp(err error) {
	r.rest = nil
	if r.Damaged != nil {
		r.Damaged(&DamageError{r.offset, err})
	}
}

// frame reads the next frame of any type.
func (r *Reader) frame() error {
	at := r.offset
	h, err := r.head()
	if err != nil {
		if errors.Is(err, io.EOF) { // between two frames
			return io.ErrUnexpectedEOF
		}
		return damage(at, err)
	}
	if h.kind == frameEvents && (h.newest < r.from || r.isAfter(h.oldest)) {
		return r.skip(at, &h)
	}
	err = r.load(&h)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return damage(at, err)
	case err != nil:
		// The header is valid, so the next frame can be found.
		if r.Damaged != nil {
			r.Damaged(&DamageError{at, err})
		}
		return nil
	}
	switch h.kind {
	case frameEvents:
		r.rest, r.left = r.unpacked, h.events
	case frameEnd:
		r.ended = true
	default:
		return damage(at, fmt.Errorf("a frame of type %q", h.kind))
	}
	return nil
}

func (r *Reader) skip(at int64, h *head) error {
	if _, err := r.in.Discard(int(h.body)); err != nil {
		return damage(at, io.ErrUnexpectedEOF)
	}
	r.offset += int64(h.body)
	return nil
}

// head reads a frame's header. It returns io.EOF at the end of the input.
func (r *Reader) head() (h head, err error) {
	var b [headSize]byte
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		return h, err
	}
	r.offset += headSize
	return parseHead(b[:])
}

var errBody = errors.New("the body of a frame is damaged")

// load reads and decompresses a body.
func (r *Reader) load(h *head) error {
	if cap(r.body) < int(h.body) {
		r.body = make([]byte, h.body)
	}
	r.body = r.body[:h.body]
	if _, err := io.ReadFull(r.in, r.body); err != nil {
		return io.ErrUnexpectedEOF
	}
	r.offset += int64(h.body)
	if crc32.Checksum(r.body, castagnoli) != h.sum {
		return errBody
	}
	var err error
	if r.unpacked, err = r.decoder.DecodeAll(r.body, r.unpacked[:0]); err != nil {
		return fmt.Errorf("%w: %w", errBody, err)
	}
	if len(r.unpacked) != int(h.unpacked) {
		return fmt.Errorf("%w: %d bytes, want %d", errBody, len(r.unpacked), h.unpacked)
	}
	return nil
}

func damage(at int64, err error) error { return &DamageError{at, err} }

// Close frees the decoder. It does not close the input.
func (r *Reader) Close() { r.decoder.Close() }
