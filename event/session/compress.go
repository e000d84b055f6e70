package session

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
	"google.golang.org/grpc/encoding"
)

// Compressor is the name under which batches are compressed. S2 costs the node a fraction of gzip's time; names and
// addresses repeat so much that it still shrinks batches several times. Importing this package registers it with gRPC,
// which has a global registry only.
const Compressor = "s2"

func init() { encoding.RegisterCompressor(newS2()) }

type s2Codec struct {
	writers sync.Pool
	readers sync.Pool
}

func newWriter() *s2.Writer {
	return s2.NewWriter(nil, s2.WriterConcurrency(1), s2.WriterBlockSize(256<<10))
}

func newS2() *s2Codec {
	c := new(s2Codec)
	c.writers.New = func() any { return newWriter() }
	c.readers.New = func() any {
		// A block is never larger than what the writer above makes: a hostile peer cannot ask for more memory.
		return &s2Reader{Reader: s2.NewReader(nil, s2.ReaderMaxBlockSize(256<<10)), pool: &c.readers}
	}
	return c
}

func (c *s2Codec) Name() string { return Compressor }

func (c *s2Codec) Compress(w io.Writer) (io.WriteCloser, error) {
	return &s2Writer{to: w, pool: &c.writers}, nil
}

func (c *s2Codec) Decompress(r io.Reader) (io.Reader, error) {
	z := c.readers.Get().(*s2Reader)
	z.Reset(r)
	return z, nil
}

// s2Writer compresses a message, unless it begins as what Packer returns. No protobuf message begins so: its first tag
// would have an invalid type.
type s2Writer struct {
	to     io.Writer
	begun  bool
	writer *s2.Writer // nil: the message is compressed already
	pool   *sync.Pool
}

// packedPrefix is how the format of S2 begins.
const packedPrefix = "\xff\x06\x00\x00S2sTwO"

func (w *s2Writer) Write(p []byte) (int, error) {
	if !w.begun {
		w.begun = true
		if !bytes.HasPrefix(p, []byte(packedPrefix)) {
			w.writer = w.pool.Get().(*s2.Writer)
			w.writer.Reset(w.to)
		}
	}
	if w.writer == nil {
		return w.to.Write(p)
	}
	return w.writer.Write(p)
}

func (w *s2Writer) Close() error {
	if w.writer == nil {
		return nil
	}
	err := w.writer.Close()
	w.writer.Reset(nil)
	w.pool.Put(w.writer)
	w.writer = nil
	return err
}

// Packer compresses messages before they are sent: those that are held to be sent later, or several times. Compressor
// passes them on as they are. The zero value is ready to use.
type Packer struct {
	writer *s2.Writer
	packed bytes.Buffer
}

// Pack returns a message compressed. The result is valid until the next call.
func (p *Packer) Pack(message []byte) []byte {
	if p.writer == nil {
		p.writer = newWriter()
	}
	p.packed.Reset()
	p.writer.Reset(&p.packed)
	// Neither fails: a Buffer takes everything.
	_ = p.writer.EncodeBuffer(message)
	_ = p.writer.Close()
	return p.packed.Bytes()
}

// Unpack returns a message that Pack has compressed.
func Unpack(packed []byte) ([]byte, error) {
	return io.ReadAll(s2.NewReader(bytes.NewReader(packed), s2.ReaderMaxBlockSize(256<<10)))
}

type s2Reader struct {
	*s2.Reader
	pool *sync.Pool
	done bool
}

func (r *s2Reader) Reset(from io.Reader) {
	r.done = false
	r.Reader.Reset(from)
}

// Read hands the reader back to the pool at the end of its message, as gRPC reads each message to its end or drops it.
func (r *s2Reader) Read(p []byte) (int, error) {
	if r.done {
		return 0, io.EOF
	}
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		r.done = true
		r.pool.Put(r)
	}
	return n, err
}
