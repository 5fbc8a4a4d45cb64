package release

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"npuw/artifact/element"
	"npuw/pipeline"
	"npuw/pipeline/internal/boxes"
	"npuw/pipeline/model"
	"npuw/pipeline/source"
)

// fileDigest gives the digest of a regular file, from the cache if it is there.
func (c *cache) fileDigest(ctx context.Context, path string) (File, error) {
	f, err := source.OpenFile(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	key, latest, err := c.open(f)
	if err != nil {
		return File{}, err
	}
	if d, known := c.get(key, "file"); known {
		return File{Bytes: f.Size, SHA256: d}, nil
	}
	began := c.time()
	h := sha256.New()
	if err := copyAll(ctx, h, io.NewSectionReader(f, 0, f.Size)); err != nil {
		return File{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := f.Unchanged(); err != nil {
		return File{}, err
	}
	d := Digest(h.Sum(nil))
	c.put(key, latest, began, "file", d)
	return File{Bytes: f.Size, SHA256: d}, nil
}

// open asks what open files are now.
func (c *cache) open(files ...*source.File) (key string, latest time.Time, err error) {
	var infos []fs.FileInfo
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return "", latest, err
		}
		infos = append(infos, info)
	}
	key, latest = c.files(infos...)
	return key, latest, nil
}

// copyAll copies until the end, or until ctx is over.
func copyAll(ctx context.Context, w io.Writer, r io.Reader) error {
	b := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(b)
		if _, werr := w.Write(b[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// sourceDigests are the digests of a model's parameters.
type sourceDigests struct {
	*cache
	build *pipeline.Build
}

// cached gives the digests, in the order of the parameters, if all are in the cache.
func (s sourceDigests) cached() ([]Digest, bool) {
	key, _, err := s.open(s.build.Catalogue.Files...)
	if err != nil || key == "" {
		return nil, false
	}
	var list []Digest
	for i := range s.build.Model.Parameters {
		d, known := s.get(key, place(&s.build.Model.Parameters[i]))
		if !known {
			return nil, false
		}
		list = append(list, d)
	}
	return list, true
}

// all gives the digests, and reads what is not in the cache. A few parameters are read at once.
func (s sourceDigests) all(ctx context.Context) ([]Digest, error) {
	c, parameters := s.build.Catalogue, s.build.Model.Parameters
	key, latest, err := s.open(c.Files...)
	if err != nil {
		return nil, err
	}
	began, list := s.time(), make([]Digest, len(parameters))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range parameters {
		var known bool
		if list[i], known = s.get(key, place(&parameters[i])); known {
			continue
		}
		g.Go(func() error {
			var err error
			list[i], err = parameterDigest(ctx, c, &parameters[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := c.Unchanged(); err != nil {
		return nil, err
	}
	if after, _, err := s.open(c.Files...); err != nil || after != key {
		return list, err // something about the files has changed: their content may
	}
	for i := range parameters {
		s.put(key, latest, began, place(&parameters[i]), list[i])
	}
	return list, nil
}

// parameterDigest digests the values of a parameter; and of those that are made of codes what the codes share, as an operand may hold
// the codes themselves.
func parameterDigest(ctx context.Context, c *source.Catalogue, p *model.Parameter) (Digest, error) {
	h := sha256.New()
	w := untilOver{ctx, h}
	if err := boxes.Write(w, c, p); err != nil {
		return Digest{}, err
	}
	if p.Tensor.Codes != nil {
		if err := writeBlocks(w, c, p); err != nil {
			return Digest{}, err
		}
	}
	return Digest(h.Sum(nil)), nil
}

// maxBlocks is about how many blocks are held at a time.
const maxBlocks = 64 << 10

// writeBlocks writes what the codes of a tensor share, in the tensor's order: scales, zeros and minimums as binary64.
func writeBlocks(w io.Writer, c *source.Catalogue, p *model.Parameter) error {
	codes, shape := p.Tensor.Codes, p.Tensor.Shape
	if len(shape) == 0 || len(codes.Block) != len(shape) || slices.Contains(codes.Block, 0) {
		return fmt.Errorf("parameter %q: blocks of %d in a tensor of shape %d", p.Name, codes.Block, shape)
	}
	if _, err := fmt.Fprintf(w, "codes %v blocks %d axes %d\n", codes.Scheme, codes.Block, p.Perm); err != nil {
		return err
	}
	count, inner := make([]uint64, len(shape)), uint64(1)
	for axis := len(shape) - 1; axis >= 0; axis-- {
		count[axis] = 1
		if n := shape[axis]; n > 0 {
			count[axis] = (n-1)/codes.Block[axis] + 1
		}
		if axis > 0 {
			inner *= count[axis]
		}
	}
	first, rows := make([]uint64, len(shape)), count[0]
	step := max(maxBlocks/inner, 1)
	for i := uint64(0); i < rows; i += step {
		first[0], count[0] = i, min(step, rows-i)
		blocks := make([]element.Block, count[0]*inner)
		if err := codes.Blocks.ReadBlocks(c, blocks, first, count); err != nil {
			return err
		}
		for _, b := range blocks {
			var raw [24]byte
			for j, x := range [3]float64{b.Scale, b.Zero, b.Minimum} {
				binary.LittleEndian.PutUint64(raw[8*j:], math.Float64bits(x))
			}
			if _, err := w.Write(raw[:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// untilOver is a writer that fails when ctx is over.
type untilOver struct {
	ctx context.Context
	io.Writer
}

func (w untilOver) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(b)
}

// place says which bytes of a model's files a parameter is made of, and how: with them, it gives the digest. Values that stand in the
// catalogue itself are named by their own digest. Of values that are computed as they are read nothing is said, "", and nothing
// remembered: what computes them may change.
func place(p *model.Parameter) string {
	d := &p.Tensor.Data
	if d.Decoder != nil {
		return ""
	}
	inline := ""
	if d.Inline != nil {
		inline = Digest(sha256.Sum256(d.Inline)).String()
	}
	return fmt.Sprintf("values %v %v %v %v file %d at %d size %d runs %d %d %s",
		p.Shape, p.Perm, p.Tensor.Type, p.Tensor.Shape, d.File, d.Offset, d.Size, d.Run, d.Apart, inline)
}

// plainFile gives the path of a plain file of a set in dir, to which folders lead that are folders and not links.
func plainFile(dir, path string) (string, error) {
	at, parts := dir, strings.Split(path, "/")
	for i, part := range parts {
		at = filepath.Join(at, part)
		info, err := os.Lstat(at)
		if err != nil {
			return "", err
		}
		if last := i == len(parts)-1; last && !info.Mode().IsRegular() || !last && !info.IsDir() {
			return "", fmt.Errorf("%s: is not a plain file in plain folders", at)
		}
	}
	return at, nil
}
