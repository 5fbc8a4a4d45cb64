package npuwz

import (
	"encoding/binary"
	"fmt"
	"slices"

	"npuw/artifact"
	"npuw/pipeline/source"
)

// The front of a file is what its first frame, a skippable one, holds. schema/FORMAT.md, section A, has the byte map.
const (
	magic       = "\x89NPUWZ\r\n"
	version     = 1
	frontBytes  = 304 // before the tables
	digestBytes = 16

	atVersion    = 8
	atKind       = 12
	atTransforms = 16
	atReused     = 20
	atChunks     = 24
	atReserved   = 28
	atHeader     = 32
	atBase       = 288
)

// Limits of what a file may ask for.
const (
	maxChunk      = 1 << 20  // bytes of an artifact in one frame
	maxFront      = 16 << 20 // bytes of the front: 2 TiB in whole chunks
	maxTransforms = 256
	maxFields     = 16
)

// kind says what a file holds.
type kind uint32

const (
	whole kind = 0 // all of an artifact
	delta kind = 1 // the segments that another does not have
)

func (k kind) String() string {
	switch k {
	case whole:
		return "a whole artifact (.npuwz)"
	case delta:
		return "a delta (.npuwd)"
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// notReused stands for a segment that the file itself has.
const notReused = 1<<32 - 1

// front is all that a file says but for what its frames hold.
type front struct {
	kind       kind
	header     []byte          // of the artifact
	base       artifact.Digest // of a delta: that of the artifact which it leads from
	transforms []transform
	reused     []uint32 // of a delta: for each segment its position in the base, or notReused
	chunks     []chunk
	chunksAt   int // where the table of chunks begins in what was decoded
}

// chunk is a part of the artifact, which has a frame.
type chunk struct {
	at        uint64 // in the artifact
	bytes     uint32
	transform uint32
}

// bytes is how long the front is.
func (f *front) bytes() int {
	n := frontBytes + 4*len(f.reused) + 8*len(f.chunks) + digestBytes
	for _, t := range f.transforms {
		n += 4 + 8*len(t)
	}
	return n
}

// encode is the front as it stands in the file.
func (f *front) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, frontBytes, f.bytes())
	copy(b, magic)
	le.PutUint32(b[atVersion:], version)
	le.PutUint32(b[atKind:], uint32(f.kind))
	le.PutUint32(b[atTransforms:], uint32(len(f.transforms)))
	le.PutUint32(b[atReused:], uint32(len(f.reused)))
	le.PutUint32(b[atChunks:], uint32(len(f.chunks)))
	copy(b[atHeader:], f.header)
	putDigest(b[atBase:], f.base)
	for _, t := range f.transforms {
		b = le.AppendUint32(b, uint32(len(t)))
		for _, field := range t {
			b = le.AppendUint32(le.AppendUint32(b, uint32(field.bytes)), uint32(field.element))
		}
	}
	for _, r := range f.reused {
		b = le.AppendUint32(b, r)
	}
	for _, c := range f.chunks {
		b = le.AppendUint32(le.AppendUint32(b, c.bytes), c.transform)
	}
	at := len(b)
	b = append(b, make([]byte, digestBytes)...)
	putDigest(b[at:], artifact.Sum(b[:at]))
	return b
}

func putDigest(b []byte, d artifact.Digest) {
	binary.LittleEndian.PutUint64(b, d.Lo)
	binary.LittleEndian.PutUint64(b[8:], d.Hi)
}

func getDigest(b []byte) artifact.Digest {
	return artifact.Digest{Lo: binary.LittleEndian.Uint64(b), Hi: binary.LittleEndian.Uint64(b[8:])}
}

// decodeFront reads a front, whose first frontBytes bytes are there at least. Offsets in errors are those in b. Where chunks are in the
// artifact is left to place.
func decodeFront(b []byte) (*front, error) {
	fail := func(at int, err error, format string, args ...any) (*front, error) {
		return nil, &source.Error{Offset: int64(at), Thing: "front", Problem: fmt.Sprintf(format, args...), Next: copyAgain, Err: err}
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[atVersion:]); v != version {
		return nil, &source.Error{Offset: atVersion, Thing: "front", Problem: fmt.Sprintf("version %d, this program reads %d", v, version), Next: "use a matching npuw", Err: source.ErrUnsupported}
	}
	end := len(b) - digestBytes
	if got, want := artifact.Sum(b[:end]), getDigest(b[end:]); got != want {
		return fail(end, source.ErrCorrupt, "digest %v, recorded %v", got, want)
	}
	f := &front{kind: kind(le.Uint32(b[atKind:])), header: slices.Clone(b[atHeader:atBase]), base: getDigest(b[atBase:])}
	transforms, reused, chunks := le.Uint32(b[atTransforms:]), le.Uint32(b[atReused:]), le.Uint32(b[atChunks:])
	switch {
	case f.kind > delta:
		return fail(atKind, source.ErrUnsupported, "%v is not known", f.kind)
	case transforms > maxTransforms:
		return fail(atTransforms, source.ErrCorrupt, "%d transforms, the limit is %d", transforms, maxTransforms)
	case f.kind == whole && (reused != 0 || f.base != artifact.Digest{}), le.Uint32(b[atReserved:]) != 0:
		return fail(atReserved, source.ErrCorrupt, "reserved bytes are not zero")
	}
	at := frontBytes
	for range transforms {
		t, n, problem := decodeTransform(b[at:end])
		if problem != "" {
			return fail(at, source.ErrCorrupt, "transform %d: %s", len(f.transforms), problem)
		}
		f.transforms = append(f.transforms, t)
		at += n
	}
	if want := 4*uint64(reused) + 8*uint64(chunks); uint64(end-at) != want {
		return fail(at, source.ErrCorrupt, "%d bytes of tables, %d were expected", end-at, want)
	}
	f.reused = make([]uint32, reused)
	for i := range f.reused {
		f.reused[i] = le.Uint32(b[at+4*i:])
	}
	at += 4 * len(f.reused)
	f.chunksAt = at
	f.chunks = make([]chunk, chunks)
	for i := range f.chunks {
		c := chunk{bytes: le.Uint32(b[at+8*i:]), transform: le.Uint32(b[at+8*i+4:])}
		if c.transform >= transforms || c.bytes == 0 || c.bytes > maxChunk || int(c.bytes)%f.transforms[c.transform].recordBytes() != 0 {
			return fail(at+8*i, source.ErrCorrupt, "chunk %d: %d bytes of transform %d", i, c.bytes, c.transform)
		}
		f.chunks[i] = c
	}
	return f, nil
}

// decodeTransform reads a transform at the beginning of b, and says how many bytes it takes or what is wrong.
func decodeTransform(b []byte) (t transform, n int, problem string) {
	le := binary.LittleEndian
	if len(b) < 4 {
		return nil, 0, "the front ends here"
	}
	fields := le.Uint32(b)
	if n = 4 + 8*int(min(fields, maxFields)); fields == 0 || fields > maxFields || len(b) < n {
		return nil, 0, fmt.Sprintf("%d fields", fields)
	}
	for i := 4; i < n; i += 8 {
		bytes, element := le.Uint32(b[i:]), le.Uint32(b[i+4:])
		if element != 1 && element != 2 && element != 4 || bytes == 0 || bytes > maxChunk || bytes%element != 0 {
			return nil, 0, fmt.Sprintf("a field of %d bytes in elements of %d", bytes, element)
		}
		t = append(t, field{int(bytes), int(element)})
	}
	return t, n, ""
}
