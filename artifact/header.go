package artifact

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"
)

// Sizes and limits of the format; FORMAT.md, sections 1 and 10.
const (
	Version = 1

	HeaderBytes  = 256
	OperandAlign = 256

	MaxIndexBytes = 64 << 20
	minIndexBytes = 256
	maxEntries    = 1 << 20 // of each vector of the index itself, and attributes
	maxBoxes      = 4096    // placements of an operand, its fills, placements of a parameter: each
	maxFileBytes  = 1 << 62
	maxPlanes     = 4
	maxAxes       = 8
	maxDigits     = 32
	maxString     = 1024

	knownRequired = 0 // feature bits
)

const magic = "\x89NPUW\r\n\x1a"

// Where the fields of the header are.
const (
	atMagic            = 0
	atVersion          = 8
	atHeaderBytes      = 12
	atRequiredFeatures = 16
	atOptionalFeatures = 24
	atFileBytes        = 32
	atPageBytes        = 40
	atIndexOffset      = 48
	atIndexBytes       = 56
	atIndexDigest      = 64
	atReserved         = 80
	atHeaderDigest     = 240
)

// Digest is an XXH3-128 with seed 0.
type Digest struct{ Lo, Hi uint64 }

// Sum is the digest of b.
func Sum(b []byte) Digest {
	u := xxh3.Hash128(b)
	return Digest{u.Lo, u.Hi}
}

// String prints 32 hexadecimal digits, high half first, as xxHash's tools do.
func (d Digest) String() string { return fmt.Sprintf("%016x%016x", d.Hi, d.Lo) }

// Header is the fixed part of an artifact.
type Header struct {
	RequiredFeatures, OptionalFeatures uint64
	FileBytes, PageBytes               uint64
	IndexOffset, IndexBytes            uint64
	IndexDigest                        Digest
	Digest                             Digest // names the content of the whole file
}

// ValidPageBytes reports whether segments may be aligned to n bytes.
func ValidPageBytes(n uint64) bool { return n == 4<<10 || n == 16<<10 || n == 64<<10 }

func (h *Header) encode() []byte {
	b := make([]byte, HeaderBytes)
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[atVersion:], Version)
	le.PutUint32(b[atHeaderBytes:], HeaderBytes)
	le.PutUint64(b[atRequiredFeatures:], h.RequiredFeatures)
	le.PutUint64(b[atOptionalFeatures:], h.OptionalFeatures)
	le.PutUint64(b[atFileBytes:], h.FileBytes)
	le.PutUint64(b[atPageBytes:], h.PageBytes)
	le.PutUint64(b[atIndexOffset:], h.IndexOffset)
	le.PutUint64(b[atIndexBytes:], h.IndexBytes)
	putDigest(b[atIndexDigest:], h.IndexDigest)
	h.Digest = Sum(b) // its own field is still zero
	putDigest(b[atHeaderDigest:], h.Digest)
	return b
}

func putDigest(b []byte, d Digest) {
	binary.LittleEndian.PutUint64(b, d.Lo)
	binary.LittleEndian.PutUint64(b[8:], d.Hi)
}

func getDigest(b []byte) Digest {
	return Digest{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

// decodeHeader checks the first bytes of a file of size bytes, in the order that tells a foreign file, a newer format and an
// altered byte apart.
func decodeHeader(b []byte, size uint64) (Header, error) {
	fail := func(at int64, err error, format string, args ...any) (Header, error) {
		return Header{}, &Error{Offset: at, Thing: "header", Detail: fmt.Sprintf(format, args...), Err: err}
	}
	le := binary.LittleEndian
	switch {
	case len(b) < len(magic) || string(b[:len(magic)]) != magic:
		return fail(atMagic, ErrNotArtifact, "the file does not begin with %q; is it an .npuw file?", magic)
	case len(b) < HeaderBytes:
		return fail(int64(len(b)), ErrTruncated, "the file ends inside its header; copy or build it again")
	case le.Uint32(b[atVersion:]) != Version:
		return fail(atVersion, ErrVersion, "format version %d, this program reads %d; use a matching npuw or build the artifact again", le.Uint32(b[atVersion:]), Version)
	}
	h := Header{
		RequiredFeatures: le.Uint64(b[atRequiredFeatures:]),
		OptionalFeatures: le.Uint64(b[atOptionalFeatures:]),
		FileBytes:        le.Uint64(b[atFileBytes:]),
		PageBytes:        le.Uint64(b[atPageBytes:]),
		IndexOffset:      le.Uint64(b[atIndexOffset:]),
		IndexBytes:       le.Uint64(b[atIndexBytes:]),
		IndexDigest:      getDigest(b[atIndexDigest:]),
		Digest:           getDigest(b[atHeaderDigest:]),
	}
	plain := [HeaderBytes]byte(b[:HeaderBytes])
	clear(plain[atHeaderDigest:])
	if got := Sum(plain[:]); got != h.Digest {
		return fail(atHeaderDigest, ErrCorrupt, "digest %v, recorded %v; copy or build the file again", got, h.Digest)
	}
	switch {
	case le.Uint32(b[atHeaderBytes:]) != HeaderBytes:
		return fail(atHeaderBytes, ErrCorrupt, "header_bytes is %d, must be %d", le.Uint32(b[atHeaderBytes:]), HeaderBytes)
	case h.RequiredFeatures&^knownRequired != 0:
		return fail(atRequiredFeatures, ErrVersion, "the file needs feature bits %#x; use a newer npuw", h.RequiredFeatures&^knownRequired)
	case !ValidPageBytes(h.PageBytes):
		return fail(atPageBytes, ErrCorrupt, "page_bytes is %d, must be 4096, 16384 or 65536", h.PageBytes)
	case firstNonZero(b[atReserved:atHeaderDigest]) >= 0:
		return fail(atReserved, ErrCorrupt, "reserved bytes are not zero")
	case h.FileBytes > maxFileBytes:
		return fail(atFileBytes, ErrCorrupt, "file_bytes is %d, the limit is %d", h.FileBytes, uint64(maxFileBytes))
	case h.FileBytes > size:
		return fail(int64(min(size, maxFileBytes)), ErrTruncated, "the file has %d bytes of %d; copy or build it again", size, h.FileBytes)
	case h.FileBytes < size:
		return fail(int64(min(h.FileBytes, maxFileBytes)), ErrCorrupt, "the file has %d bytes, %d more than recorded", size, size-h.FileBytes)
	case h.IndexBytes < minIndexBytes || h.IndexBytes > MaxIndexBytes || h.IndexBytes%8 != 0:
		return fail(atIndexBytes, ErrCorrupt, "index_bytes is %d, must be a multiple of 8 from %d to %d", h.IndexBytes, minIndexBytes, MaxIndexBytes)
	case h.IndexOffset < h.PageBytes || h.IndexOffset%h.PageBytes != 0 || h.IndexOffset > h.FileBytes || h.IndexOffset+h.IndexBytes != h.FileBytes:
		return fail(atIndexOffset, ErrCorrupt, "index_offset is %d with %d bytes of index in a file of %d", h.IndexOffset, h.IndexBytes, h.FileBytes)
	}
	return h, nil
}

// firstNonZero is the position of the first byte of b that is not zero, -1 when all are.
func firstNonZero(b []byte) int {
	for i := 0; len(b)-i >= 8; i += 8 {
		if binary.LittleEndian.Uint64(b[i:]) != 0 {
			b = b[:min(i+8, len(b))]
			for ; b[i] == 0; i++ {
			}
			return i
		}
	}
	for i := len(b) &^ 7; i < len(b); i++ {
		if b[i] != 0 {
			return i
		}
	}
	return -1
}
