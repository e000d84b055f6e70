package history

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"sync"
	"time"
	"unique"

	"github.com/klauspost/compress/zstd"
)

const (
	// DefaultMemoryBytes is the limit of memory that OpenRolling takes for 0.
	DefaultMemoryBytes = 32 << 20
	// DefaultDirBytes is the limit of a directory that OpenRolling takes for 0.
	DefaultDirBytes = 256 << 20
	// MinMemoryBytes is the least limit of memory.
	MinMemoryBytes = 1 << 20
	// MinDirBytes is the least limit of a directory.
	MinDirBytes = 16 << 20

	// maxOpen is the memory of the open block, and a smaller history has openShare parts for it.
	maxOpen   = 3 << 20
	openShare = 8
	// maxNameBytes limits the names that a block lists. A block with more is read by all queries.
	maxNameBytes = 512 << 10
	// blockEntry is the memory of a block without its events and names, bytes.
	blockEntry = 256
	nameEntry  = 64
	// maxWindow is the largest window of the compressor, bytes, and a smaller history has windowShare parts for it. The
	// compressor keeps two windows, and has tables of zipTables bytes.
	maxWindow   = 1 << 20
	windowShare = 32
	zipTables   = 1800 << 10
	// workingShare: what is not for events is within the limit of a history of so many times of it.
	workingShare = 4
	// sealInterval is how long events wait for a block on disk.
	sealInterval = 10 * time.Second
)

// RollingOptions configures a Rolling.
type RollingOptions struct {
	// MemoryBytes limits what is held in memory; a history of less than 28 MiB takes up to 6 MiB more. Each query takes
	// some MiB more while it runs.
	MemoryBytes int64
	// Dir, if set, is a directory for blocks of up to DirBytes. It is made if it does not exist.
	Dir      string
	DirBytes int64
	// Node is the node's name. Blocks of another node in Dir are removed.
	Node string
	Log  *slog.Logger
}

// Rolling holds the newest events of a node within a limit of memory, and in a directory if one is set. Events are in
// blocks: they are appended to the open block, which is sealed when it is full, or, with a directory, after 10 s. It is
// safe for concurrent use.
type Rolling struct {
	log     *slog.Logger
	limit   int
	working int // of it, the memory of the compressor, and of the open block's tables, which are used again
	maxOpen int
	disk    *disk // nil without a directory
	zip     *zstd.Encoder
	unzip   *zstd.Decoder
	wake    chan struct{}
	closing chan struct{}
	done    sync.WaitGroup

	mu      sync.Mutex
	encoder *columnEncoder // the open block
	open    blockInfo
	seen    map[string]struct{} // names of the open block
	name    []byte              // reused
	// blocks are the others, oldest first, and first is the number of the first one. Blocks that are gone stay until
	// they are at the front.
	blocks []*block
	first  int
	// unsealed is the number of the next block to seal. No block before resident is in memory.
	unsealed, resident int
	bytes, index       int // of blocks, and of those before resident
	evicted, refused   uint64
	closed             bool
}

// blockInfo is what a query knows of a block without decompressing it.
type blockInfo struct {
	events         int
	oldest, newest uint64
	kinds          uint64 // bits as kindBit returns them
	// names are the names of the block's pods, as appendNames encodes them. anyName: there were too many.
	names     []unique.Handle[string]
	nameBytes int
	anyName   bool
}

// block is a block that gets no more events. Its events are in columns until it is sealed, then in packed, on disk, or
// both. In none of them: the block is gone.
type block struct {
	blockInfo
	columns  *columns
	packed   []byte
	unpacked int // bytes
	stored   stored
}

func (b *block) isGone() bool { return b.columns == nil && b.packed == nil && b.stored.segment == nil }

func (b *block) bytes() int {
	n := blockEntry + b.nameBytes + cap(b.packed)
	if b.columns != nil {
		n += b.columns.bytes()
	}
	return n
}

// RollingStatus describes what a Rolling holds.
type RollingStatus struct {
	// Events is the number of events held. Evicted had to go since the start; Refused were larger than an event may be.
	Events, Evicted, Refused uint64
	// Bytes of memory, and of the files.
	Bytes, LimitBytes, DiskBytes, DiskLimitBytes int64
	// Oldest and Newest are the times of the oldest and the newest event held, ns since the Unix epoch; 0: none.
	Oldest, Newest uint64
}

// OpenRolling opens a history. With a directory, it finds the events that an earlier process has left there.
func OpenRolling(o RollingOptions) (*Rolling, error) {
	for _, l := range []struct {
		what               string
		bytes              *int64
		preset, least, max int64
	}{
		{"memory", &o.MemoryBytes, DefaultMemoryBytes, MinMemoryBytes, 1 << 40},
		{"directory", &o.DirBytes, DefaultDirBytes, MinDirBytes, 1 << 50},
	} {
		if *l.bytes == 0 {
			*l.bytes = l.preset
		}
		if *l.bytes < l.least || *l.bytes > l.max {
			return nil, fmt.Errorf("history: a %s limit of %d bytes: at least %d", l.what, *l.bytes, l.least)
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	window := min(maxWindow, 1<<(bits.Len64(uint64(o.MemoryBytes/windowShare))-1))
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(window), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return nil, err
	}
	limit := int(o.MemoryBytes)
	open := min(limit/openShare, maxOpen)
	working := zipTables + 2*window + open
	if limit < workingShare*working {
		working = 0 // most of it would be for nothing
	}
	r := &Rolling{log: o.Log, limit: limit, working: working, maxOpen: open, zip: zip, unzip: unzip,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), encoder: newColumnEncoder(),
		seen: map[string]struct{}{}}
	r.open.reset()
	if o.Dir != "" {
		if r.disk, err = openDisk(o, unzip); err == nil {
			err = r.load()
		}
		if err != nil {
			unzip.Close()
			return nil, fmt.Errorf("history in %s: %w", o.Dir, err)
		}
	}
	r.done.Go(r.sealing)
	return r, nil
}

// load adds the blocks that are on disk.
func (r *Rolling) load() error {
	err := r.disk.load(func(b *block) {
		r.blocks = append(r.blocks, b)
		r.bytes += b.bytes()
		r.evict()
	})
	r.resident = r.first + len(r.blocks)
	r.unsealed, r.index = r.resident, r.bytes
	r.evicted = 0 // they were an earlier process's
	return err
}

// Append appends encoded event.Event messages, which it copies.
func (r *Rolling) Append(events [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ev := range events {
		switch {
		case r.closed:
			return
		case len(ev) > maxEvent:
			r.refused++
			continue
		}
		h, renamed := r.encoder.add(ev)
		r.open.add(&h)
		if renamed {
			r.addNames(h.names)
		}
		if r.encoder.isFull(r.maxOpen - r.open.nameBytes) {
			r.rotate()
		}
	}
	r.evict()
}

func (i *blockInfo) reset() { *i = blockInfo{oldest: ^uint64(0)} }

// add notes an event, without its names.
func (i *blockInfo) add(h *header) {
	i.events++
	i.oldest, i.newest, i.kinds = min(i.oldest, h.time), max(i.newest, h.time), i.kinds|h.kind
}

func (i *blockInfo) addName(name string) {
	size := len(name) + nameEntry
	if i.anyName = i.anyName || i.nameBytes+size > maxNameBytes; i.anyName {
		return
	}
	i.names = append(i.names, unique.Make(name))
	i.nameBytes += size
}

// addNames notes the names of a pod in the open block.
func (r *Rolling) addNames(n Names) {
	r.name = appendNames(r.name[:0], n)
	if _, ok := r.seen[string(r.name)]; ok || r.open.anyName {
		return
	}
	name := string(r.name)
	r.seen[name] = struct{}{}
	r.open.addName(name)
}

// rotate ends the open block.
func (r *Rolling) rotate() {
	if r.open.events == 0 {
		return
	}
	b := &block{blockInfo: r.open, columns: r.encoder.columns()}
	r.blocks = append(r.blocks, b)
	r.bytes += b.bytes()
	r.encoder.reset()
	r.open.reset()
	clear(r.seen)
	r.evict()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// held is the memory that is held, bytes.
func (r *Rolling) held() int { return r.working + r.bytes + r.encoder.size + r.open.nameBytes }

// evict removes the oldest blocks from memory until the rest is within the limit. What is known of blocks on disk may
// readNumber half of it.
func (r *Rolling) evict() {
	for r.held() > r.limit && len(r.blocks) > 0 {
		i := r.resident - r.first
		if i == len(r.blocks) || r.index > r.limit/2 {
			r.discard(r.blocks[0])
			r.dropUnstored()
			continue
		}
		b := r.blocks[i]
		r.bytes -= b.bytes()
		b.columns, b.packed = nil, nil
		r.bytes += b.bytes()
		r.index += b.bytes()
		r.resident++
		r.dropUnstored()
	}
}

// discard makes a block gone.
func (r *Rolling) discard(b *block) {
	r.bytes -= b.bytes()
	b.columns, b.packed, b.stored.segment = nil, nil, nil
	r.bytes += b.bytes()
}

// dropUnstored forgets the blocks at the front that are gone.
func (r *Rolling) dropUnstored() {
	for len(r.blocks) > 0 && r.blocks[0].isGone() {
		r.evicted += uint64(r.blocks[0].events)
		r.bytes -= r.blocks[0].bytes()
		if r.first < r.resident {
			r.index -= r.blocks[0].bytes()
		}
		r.blocks[0] = nil
		r.blocks = r.blocks[1:]
		r.first++
	}
	r.resident = max(r.resident, r.first)
	r.unsealed = max(r.unsealed, r.first)
}

// sealing seals blocks until the history is closed.
func (r *Rolling) sealing() {
	var age <-chan time.Time
	if r.disk != nil {
		tick := time.NewTicker(sealInterval)
		defer tick.Stop()
		age = tick.C
	}
	for closing := false; !closing; {
		select {
		case <-r.closing:
			closing = true
		case <-age:
			r.mu.Lock()
			r.rotate()
			r.mu.Unlock()
		case <-r.wake:
		}
		for r.seal() {
		}
	}
}

// seal compresses the oldest block that is not sealed, and writes it to disk. It reports false if there is none.
func (r *Rolling) seal() bool {
	r.mu.Lock()
	number := r.unsealed
	if number >= r.first+len(r.blocks) {
		r.mu.Unlock()
		return false
	}
	b := r.blocks[number-r.first]
	columns := b.columns
	r.unsealed++
	r.mu.Unlock()
	if columns == nil { // evicted
		return true
	}
	body := columns.encode()
	packed := r.zip.EncodeAll(body, nil)
	packed = append(make([]byte, 0, len(packed)), packed...)

	r.mu.Lock()
	if b.unpacked = len(body); b.columns != nil {
		r.bytes -= b.bytes()
		b.columns, b.packed = nil, packed
		r.bytes += b.bytes()
	}
	r.mu.Unlock()
	if r.disk == nil {
		return true
	}
	at, removed := r.disk.write(&b.blockInfo, packed, len(body), r.zip)
	r.mu.Lock()
	if at.segment != nil && number >= r.first {
		b.stored = at
	}
	for _, s := range removed {
		for _, b := range r.blocks {
			if b.stored.segment == s {
				b.stored.segment = nil
			}
		}
	}
	r.dropUnstored()
	r.mu.Unlock()
	return true
}

// Status describes what the history holds.
func (r *Rolling) Status() RollingStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := RollingStatus{Evicted: r.evicted, Refused: r.refused, LimitBytes: int64(r.limit),
		Bytes: int64(r.held())}
	if r.disk != nil {
		s.DiskBytes, s.DiskLimitBytes = r.disk.bytes.Load(), r.disk.limit
	}
	held := r.open
	for _, b := range r.blocks {
		if b.isGone() { // counted as evicted once it is at the front
			s.Evicted += uint64(b.events)
			continue
		}
		held.events += b.events
		held.oldest, held.newest = min(held.oldest, b.oldest), max(held.newest, b.newest)
	}
	if s.Events = uint64(held.events); s.Events > 0 {
		s.Oldest, s.Newest = held.oldest, held.newest
	}
	return s
}

// Close seals the open block and ends the history.
func (r *Rolling) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.rotate()
	r.mu.Unlock()
	close(r.closing)
	r.done.Wait()
	r.unzip.Close()
	err := r.zip.Close()
	if r.disk != nil {
		err = errors.Join(err, r.disk.close())
	}
	return err
}
