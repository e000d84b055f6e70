// Package history keeps the events of a session in a file, and reads them back. Rolling keeps the newest events of a
// node.
//
// A recording is a sequence of frames. Each frame is independent and has checksums of its header and its body. A file
// that was cut at any place, because its writer was killed or the disk was full, is readable up to the cut. A reader
// can skip the frames that it does not need. All numbers are little-endian.
//
//	8 bytes   "orb8rec" and a version, 1
//	frames    each a header of 40 bytes and a body:
//	            0  1 byte   type: 'h' the session (the first frame only), 'e' events, 'z' the end
//	            1  3 bytes  zero
//	            4  uint32   size of the body, bytes
//	            8  uint32   number of events in the body
//	           12  uint32   size of the decompressed body, bytes
//	           16  uint64   time of the oldest event, ns since the Unix epoch
//	           24  uint64   time of the newest event, ns since the Unix epoch
//	           32  uint32   CRC-32C of the body
//	           36  uint32   CRC-32C of the 36 bytes before
//
// A body is compressed with Zstandard (RFC 8878), independently of other frames. It holds protobuf messages of package
// event, each preceded by its length as a varint. The bodies of 'h' and 'z' are JSON.
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

	// batch is the size of a frame's events in bytes. flushInterval is the longest time that an event waits for one.
	batch         = 256 << 10
	flushInterval = time.Second

	// maxBody and maxUnpacked limit the sizes that a reader accepts from a frame's header, bytes.
	maxBody     = 4 << 20
	maxUnpacked = 8 << 20
	// maxEvents limits the events of a frame: a writer begins a new frame after 256 KiB, and an event takes 12 bytes.
	maxEvents = 1 << 16
	// maxEvent limits the encoded size of an event, bytes. Strings and lists of an accepted event are shorter in total.
	maxEvent = 512 << 10
	// maxSession limits the decompressed size of a recording's metadata, bytes.
	maxSession = 1 << 20
)

type frameType byte

const (
	frameSession frameType = 'h'
	frameEvents  frameType = 'e'
	frameEnd     frameType = 'z'
)

// Session is the metadata of a recording.
type Session struct {
	// Version of the kubectl orb8 that wrote the recording.
	Version string `json:"version"`
	// Kinds are the JSON names of the recorded event kinds.
	Kinds []string `json:"kinds"`
	// Targets describes the observed targets. The command line is not kept because it may hold credentials.
	Targets string `json:"targets,omitempty"`
	// Namespace of the view; empty means all namespaces.
	Namespace string    `json:"namespace,omitempty"`
	Started   time.Time `json:"started"`
}

// End is the body of the last frame.
type End struct {
	// Events is the number of recorded events without lost and nodeStatus.
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

// parseHead decodes a header of 40 bytes and checks its checksum and limits.
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
	if h.kind == frameEvents || h.kind == frameColumns {
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
