package session

import (
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

func newS2() *s2Codec {
	c := new(s2Codec)
	c.writers.New = func() any {
		return &s2Writer{Writer: s2.NewWriter(nil, s2.WriterConcurrency(1), s2.WriterBlockSize(256<<10)),
			pool: &c.writers}
	}
	c.readers.New = func() any {
		// A block is never larger than what the writer above makes: a hostile peer cannot ask for more memory.
		return &s2Reader{Reader: s2.NewReader(nil, s2.ReaderMaxBlockSize(256<<10)), pool: &c.readers}
	}
	return c
}

func (c *s2Codec) Name() string { return Compressor }

func (c *s2Codec) Compress(w io.Writer) (io.WriteCloser, error) {
	z := c.writers.Get().(*s2Writer)
	z.Reset(w)
	return z, nil
}

func (c *s2Codec) Decompress(r io.Reader) (io.Reader, error) {
	z := c.readers.Get().(*s2Reader)
	z.Reset(r)
	return z, nil
}

type s2Writer struct {
	*s2.Writer
	pool *sync.Pool
}

func (w *s2Writer) Close() error {
	err := w.Writer.Close()
	w.Reset(nil)
	w.pool.Put(w)
	return err
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
