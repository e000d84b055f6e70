// Package history keeps the events of a session in a file, and reads them back.
//
// A recording is a row of frames. Each stands for itself, with checksums of its head and of what it holds, so that a
// file that ends anywhere, because its writer was killed or the disk was full, is good up to there, and a reader can
// pass over what it is not asked for. All numbers are little-endian.
//
//	8 bytes   "orb8rec" and a version, 1
//	frames    of a head of 40 bytes and a body:
//	            0  1 byte   type: 'h' the session (the first frame, and no other), 'e' events, 'z' the end
//	            1  3 bytes  zero
//	            4  uint32   bytes of the body
//	            8  uint32   events in it
//	           12  uint32   bytes of the body when it is unpacked
//	           16  uint64   time of the oldest event in it, ns since the Unix epoch
//	           24  uint64   time of the newest
//	           32  uint32   CRC-32C of the body
//	           36  uint32   CRC-32C of the head before this
//
// A body is packed with Zstandard (RFC 8878), without reference to other frames. It holds protobuf messages of package
// event, each behind its length as a varint; that of 'h' and 'z' is JSON.
package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	magic   = "orb8rec"
	version = 1

	headSize = 40

	// batch is how many bytes of events make a frame; flushInterval is how long they wait for that.
	batch         = 256 << 10
	flushInterval = time.Second

	// maxBody and maxUnpacked bound what a reader takes a frame's word for.
	maxBody     = 4 << 20
	maxUnpacked = 8 << 20
	// maxEvents bounds the events of a frame: a writer begins another one behind 256 KiB, and an event takes 12 bytes.
	maxEvents = 1 << 16
	// maxEvent bounds an event before it is decoded: texts and lists of events that are accepted are shorter together.
	maxEvent = 512 << 10
	// maxSession bounds what a recording says of itself.
	maxSession = 1 << 20
)

type frameType byte

const (
	frameSession frameType = 'h'
	frameEvents  frameType = 'e'
	frameEnd     frameType = 'z'
)

// Session is what a recording says of itself.
type Session struct {
	// Version of the kubectl orb8 that wrote it.
	Version string `json:"version"`
	// Kinds of the events, as they are called in JSON.
	Kinds []string `json:"kinds"`
	// Targets that were observed, in words. The command line is not kept: it may hold credentials.
	Targets string `json:"targets,omitempty"`
	// Namespace of the view; empty: all.
	Namespace string    `json:"namespace,omitempty"`
	Started   time.Time `json:"started"`
}

// End is written last.
type End struct {
	// Events that were recorded, except those about the session itself.
	Events uint64 `json:"events"`
}

type head struct {
	kind           frameType
	body, unpacked uint32
	events         uint32
	oldest, newest uint64
	sum            uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h *head) append(dst []byte) []byte {
	n := len(dst)
	dst = append(dst, byte(h.kind), 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, h.body)
	dst = binary.LittleEndian.AppendUint32(dst, h.events)
	dst = binary.LittleEndian.AppendUint32(dst, h.unpacked)
	dst = binary.LittleEndian.AppendUint64(dst, h.oldest)
	dst = binary.LittleEndian.AppendUint64(dst, h.newest)
	dst = binary.LittleEndian.AppendUint32(dst, h.sum)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[n:], castagnoli))
}

var errHead = errors.New("the head of a frame is damaged")

// parseHead reads the 40 bytes of a head.
func parseHead(b []byte) (h head, err error) {
	if crc32.Checksum(b[:headSize-4], castagnoli) != binary.LittleEndian.Uint32(b[headSize-4:]) {
		return h, errHead
	}
	h = head{
		kind: frameType(b[0]), body: binary.LittleEndian.Uint32(b[4:]), events: binary.LittleEndian.Uint32(b[8:]),
		unpacked: binary.LittleEndian.Uint32(b[12:]),
		oldest:   binary.LittleEndian.Uint64(b[16:]), newest: binary.LittleEndian.Uint64(b[24:]),
		sum: binary.LittleEndian.Uint32(b[32:]),
	}
	unpacked := uint32(maxSession)
	if h.kind == frameEvents {
		unpacked = maxUnpacked
	}
	if h.body > maxBody || h.unpacked > unpacked || h.events > maxEvents {
		return h, fmt.Errorf("%w: a body of %d bytes (limit %d), %d unpacked (limit %d), %d events (limit %d)", errHead,
			h.body, maxBody, h.unpacked, unpacked, h.events, maxEvents)
	}
	return h, nil
}

func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false))
}

func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
}
