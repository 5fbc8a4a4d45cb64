package npuwz

import (
	"encoding/binary"
	"fmt"

	"npuw/pipeline/source"
)

// The seek table, at the end of a file: zstd's seekable format 0.1.0 (contrib/seekable_format/zstd_seekable_compression_format.md in
// the zstd project), without checksums, which the frames have.
const (
	seekMagic       = 0x8F92EAB1
	seekFrameMagic  = 0x184D2A5E
	seekEntryBytes  = 8
	seekFooterBytes = 9
	frameHeader     = 8 // magic and size of a skippable frame
)

// seekTable is the sizes of the frames of a file, as they are written and as they are read.
type seekTable struct {
	b      []byte
	frames uint32
}

// add adds a frame.
func (t *seekTable) add(compressed, decompressed int) {
	t.b = binary.LittleEndian.AppendUint32(t.b, uint32(compressed))
	t.b = binary.LittleEndian.AppendUint32(t.b, uint32(decompressed))
	t.frames++
}

// encode is the table as a skippable frame.
func (t *seekTable) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, frameHeader+len(t.b)+seekFooterBytes)
	b = le.AppendUint32(b, seekFrameMagic)
	b = le.AppendUint32(b, uint32(len(t.b)+seekFooterBytes))
	b = append(b, t.b...)
	b = le.AppendUint32(b, t.frames)
	b = append(b, 0) // no checksums
	return le.AppendUint32(b, seekMagic)
}

// seekBytes is how long the table of so many frames is.
func seekBytes(frames int) int64 { return frameHeader + seekEntryBytes*int64(frames) + seekFooterBytes }

// decodeSeek reads the table b, which lies at offset at and is of a front of frontFrame bytes and of chunks. It gives where each chunk's
// frame begins, and where the last one ends.
func decodeSeek(b []byte, at int64, frontFrame int64, chunks []chunk) ([]int64, error) {
	fail := func(i int, err error, format string, args ...any) ([]int64, error) {
		return nil, &source.Error{Offset: at + int64(i), Thing: "seek table", Problem: fmt.Sprintf(format, args...), Next: copyAgain, Err: err}
	}
	le := binary.LittleEndian
	footer := len(b) - seekFooterBytes
	switch {
	case le.Uint32(b[footer+5:]) != seekMagic:
		return fail(footer+5, source.ErrTruncated, "the file does not end with a seek table (%#08x)", uint32(seekMagic))
	case b[footer+4] != 0 || le.Uint32(b[footer:]) != uint32(len(chunks)+1):
		return fail(footer, source.ErrCorrupt, "%d frames, descriptor %#02x; %d frames were expected, and 0", le.Uint32(b[footer:]), b[footer+4], len(chunks)+1)
	case le.Uint32(b) != seekFrameMagic || int(le.Uint32(b[4:])) != len(b)-frameHeader:
		return fail(0, source.ErrCorrupt, "not a skippable frame of %d bytes", len(b)-frameHeader)
	}
	frames := make([]int64, len(chunks)+1)
	place := frontFrame
	for i := range frames {
		entry := frameHeader + seekEntryBytes*i
		compressed, decompressed := int64(le.Uint32(b[entry:])), le.Uint32(b[entry+4:])
		switch {
		case i == 0 && (compressed != frontFrame || decompressed != 0):
			return fail(entry, source.ErrCorrupt, "frame 0 of %d bytes for %d; %d for 0 were expected", compressed, decompressed, frontFrame)
		case i > 0 && (decompressed != chunks[i-1].bytes || compressed > int64(maxFrame(int(decompressed)))):
			return fail(entry, source.ErrCorrupt, "frame %d of %d bytes for %d; the chunk has %d", i, compressed, decompressed, chunks[i-1].bytes)
		case i > 0:
			place += compressed
		}
		frames[i] = place
	}
	if place != at {
		return fail(0, source.ErrCorrupt, "frames of %d bytes in all, but the table begins here", place)
	}
	return frames, nil
}
