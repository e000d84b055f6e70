package export

import (
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"google.golang.org/grpc/encoding"

	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// Importing this package registers gzip with gRPC, which has a global registry only. The fastest level shrinks records,
// whose names repeat, by nine tenths.
func init() { encoding.RegisterCompressor(newGzip()) }

// Answers are small and rare, so readers are not kept.
type gzipCodec struct{ writers sync.Pool }

func newGzip() *gzipCodec {
	c := &gzipCodec{}
	c.writers.New = func() any {
		w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
		return &gzipWriter{Writer: w, pool: &c.writers}
	}
	return c
}

// Name implements encoding.Compressor.
func (*gzipCodec) Name() string { return exportconfig.CompressionGzip }

// Compress implements encoding.Compressor.
func (c *gzipCodec) Compress(w io.Writer) (io.WriteCloser, error) {
	z := c.writers.Get().(*gzipWriter)
	z.Reset(w)
	return z, nil
}

// Decompress implements encoding.Compressor. gRPC limits what it reads.
func (c *gzipCodec) Decompress(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }

type gzipWriter struct {
	*gzip.Writer
	pool *sync.Pool
}

func (w *gzipWriter) Close() error {
	err := w.Writer.Close()
	w.Reset(nil)
	w.pool.Put(w)
	return err
}
