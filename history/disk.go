package history

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/klauspost/compress/zstd"
)

// A directory of blocks holds segments: files of frames, as recordings are. The first frame of a segment, of type 'h',
// names the node as JSON. Two frames are a block: of type 'm', what queries know of it, and of type 'c', its columns.
// Each process starts a segment of its own. The oldest segment is removed whole.
//
// What is in a directory is untrusted: its reader accepts regular files of bounded sizes whose checksums are right.
const (
	segmentMagic = "orb8his"
	frameInfo    = frameType('m')
	frameColumns = frameType('c')

	// A directory has about segmentShare segments, and at most maxSegments if processes end early. maxFiles is how many
	// entries of a directory are read.
	segmentShare = 16
	maxSegments  = 256
	maxFiles     = 4096
	// maxAbout limits the size of a segment's first frame, bytes.
	maxAbout = 4096
)

var segmentName = regexp.MustCompile(`^[0-9a-f]{16}\.orb8$`)

type about struct {
	Node string `json:"node"`
}

type segment struct {
	name    string
	size    int64
	blocks  int64 // where the first one is
	removed atomic.Bool
}

// stored is where a block is on disk.
type stored struct {
	segment *segment
	at      int64
	size    int
	sum     uint32
}

type disk struct {
	root  *os.Root
	limit int64
	node  string
	log   *slog.Logger
	unzip *zstd.Decoder
	bytes atomic.Int64

	// Of the goroutine that seals.
	segments []*segment
	next     uint64   // number of the next segment
	file     *os.File // the newest segment; nil: the next block starts one
	failing  bool
}

func openDisk(o RollingOptions, unzip *zstd.Decoder) (*disk, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, err
	}
	return &disk{root: root, limit: o.DirBytes, node: o.Node, log: o.Log, unzip: unzip}, nil
}

func (d *disk) close() error {
	var err error
	if d.file != nil {
		err = d.file.Close()
	}
	return errors.Join(err, d.root.Close())
}

// open opens a segment that is a regular file.
func (d *disk) open(name string) (*os.File, int64, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// load calls add with each block on disk, oldest first.
func (d *disk) load(add func(*block)) error {
	names, err := d.names()
	if err != nil {
		return err
	}
	// The newest ones stay.
	for _, name := range slices.Backward(names) {
		s := &segment{name: name}
		number, err := strconv.ParseUint(name[:16], 16, 62)
		if err == nil {
			d.next = max(d.next, number+1)
			err = d.check(s)
		}
		if err != nil {
			d.log.Warn("a file of the history is removed", "file", name, "error", err)
			d.removeFile(s)
			continue
		}
		d.segments = append(d.segments, s)
		d.bytes.Add(s.size)
	}
	slices.Reverse(d.segments)
	d.makeRoom(0)
	for _, s := range d.segments {
		if err := d.loadSegment(s, add); err != nil {
			d.log.Warn("a file of the history is damaged", "file", s.name, "error", err)
		}
	}
	return nil
}

// names returns the sorted names of the segments.
func (d *disk) names() (names []string, err error) {
	dir, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxFiles)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, e := range entries {
		if segmentName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// check checks the start of a segment and finds its size.
func (d *disk) check(s *segment) error {
	f, size, err := d.open(s.name)
	if err != nil {
		return err
	}
	defer f.Close()
	s.size = size
	start := make([]byte, len(segmentMagic)+1)
	if _, err := io.ReadFull(f, start); err != nil {
		return err
	}
	if string(start) != segmentMagic+string(rune(version)) {
		return errors.New("it is no segment of this version")
	}
	h, body, err := d.readFrame(f, int64(len(start)), size, frameSession)
	if err != nil {
		return err
	}
	var a about
	if err := json.Unmarshal(body, &a); err != nil {
		return err
	}
	if a.Node != d.node {
		return fmt.Errorf("it is of node %q", a.Node)
	}
	s.blocks = int64(len(start)) + headSize + int64(h.body)
	return nil
}

// readHead reads the head of a frame that is whole.
func readHead(f io.ReaderAt, at, size int64, kind frameType) (h head, err error) {
	var b [headSize]byte
	if at+headSize > size {
		return h, io.ErrUnexpectedEOF
	}
	if _, err := f.ReadAt(b[:], at); err != nil {
		return h, err
	}
	if h, err = parseHead(b[:]); err == nil && (h.kind != kind || h.events > 0 && h.oldest > h.newest) {
		err = errHead
	}
	if err == nil && at+headSize+int64(h.body) > size {
		err = io.ErrUnexpectedEOF
	}
	return h, err
}

// readFrame reads a small frame and decompresses it.
func (d *disk) readFrame(f io.ReaderAt, at, size int64, kind frameType) (h head, body []byte, err error) {
	if h, err = readHead(f, at, size, kind); err != nil {
		return h, nil, err
	}
	if h.body > maxSession {
		return h, nil, errHead
	}
	packed := make([]byte, h.body)
	if _, err := f.ReadAt(packed, at+headSize); err != nil {
		return h, nil, err
	}
	if crc32.Checksum(packed, castagnoli) != h.sum {
		return h, nil, errBody
	}
	body, err = d.unzip.DecodeAll(packed, make([]byte, 0, h.unpacked))
	if err == nil && len(body) != int(h.unpacked) {
		err = errBody
	}
	return h, body, err
}

// loadSegment calls add with each block up to the first one that is damaged.
func (d *disk) loadSegment(s *segment, add func(*block)) error {
	f, _, err := d.open(s.name)
	if err != nil {
		return err
	}
	defer f.Close()
	for at := s.blocks; at < s.size; {
		h, body, err := d.readFrame(f, at, s.size, frameInfo)
		if err != nil {
			return err
		}
		b := &block{blockInfo: blockInfo{events: int(h.events), oldest: h.oldest, newest: h.newest}}
		if err := b.parse(body); err != nil {
			return err
		}
		at += headSize + int64(h.body)
		c, err := readHead(f, at, s.size, frameColumns)
		if err != nil {
			return err
		}
		if c.events != h.events {
			return errHead
		}
		b.unpacked, b.stored = int(c.unpacked), stored{s, at + headSize, int(c.body), c.sum}
		at += headSize + int64(c.body)
		add(b)
	}
	return nil
}

// read reads a block's columns, which are compressed.
func (d *disk) read(s stored) ([]byte, error) {
	f, _, err := d.open(s.segment.name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	packed := make([]byte, s.size)
	if _, err := f.ReadAt(packed, s.at); err != nil {
		return nil, err
	}
	if crc32.Checksum(packed, castagnoli) != s.sum {
		return nil, errBody
	}
	return packed, nil
}

// write writes a block. It returns where the block is, no segment on an error, and the segments that it has removed.
func (d *disk) write(i *blockInfo, packed []byte, unpacked int, zip *zstd.Encoder) (at stored, removed []*segment) {
	h := head{events: uint32(i.events), oldest: i.oldest, newest: i.newest}
	frames := appendFrame(nil, h, frameInfo, i.appendTo(nil), zip)
	h.kind, h.unpacked, h.body = frameColumns, uint32(unpacked), uint32(len(packed))
	h.sum = crc32.Checksum(packed, castagnoli)
	frames = append(h.append(frames), packed...)
	removed = d.makeRoom(int64(len(frames)) + 2*maxAbout)
	err := d.append(frames, zip)
	if err != nil && !d.failing {
		d.log.Warn("the history is not written to disk", "error", err)
	} else if err == nil && d.failing {
		d.log.Info("the history is written to disk again")
	}
	if d.failing = err != nil; d.failing {
		return at, removed
	}
	s := d.segments[len(d.segments)-1]
	if d.bytes.Add(int64(len(frames))); s.size >= d.limit/segmentShare {
		d.endSegment()
	}
	return stored{s, s.size - int64(len(packed)), len(packed), h.sum}, removed
}

// append appends frames to the newest segment, whole or not at all.
func (d *disk) append(frames []byte, zip *zstd.Encoder) error {
	if d.file == nil {
		if err := d.startSegment(zip); err != nil {
			return err
		}
	}
	s := d.segments[len(d.segments)-1]
	if _, err := d.file.Write(frames); err != nil {
		err = errors.Join(err, d.file.Truncate(s.size))
		d.endSegment()
		return err
	}
	s.size += int64(len(frames))
	return nil
}

func (d *disk) startSegment(zip *zstd.Encoder) error {
	about, err := json.Marshal(about{d.node})
	if err != nil {
		return err
	}
	if len(about) > maxAbout {
		return fmt.Errorf("the node's name has %d bytes", len(d.node))
	}
	s := &segment{name: fmt.Sprintf("%016x.orb8", d.next)}
	d.next++
	f, err := d.root.OpenFile(s.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	start := appendFrame([]byte(segmentMagic+string(rune(version))), head{}, frameSession, about, zip)
	if _, err := f.Write(start); err != nil {
		f.Close()
		d.removeFile(s)
		return err
	}
	s.size = int64(len(start))
	d.bytes.Add(s.size)
	d.segments, d.file = append(d.segments, s), f
	return nil
}

func (d *disk) endSegment() {
	d.file.Close()
	d.file = nil
}

// makeRoom removes the oldest segments until there is room for some bytes.
func (d *disk) makeRoom(bytes int64) (removed []*segment) {
	for len(d.segments) > 0 && (d.bytes.Load()+bytes > d.limit || len(d.segments) > maxSegments) {
		s := d.segments[0]
		if len(d.segments) == 1 && d.file != nil {
			d.endSegment()
		}
		d.segments = d.segments[1:]
		d.bytes.Add(-s.size)
		d.removeFile(s)
		removed = append(removed, s)
	}
	return removed
}

func (d *disk) removeFile(s *segment) {
	s.removed.Store(true)
	if err := d.root.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("a file of the history cannot be removed", "file", s.name, "error", err)
	}
}

// appendFrame appends a frame with a body that is to be compressed.
func appendFrame(dst []byte, h head, kind frameType, body []byte, zip *zstd.Encoder) []byte {
	packed := zip.EncodeAll(body, nil)
	h.kind, h.unpacked, h.body, h.sum = kind, uint32(len(body)), uint32(len(packed)), crc32.Checksum(packed, castagnoli)
	return append(h.append(dst), packed...)
}

// appendTo appends the kinds and the names: their number + 1, and each with its length; or 0 for any name.
func (i *blockInfo) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, i.kinds)
	if i.anyName {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(i.names))+1)
	for _, handle := range i.names {
		name := handle.Value()
		dst = binary.AppendUvarint(dst, uint64(len(name)))
		dst = append(dst, name...)
	}
	return dst
}

var errInfo = errors.New("the description of a block is damaged")

func (i *blockInfo) parse(b []byte) (err error) {
	var count uint64
	kinds, ok := readUvarint(&b)
	if ok {
		count, ok = readUvarint(&b)
	}
	if !ok {
		return errInfo
	}
	i.kinds, i.anyName = kinds, count == 0
	for ; count > 1; count-- {
		size, ok := readUvarint(&b)
		if !ok || size > uint64(len(b)) {
			return errInfo
		}
		i.addName(string(b[:size]))
		b = b[size:]
	}
	if len(b) > 0 {
		return errInfo
	}
	return nil
}
